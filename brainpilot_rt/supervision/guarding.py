"""Guardrails around a run: what goes in, what comes out before anybody hears it, what tools bring.

The checks are in `governance/guardrails`, pure; external providers are asked over HTTP. The rules
as they are now stand in the record `guardrails`, and a change counts from the next check on. A text
that streams is held back just far enough that nothing is shown before it was judged; where an
external provider judges what is said, the whole reply waits for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.governing import GuardAction, GuardStage
from brainpilot_rt.domain.ids import AgentName, CallId, RunId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    ReasoningPart,
    TextPart,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ReasoningDelta,
    ReplyFinished,
    StopReason,
    TextDelta,
)
from brainpilot_rt.governance.guardrails import injection
from brainpilot_rt.governance.guardrails.config import GuardrailConfig, config_json
from brainpilot_rt.governance.guardrails.pipeline import Finding, Verdict, judge
from brainpilot_rt.governance.guardrails.streaming import Window
from brainpilot_rt.settings import GuardSettings
from brainpilot_rt.supervision.records import Records

CONFIG: Final = "config"
_READ_MAX: Final = 200_000
"""Characters of one message that are checked."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A text, judged."""

    stage: GuardStage
    verdict: Verdict

    @property
    def action(self) -> GuardAction | None:
        """What is to be done about it; None: nothing."""
        return self.verdict.action

    @property
    def shown(self) -> str:
        """The text as it may go on."""
        return self.verdict.text

    @property
    def reason(self) -> str:
        """Of the finding that decided."""
        return self.verdict.reason

    def fired(
        self, who: RunIdentity, turn: int, call_id: CallId | None = None
    ) -> tuple[ev.GuardrailFired, ...]:
        """What is to be recorded of it."""
        return _fired(self.verdict, self.stage, who.run_id, who.agent, turn, call_id)


class ExternalGuards(Protocol):
    """Guardrail providers that are asked over the network."""

    def judges(self, stage: GuardStage, config: GuardrailConfig) -> bool:
        """Whether one of them looks at this stage."""
        ...

    async def findings(
        self, text: str, stage: GuardStage, config: GuardrailConfig
    ) -> Sequence[Finding]:
        """What they say; one that gives no verdict is a finding too."""
        ...


class Guards:
    """The guardrails of the daemon."""

    def __init__(
        self,
        records: Records,
        settings: GuardSettings,
        providers: ExternalGuards | None = None,
    ) -> None:
        self._records = records
        self._settings = settings
        self._providers = providers
        self._config: GuardrailConfig | None = None
        records.listen(self._changed)

    @property
    def config(self) -> GuardrailConfig:
        """The rules as they are now."""
        if self._config is None:
            kept = self._records.get("guardrails", CONFIG)
            self._config = (
                GuardrailConfig(
                    enabled=self._settings.enabled,
                    mode=self._settings.mode,
                    confidence_threshold=self._settings.confidence,
                    fail=self._settings.provider_fail,
                    timeout_ms=round(self._settings.provider_wait_s * 1000),
                )
                if kept is None
                else GuardrailConfig.model_validate(kept)
            )
        return self._config

    async def set_config(self, config: GuardrailConfig) -> None:
        """Other rules from now on."""
        await self._records.put("guardrails", CONFIG, config_json(config))

    def _changed(self, kind: str, _key: str, _body: object) -> None:
        if kind == "guardrails":
            self._config = None

    def injection(self, text: str) -> float:
        """How much a text reads like an injected prompt, 0 to 1."""
        return injection.confidence(text)

    def redacted(self, text: str) -> str:
        """A text that leaves this machine, without what may not."""
        return judge(text, "tool_args", self.config).text

    async def check(self, text: str, stage: GuardStage) -> Checked:
        """Judge a whole text."""
        config = self.config
        external: Sequence[Finding] = ()
        if self.asks_others(stage) and self._providers is not None:
            external = await self._providers.findings(text, stage, config)
        return Checked(stage, judge(text, stage, config, external))

    def asks_others(self, stage: GuardStage) -> bool:
        """Whether an external provider looks at this stage."""
        config = self.config
        return (
            config.enabled and self._providers is not None and self._providers.judges(stage, config)
        )

    async def incoming(
        self, messages: Sequence[Message], run_id: RunId, agent: AgentName, turn: int
    ) -> tuple[Sequence[Message], tuple[ev.GuardrailFired, ...], str]:
        """What was said since the last reply: as it may be read, what fired, and why it may not.

        Results of tools were checked when they came.
        """
        if not self.config.enabled:
            return messages, (), ""
        first = max(
            (at + 1 for at, one in enumerate(messages) if isinstance(one, AssistantMessage)),
            default=0,
        )
        checked = list(messages)
        facts: list[ev.GuardrailFired] = []
        for at in range(first, len(checked)):
            said = checked[at]
            if not isinstance(said, UserMessage):
                continue
            one = await self.check(said.text[:_READ_MAX], "input")
            facts += _fired(one.verdict, "input", run_id, agent, turn, None)
            if one.action == "block":
                return messages, tuple(facts), f"a guardrail stopped the request: {one.reason}"
            if one.action == "redact":
                checked[at] = UserMessage(text=one.shown + said.text[_READ_MAX:])
        changed = any(new is not old for new, old in zip(checked, messages, strict=True))
        return (tuple(checked) if changed else messages), tuple(facts), ""

    def reply(self, run_id: RunId, agent: AgentName, turn: int) -> "GuardedReply":
        """For one reply of a model."""
        return GuardedReply(self, self.asks_others("output"), run_id, agent, turn)


@dataclass(slots=True)
class GuardedReply:
    """The texts of one reply, each judged before it is heard."""

    _guards: Guards
    _whole: bool
    """Nothing is heard before all of it was judged: an external provider judges whole texts."""
    _run_id: RunId
    _agent: AgentName
    _turn: int
    _windows: dict[int, Window] = field(default_factory=dict[int, Window])
    _made: dict[int, Callable[[str], ModelEvent]] = field(
        default_factory=dict[int, Callable[[str], ModelEvent]]
    )
    _facts: list[ev.GuardrailFired] = field(default_factory=list[ev.GuardrailFired])

    def hear(self, event: ModelEvent) -> list[ModelEvent]:
        """What may be heard now."""
        config = self._guards.config
        if not config.enabled or not isinstance(event, TextDelta | ReasoningDelta):
            return [event]
        index = event.index
        ended = [one for at in [*self._windows] if at != index for one in self._end(at)]
        if self._whole:
            return ended
        window = self._windows.setdefault(index, Window(config))
        self._made[index] = lambda text: event.model_copy(update={"text": text})
        said = window.feed(event.text)
        return [*ended, *([self._made[index](said)] if said else [])]

    async def finish(self, reply: ReplyFinished) -> list[ModelEvent]:
        """The rest, then the reply with the very texts that were heard."""
        rest = [one for at in [*self._windows] for one in self._end(at)]
        if not self._guards.config.enabled:
            return [*rest, reply]
        parts: list[AssistantPart] = []
        blocked = False
        for part in reply.message.parts:
            if not isinstance(part, TextPart | ReasoningPart):
                parts.append(part)
                continue
            checked = await self._guards.check(part.text, "output")
            self._facts += _fired(
                checked.verdict, "output", self._run_id, self._agent, self._turn, None
            )
            blocked = blocked or checked.action == "block"
            parts.append(part if checked.shown == part.text else _said(part, checked.shown))
        if blocked:  # what it wanted to do with that is not done either
            parts = [one for one in parts if isinstance(one, TextPart | ReasoningPart)]
        message = AssistantMessage(parts=tuple(parts))
        if message == reply.message:
            return [*rest, reply]
        stop = StopReason.REFUSAL if blocked else reply.stop_reason
        return [*rest, reply.model_copy(update={"message": message, "stop_reason": stop})]

    def facts(self) -> tuple[ev.GuardrailFired, ...]:
        """What fired and was not told yet."""
        facts, self._facts = tuple(self._facts), []
        return facts

    def _end(self, index: int) -> list[ModelEvent]:
        rest = self._windows.pop(index).finish()
        return [self._made[index](rest)] if rest else []


def _said(part: TextPart | ReasoningPart, text: str) -> TextPart | ReasoningPart:
    # What a provider has signed is worth nothing when its text was changed.
    if isinstance(part, ReasoningPart):
        return ReasoningPart(text=text)
    return TextPart(text=text)


def _fired(
    verdict: Verdict,
    stage: GuardStage,
    run_id: RunId,
    agent: AgentName,
    turn: int,
    call_id: CallId | None,
) -> tuple[ev.GuardrailFired, ...]:
    if verdict.action is None:
        return ()
    return (
        ev.GuardrailFired(
            run_id=run_id,
            agent=agent,
            turn=turn,
            stage=stage,
            action=verdict.action,
            guardrail=verdict.guardrail,
            confidence=verdict.confidence,
            reason=verdict.reason,
            call_id=call_id,
        ),
    )
