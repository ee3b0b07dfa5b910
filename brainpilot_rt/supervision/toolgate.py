"""Governed tool calls: inspection, rates, guardrails and approvals before, a clean result after.

The rules are in `governance/`, pure; what the owner has set is kept in records of the kinds
`firewall` and `tool_policy`. A call that needs a person's word waits for it here, before it runs,
for as long as it takes; what is then run is what was shown, or nothing.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, CommandRejected
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.values import checked, first_problem
from brainpilot_rt.governance import approvals as rules
from brainpilot_rt.governance.firewall import Inspection, effective_tool, inspect
from brainpilot_rt.governance.inspections.requests import FirewallConfig, ToolRequest, rewritten
from brainpilot_rt.governance.policy import ToolPolicy, policy_of
from brainpilot_rt.governance.rates import Rate, Rates, rate_reason
from brainpilot_rt.governance.sanitising import Rules, sanitised
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import GuardSettings
from brainpilot_rt.supervision.approvals import Approvals, Word
from brainpilot_rt.supervision.guarding import Guards, worked
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.tools.mcp.pool import McpTool
from brainpilot_rt.tools.registry import Registry, Tool
from brainpilot_rt.tools.steps import Allow, Refuse, Verdict

CONFIG: Final = "config"
_SESSION_BURST: Final = 10
"""Times the calls of one tool that a whole session may make in a minute."""


@dataclass(slots=True, kw_only=True)
class Governor:
    """The owner's rules for tools, and what they are applied with."""

    manager: SessionManager
    records: Records
    approvals: Approvals
    guards: Guards
    secrets: Secrets
    clock: Clock
    settings: GuardSettings
    rates: Rates
    definition_now: Callable[[SessionId, str], str | None]
    """Digest of a foreign tool of a session as its server defines it at this moment."""
    _firewall: FirewallConfig | None = field(default=None, init=False)
    _policies: tuple[ToolPolicy, ...] | None = field(default=None, init=False)
    """Both as read from the records, until one of those changes."""

    def __post_init__(self) -> None:
        self.records.listen(self._changed)

    def firewall(self) -> FirewallConfig:
        """The rules of the firewall as they are now."""
        if self._firewall is None:
            kept = self.records.get("firewall", CONFIG)
            self._firewall = (
                FirewallConfig(mode=self.settings.firewall)
                if kept is None
                else FirewallConfig.model_validate(kept)
            )
        return self._firewall

    async def set_firewall(self, body: Mapping[str, Any]) -> FirewallConfig:
        """Change some of them. `BadRequest` says which is wrong."""
        now = self.firewall().model_dump(mode="json", by_alias=True)
        wanted = checked(FirewallConfig, {**now, **body})
        await self.records.put("firewall", CONFIG, wanted.model_dump(mode="json", by_alias=True))
        return wanted

    def policies(self) -> tuple[ToolPolicy, ...]:
        """The policies, the latest first."""
        if self._policies is None:
            kept = self.records.of("tool_policy").values()
            self._policies = tuple(ToolPolicy.model_validate(one) for one in reversed(list(kept)))
        return self._policies

    def _changed(self, kind: str, _key: str, _body: object) -> None:
        if kind in {"firewall", "tool_policy"}:
            self._firewall = self._policies = None

    async def set_policy(self, body: Mapping[str, Any]) -> ToolPolicy:
        """Make or replace the policy of a pattern. `BadRequest` says what is wrong."""
        try:
            policy = ToolPolicy.model_validate_json(json.dumps(body), strict=True)
        except ValidationError as wrong:
            raise BadRequest(first_problem(wrong), code="invalid_body") from None
        await self.records.put("tool_policy", policy.tool_name, policy.model_dump(mode="json"))
        return policy


class RunGate:
    """The governed calls of one run."""

    def __init__(
        self,
        governor: Governor,
        identity: RunIdentity,
        registry: Registry,
        roots: Mapping[str, str],
    ) -> None:
        """`roots`: folders of this machine, and what a model calls them."""
        self._governor = governor
        self._identity = identity
        self._registry = registry
        self._allowed = frozenset(one.name for one in registry)
        self._rules = Rules(chars_max=0, roots=roots, known_secret=governor.secrets.text)

    async def judge(self, call: ToolCall, tool: Tool, turn: int, desk: "Desk") -> Verdict:
        """May this call run, and as what? Waits for a person where one has to be asked."""
        governor = self._governor
        config = governor.firewall()
        policies = governor.policies()
        effective = effective_tool(call.name, config)
        found = self._registry.get(effective)
        tool = found if found is not None else tool
        if wait_s := self._rate(tool.name, policies):
            reason = rate_reason(tool.name, wait_s)
            desk.note(self._judged(call, turn, "block", (reason,)))
            return Refuse(reason.partition(": ")[2])
        inspection = inspect(
            self._request(call, tool),
            config,
            policies,
            schema_problem=lambda _: None,  # `prepare` has looked already, at the model's own
            known_secret=governor.secrets.text,
            injection=governor.guards.injection,
        )
        if inspection.action != "pass":
            desk.note(self._judged(call, turn, inspection.action, inspection.reasons))
        if inspection.refusal:
            return Refuse(inspection.refusal)
        arguments, refusal = await self._guarded(call, tool, inspection, turn, desk)
        if refusal:
            return Refuse(refusal)
        changed: ToolCall | None = None
        if tool.name != call.name or arguments != (call.arguments or {}):
            raw = json.dumps(arguments)
            changes = {"name": tool.name, "arguments": dict(arguments), "raw_arguments": raw}
            changed = call.model_copy(update=changes)
            desk.changed(changed)
        if inspection.action == "ask":
            why = await self._ask(changed or call, tool, inspection.reasons, desk)
            if why:
                return Refuse(why)
        return Allow(changed)

    def unfit(self, call: ToolCall, turn: int) -> ev.ToolJudged:
        """What is said of a call that is none: of no tool here, or with other arguments."""
        return self._judged(call, turn, "block", (_unfit(call, self._registry),))

    async def review(self, call: ToolCall, text: str, turn: int, desk: "Desk") -> str:
        """A result as the model may read it."""
        foreign = isinstance(self._registry.get(call.name), McpTool) or call.name == "bash"

        def clean(whole: str) -> str:
            # Of our own files only secrets are taken: a later `edit` has to find what is there.
            rules = self._rules
            return sanitised(whole, rules).text if foreign else rules.known_secret(whole)

        shown = await worked(text, clean)
        reviewed = await self._governor.guards.check(shown, "tool_result")
        for fired in reviewed.fired(self._identity, turn, call.call_id):
            desk.note(fired)
        return reviewed.shown

    # --- the steps --------------------------------------------------------------------------

    def _request(self, call: ToolCall, tool: Tool) -> ToolRequest:
        identity = self._identity
        run = self._state().runs.get(identity.run_id)
        foreign = tool.definition if isinstance(tool, McpTool) else None
        return ToolRequest(
            tool=call.name,
            arguments=call.arguments,
            raw_arguments=call.raw_arguments,
            role=identity.role,
            agent=identity.agent,
            allowed=self._allowed,
            effect=tool.spec.effect,
            server=foreign.server if foreign else None,
            definition_digest=definition_of(tool),
            tainted=run is not None and run.tainted,
            external=foreign is not None,
            read_only_hint=foreign.hints.read_only if foreign else None,
            destructive_hint=foreign.hints.destructive if foreign else None,
            confirm=tool.confirm,
        )

    def _rate(self, tool: str, policies: tuple[ToolPolicy, ...]) -> float:
        identity = self._identity
        policy = policy_of(policies, tool)
        per_minute = self._governor.settings.calls_per_minute
        if policy is not None and policy.rate_per_minute is not None:
            per_minute = policy.rate_per_minute
        if not per_minute:
            return 0.0
        burst = (policy.burst if policy else None) or per_minute
        session = Rate(per_minute * _SESSION_BURST, burst * _SESSION_BURST)
        rates: dict[Hashable, Rate] = {
            (identity.session, identity.agent, tool): Rate(per_minute, burst),
            (identity.session, tool): session,
        }
        return self._governor.rates.admit(rates, self._governor.clock.monotonic())

    async def _guarded(
        self, call: ToolCall, tool: Tool, inspection: Inspection, turn: int, desk: "Desk"
    ) -> tuple[Mapping[str, Any], str]:
        """The arguments as the guardrails let them out, and why they do not (empty: they do).

        Only what leaves this machine is looked at here: arguments of foreign tools.
        """
        arguments = inspection.arguments
        if not isinstance(tool, McpTool):
            return arguments, ""
        checked = await self._governor.guards.check(
            json.dumps(arguments, ensure_ascii=False), "tool_args"
        )
        for fired in checked.fired(self._identity, turn, call.call_id):
            desk.note(fired)
        if checked.action == "block":
            return arguments, f"a guardrail stopped it: {checked.reason}"
        if checked.action == "redact":
            return rewritten(arguments, self._governor.guards.redacted), ""
        return arguments, ""

    async def _ask(self, call: ToolCall, tool: Tool, reasons: tuple[str, ...], desk: "Desk") -> str:
        """Wait for a person's word on exactly this; why it may not run, empty when it may."""
        governor, identity = self._governor, self._identity
        arguments = call.arguments or {}
        definition = definition_of(tool)
        server = tool.definition.server if isinstance(tool, McpTool) else None
        digest = rules.digest(tool.name, server, definition, arguments)
        now_ms = governor.clock.now_ms()
        asked = rules.Asked(
            tool=tool.name,
            digest=digest,
            definition_digest=definition,
            runs=(identity.run_id,),
            session=identity.session,
            agent=identity.agent,
            codes=rules.codes(reasons),
        )
        if any(rules.covers(one, asked, now_ms) for one in self._grants()):
            return ""
        approval_id = f"apr_{call.call_id.removeprefix('call_')}"
        if await self._is_void(approval_id, digest):
            return f"{tool.name} is not what was asked about any more; ask anew by calling it again"
        wait_s = governor.settings.approval_wait_s
        preceding = desk.take()
        wanted = cmd.RequestApproval(
            approval_id=approval_id,
            run_id=identity.run_id,
            call_id=call.call_id,
            agent=identity.agent,
            tool=tool.name,
            arguments=arguments,
            digest=digest,
            definition=definition,
            reasons=reasons,
            expires_ms=None if wait_s is None else now_ms + round(wait_s * 1000),
            preceding=preceding,
        )
        try:
            decided = await governor.approvals.ask(identity.session, wanted)
        except CommandRejected as refused:
            desk.pending = (*preceding, *desk.pending)  # nothing of it was committed
            return f"nobody can be asked whether it may run: {refused.message}"
        if decided.decision != "approved":
            return rules.answer_text(tool.name, decided.decision, by=decided.by, note=decided.note)
        foreign = server is not None
        now = governor.definition_now(identity.session, tool.name) if foreign else definition
        if now != definition:
            return f"{tool.name} was changed by its server while it waited, so the approval is void"
        return ""

    async def _is_void(self, approval_id: str, digest: str) -> bool:
        """Whether another call was asked about before a restart: its server has changed the tool.

        What is open is denied; what was approved is worth nothing.
        """
        state = self._state()
        asked = state.approvals.get(approval_id) or state.grants.get(approval_id)
        if asked is None or asked.digest == digest:
            return False
        if approval_id in state.approvals:
            note = f"{asked.tool} was changed by its server while it waited."
            word = Word(approve=False, by="policy", note=note)
            with suppress(CommandRejected):  # somebody was faster, and approved what is no more
                await self._governor.approvals.decide(approval_id, word)
        return True

    def _grants(self) -> list[rules.Grant]:
        state = self._state()
        of_session = [
            rules.Grant(
                approval_id=one.approval_id,
                tool=one.tool,
                digest=one.digest,
                definition_digest=one.definition,
                scope=one.scope,
                run_id=one.run_id,
                session=state.session,
                agent=one.agent,
                expires_ms=one.until_ms,
                codes=rules.codes(one.reasons),
            )
            for one in state.grants.values()
        ]
        return of_session + [
            rules.Grant(
                approval_id=key,
                tool=body["tool"],
                digest=None,
                definition_digest=body["definition"],
                scope="agent",
                run_id="",
                session="",
                agent=body["agent"],
                expires_ms=body["until_ms"],
                codes=frozenset(body["codes"]),
            )
            for key, body in self._governor.records.of("grant").items()
        ]

    def _state(self) -> SessionState:
        return self._governor.manager.state(self._identity.session)

    def _judged(
        self, call: ToolCall, turn: int, action: ev.JudgedAction, reasons: tuple[str, ...]
    ) -> ev.ToolJudged:
        return ev.ToolJudged(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=turn,
            call_id=call.call_id,
            tool=call.name,
            action=action,
            reasons=reasons,
        )


def _unfit(call: ToolCall, registry: Registry) -> str:
    if registry.get(call.name) is None:
        return f"rbac_unauthorized: {call.name} is no tool of this agent"
    if call.arguments is None:
        return "args_invalid: they are no JSON object"
    return f"args_invalid: they do not fit {call.name}"


class Desk:
    """Facts of the calls of one turn that are on their way to the log."""

    def __init__(self) -> None:
        self.pending: tuple[ev.Event, ...] = ()

    def note(self, *facts: ev.Event) -> None:
        """Say something with the next commit."""
        self.pending += facts

    def take(self) -> tuple[ev.Event, ...]:
        """What is to be committed now."""
        pending, self.pending = self.pending, ()
        return pending

    def changed(self, call: ToolCall) -> None:
        """The call runs with other arguments than the model gave: those are what is recorded."""
        self.pending = tuple(
            replaced(one, call)
            if isinstance(one, ev.ToolPlanned) and one.call_id == call.call_id
            else one
            for one in self.pending
        )


def replaced(planned: ev.ToolPlanned, call: ToolCall) -> ev.ToolPlanned:
    """The plan of a call with the arguments it really runs with."""
    return planned.model_copy(update={"name": call.name, "arguments": call.arguments})


def definition_of(tool: Tool) -> str:
    """The digest of what a tool is: its server's words, or our own specification."""
    if isinstance(tool, McpTool):
        return tool.definition.digest
    return hashlib.sha256(tool.spec.model_dump_json().encode()).hexdigest()
