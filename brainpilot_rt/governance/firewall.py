"""The tool firewall: seven looks at a call before it runs, always in the same order.

    deny list         names the owner does not want, as called and as substituted
    RBAC              the role's tools, on the effective name
    argument schema   arguments that parse and fit
    command injection commands, options and escapes in arguments; dangerous command lines
    prompt injection  instructions meant for whoever reads the arguments
    semantic policy   policy, taint, hosts, protected files; substitution and downgrade are told
    secret redaction  known secrets and the owner's patterns are masked

A block ends the walk: what follows would judge a call that never happens. Everything else is
looked at to the end, for the record, and the strongest action wins:
block > ask > downgrade > substitute > mask > warn > pass. An `ask` with masked arguments asks for
the masked ones: what is shown, approved, recorded and run is the same, also after a restart.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.domain.governing import JudgedAction
from brainpilot_rt.governance.inspections.commands import command_findings
from brainpilot_rt.governance.inspections.requests import (
    DEPTH_MAX,
    Finding,
    FirewallConfig,
    Substitution,
    ToolRequest,
    is_deep,
    matches,
    replacer,
    rewritten,
    texts,
)
from brainpilot_rt.governance.inspections.semantics import (
    host_findings,
    path_findings,
    taint_findings,
)
from brainpilot_rt.governance.policy import ToolPolicy, permission

BLOCKED: Final = "[TOOL BLOCKED] "
"""Clients recognise a blocked call by it."""

_ORDER: Final[tuple[JudgedAction, ...]] = (
    "block",
    "ask",
    "downgrade",
    "substitute",
    "mask",
    "warn",
    "pass",
)
Severity: TypeAlias = Literal["high", "medium", "low", "none"]
_SEVERITIES: Final[Mapping[str, Severity]] = {"block": "high", "warn": "low", "pass": "none"}
_READ_MIN: Final = 12
"""Characters; nothing shorter instructs anybody."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one stage came to."""

    stage: str
    findings: tuple[Finding, ...] = ()

    @property
    def action(self) -> JudgedAction:
        """The strongest of its findings."""
        return _strongest(self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a call came to."""

    tool: str
    """The effective name: what is to run."""
    arguments: Mapping[str, Any]
    """What is to run it with."""
    verdicts: tuple[Verdict, ...]
    """Of every stage that was reached, in order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all stages."""
        return tuple(one for verdict in self.verdicts for one in verdict.findings)

    @property
    def action(self) -> JudgedAction:
        """The strongest of all stages."""
        return _strongest(self.findings)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each `<code>: <detail>`."""
        return tuple(dict.fromkeys(str(one) for one in self.findings))

    @property
    def severity(self) -> Severity:
        """How much it matters to whoever reads the list of interceptions."""
        return severity(self.action)

    @property
    def refusal(self) -> str:
        """Why the call does not run, for the model; empty when it does."""
        against = [str(one) for one in self.findings if one.action == "block"]
        return f"{BLOCKED}{self.tool}: {'; '.join(against)}" if against else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    request: ToolRequest
    """With the effective name and its arguments."""
    asked: str
    substitution: Substitution | None
    config: FirewallConfig
    policies: tuple[ToolPolicy, ...]
    schema_problem: Callable[[Mapping[str, Any]], str | None]
    injection: Callable[[str], float]

    def suspected(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """As the mode wants it; rights do not come through here."""
        if self.config.mode == "off":
            return
        for one in findings:
            if self.config.mode == "monitor" and one.action != "warn":
                yield replace(one, action="warn", detail=f"{one.detail} (would {one.action})")
            else:
                yield one


def effective_tool(tool: str, config: FirewallConfig) -> str:
    """The tool that a call really goes to: a request describes this one, its schema is the one."""
    found = _substitution(tool, config)
    return found.to if found else tool


def inspect(
    request: ToolRequest,
    config: FirewallConfig,
    policies: tuple[ToolPolicy, ...],
    *,
    schema_problem: Callable[[Mapping[str, Any]], str | None],
    known_secret: Callable[[str], str],
    injection: Callable[[str], float] = lambda _: 0.0,
) -> Inspection:
    """Take a call through all stages.

    `schema_problem`: what does not fit the effective tool, None when all does. `known_secret`: a
    text without secrets. `injection`: how much a text reads like an injected prompt, 0 to 1.
    """
    found = _substitution(request.tool, config)
    effective = request
    if found:
        merged = None if request.arguments is None else {**request.arguments, **found.args}
        effective = replace(request, tool=found.to, arguments=merged)
    case = _Case(
        request=effective,
        asked=request.tool,
        substitution=found,
        config=config,
        policies=policies,
        schema_problem=schema_problem,
        injection=injection,
    )
    verdicts: list[Verdict] = []
    arguments = effective.arguments or {}
    for stage, look in _STAGES:
        verdicts.append(Verdict(stage, tuple(look(case))))
        if verdicts[-1].action == "block":
            break
    else:
        arguments, masked = _mask(effective, config, known_secret)
        verdicts.append(Verdict("secret_redaction", tuple(case.suspected(masked))))
    return Inspection(tool=effective.tool, arguments=arguments, verdicts=tuple(verdicts))


def severity(action: JudgedAction) -> Severity:
    """Of an action."""
    return _SEVERITIES.get(action, "medium")


def interception(tool: str, action: JudgedAction, reasons: tuple[str, ...]) -> dict[str, Any]:
    """What a list of interceptions shows of a call; id, actor and time are its event's."""
    verdict = {"toolName": tool, "action": action, "reasons": list(reasons)}
    return {
        "severity": severity(action),
        "resource": tool,
        "details": {"action": action, "verdicts": [verdict]},
    }


def _denied(case: _Case) -> Iterator[Finding]:
    names = dict.fromkeys((case.asked, case.request.tool))
    denied = [name for name in names if matches(case.config.deny_list, name)]
    yield from case.suspected(Finding("block", "denied_tool", name) for name in denied)


def _unauthorized(case: _Case) -> Iterator[Finding]:
    request = case.request
    if request.tool not in request.allowed:
        detail = f"the role {request.role} may not use {request.tool}"
        yield Finding("block", "rbac_unauthorized", detail)


def _unfit(case: _Case) -> Iterator[Finding]:
    arguments = case.request.arguments
    if arguments is None:
        detail = f"they are no JSON object ({_parse_problem(case.request.raw_arguments)})"
        yield Finding("block", "args_invalid", detail)
    elif is_deep(arguments):
        detail = f"more than {DEPTH_MAX} lists and objects within each other"
        yield Finding("block", "args_invalid", detail)
    elif problem := case.schema_problem(arguments):
        yield Finding("block", "args_invalid", problem)


def _commanding(case: _Case) -> Iterator[Finding]:
    return case.suspected(command_findings(case.request, case.config))


def _injected(case: _Case) -> Iterator[Finding]:
    config, request = case.config, case.request
    action = config.on_injection if request.tainted else "warn"
    return case.suspected(
        Finding(action, "prompt_injection", f"{one.place} reads like instructions to a model")
        for one in texts(request)
        if len(one.text) >= _READ_MIN and case.injection(one.text) >= config.injection_threshold
    )


def _meaning(case: _Case) -> Iterator[Finding]:
    request, config = case.request, case.config
    if found := permission(request, case.policies):
        yield found
    for look in (taint_findings, path_findings, host_findings):
        yield from case.suspected(look(request, config))
    if case.substitution:
        yield Finding("substitute", "substituted", f"{case.asked} is answered by {request.tool}")
    if matches(config.downgrade_on_tools, request.tool):
        detail = f"after {request.tool} a cheaper model will do"
        yield from case.suspected([Finding("downgrade", "downgraded", detail)])


_STAGES: Final[tuple[tuple[str, Callable[[_Case], Iterator[Finding]]], ...]] = (
    ("deny_list", _denied),
    ("rbac", _unauthorized),
    ("argument_schema", _unfit),
    ("command_injection", _commanding),
    ("prompt_injection", _injected),
    ("semantic_policy", _meaning),
)


def _mask(
    request: ToolRequest, config: FirewallConfig, known_secret: Callable[[str], str]
) -> tuple[Mapping[str, Any], list[Finding]]:
    """The arguments as they may run, and what was found in them."""

    def clean(text: str) -> str:
        text = known_secret(text)
        for one in config.mask_patterns:
            text = replacer(one.pattern)(f"[REDACTED:{one.name}]", text)
        return text

    before = request.arguments or {}
    after = rewritten(before, clean)
    if after == before:
        return before, []
    places = [one.place for one in texts(request) if clean(one.text) != one.text]
    found = [
        Finding("mask", "secret_detected", f"masked in {place}")
        for place in places or ["the name of a field"]
    ]
    return (after if config.mode == "enforce" else before), found


def _substitution(tool: str, config: FirewallConfig) -> Substitution | None:
    wanted = config.substitutions if config.mode == "enforce" else ()
    return next((one for one in wanted if one.from_ == tool), None)


def _parse_problem(raw: str) -> str:
    try:
        json.loads(raw)
    except (ValueError, RecursionError) as error:
        return str(error) if isinstance(error, json.JSONDecodeError) else "nested too deeply"
    return "it is another kind of value"


def _strongest(findings: Iterable[Finding]) -> JudgedAction:
    actions = {one.action for one in findings}
    for one in _ORDER:
        if one in actions:
            return one
    return "pass"
