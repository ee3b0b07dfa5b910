"""What the owner wants of the guardrails, and its shape on the wire. Pure.

On the wire it is BrainstormRouter's: `enabled`, `mode`, `confidenceThreshold`, and `providers` with
the built-in checks among them; ours are `topics`, `fail`, `timeoutMs`, and per provider `stages`
and `actions`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.governing import GuardAction, GuardStage
from brainpilot_rt.domain.values import Value, checked
from brainpilot_rt.governance.guardrails.topics import PHRASE_CHARS_MAX

STAGES: Final[tuple[GuardStage, ...]] = ("input", "output", "tool_args", "tool_result")

_USUAL: Final[Mapping[str, Mapping[GuardStage, GuardAction]]] = {
    "secrets": {
        "input": "warn",
        "output": "redact",
        "tool_args": "redact",
        "tool_result": "redact",
    },
    # It is the owner's own data, on the owner's own machine.
    "pii": {"input": "log", "output": "log", "tool_args": "warn", "tool_result": "log"},
    "builtin": {"input": "log", "tool_args": "warn", "tool_result": "warn"},
}
"""What is done in the mode `warn`, where nothing else is said: graded by what is at stake."""

_Phrase = Annotated[str, Field(min_length=1, max_length=PHRASE_CHARS_MAX)]


class _Wired(Value):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


class CheckConfig(_Wired):
    """One check: a built-in one, or an external provider by its id."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$")]
    enabled: bool = True
    stages: tuple[GuardStage, ...] = STAGES
    actions: dict[GuardStage, GuardAction] = Field(default_factory=dict[GuardStage, GuardAction])
    """Where it differs from the mode."""


class Topics(_Wired):
    """Phrases nobody should mention, and longer ones in which they are welcome."""

    deny: Annotated[tuple[_Phrase, ...], Field(max_length=500)] = ()
    allow: Annotated[tuple[_Phrase, ...], Field(max_length=500)] = ()


class GuardrailConfig(_Wired):
    """All of it. Where two redactions overlap, the check that stands first names it."""

    enabled: bool = True
    mode: GuardAction = "warn"
    """What is done about a finding; `warn` is graded, see `action_of`."""
    confidence_threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Findings below it are ignored."""
    checks: Annotated[tuple[CheckConfig, ...], Field(alias="providers", max_length=100)] = (
        CheckConfig(id="builtin", stages=("input", "tool_args", "tool_result")),
        CheckConfig(id="secrets"),
        CheckConfig(id="pii"),
        CheckConfig(id="topic-restriction", enabled=False),
    )
    topics: Topics = Topics()
    fail: Literal["open", "closed"] = "closed"
    """What it means when an external provider gives no verdict: the text passes, or is blocked."""
    timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 5_000
    """For an external provider's answer."""

    def check(self, check_id: str) -> CheckConfig:
        """What holds for one check; an external provider nobody has written about is on."""
        return next((one for one in self.checks if one.id == check_id), CheckConfig(id=check_id))


def action_of(config: GuardrailConfig, check_id: str, stage: GuardStage) -> GuardAction | None:
    """What is done about a finding of a check; None: it does not look at this stage."""
    check = config.check(check_id)
    if not config.enabled or not check.enabled or stage not in check.stages:
        return None
    usual = _USUAL.get(check_id, {}) if config.mode == "warn" else {}
    return check.actions.get(stage) or usual.get(stage) or config.mode


def parse_config(
    body: Mapping[str, Any], current: GuardrailConfig | None = None
) -> GuardrailConfig:
    """The configuration with what a request changes of it. Raises `BadRequest`.

    Providers are merged by their ids, fields nobody knows are ignored.
    """
    known = config_json(current or GuardrailConfig())
    changed = {name: value for name, value in body.items() if name in known}
    if isinstance(listed := changed.get("providers", []), list):
        changed["providers"] = _merged(known["providers"], cast("list[Any]", listed))
    return checked(GuardrailConfig, known | changed, "bad_request")


def config_json(config: GuardrailConfig) -> dict[str, Any]:
    """As it goes over the wire and into a record."""
    return config.model_dump(mode="json", by_alias=True)


def _merged(old: list[dict[str, Any]], new: list[Any]) -> list[Any]:
    fields = {"id", *CheckConfig.model_fields}
    by_id: dict[object, Any] = {one["id"]: one for one in old}
    for one in new:
        said = cast("dict[str, Any]", one) if isinstance(one, dict) else {}
        if not isinstance(said.get("id"), str):
            raise BadRequest("each of the providers has an id")
        wanted = {name: value for name, value in said.items() if name in fields}
        by_id[said["id"]] = by_id.get(said["id"], {}) | wanted
    return list(by_id.values())
