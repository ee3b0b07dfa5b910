"""Guardrails around a run: what goes in, what comes out before anybody hears it, what tools bring.

The checks are in `governance/guardrails`, pure; external providers are asked over HTTP. The rules
as they are now stand in the record `guardrails`, and a change counts from the next check on. A text
that streams is held back just far enough that nothing is shown before it was judged; where an
external provider judges what is said, the whole reply waits for it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

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
from brainpilot_rt.governance.guardrails.pipeline import UNAVAILABLE, Finding, Verdict, judge
from brainpilot_rt.governance.guardrails.streaming import Window
from brainpilot_rt.settings import GuardSettings
from brainpilot_rt.supervision.records import Records

_T = TypeVar("_T")

CONFIG: Final = "config"
_READ_MAX: Final = 200_000
"""Characters of one message that are checked."""
_ON_LOOP_MAX: Final = 64 * 1024
"""Characters; a longer text is worked on in a thread, as it would hold up everybody else."""
_KNOWN_MAX: Final = 4096
"""Messages whose verdict is kept, so that each is judged once and not in every turn."""
_SHORT: Final = 2_000


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
        self._known: dict[str | bytes, str | None] = {}
        """Message -> what stands in its place; None: it may be read as it is."""
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
        if kind in {"guardrails", "guardrail_provider"}:
            self._config = None
            self._known.clear()

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
        verdict = await worked(text, lambda whole: judge(whole, stage, config, external))
        return Checked(stage, verdict)

    def asks_others(self, stage: GuardStage) -> bool:
        """Whether an external provider looks at this stage."""
        config = self.config
        return (
            config.enabled and self._providers is not None and self._providers.judges(stage, config)
        )

    async def incoming(
        self, messages: Sequence[Message], run_id: RunId, agent: AgentName, turn: int
    ) -> tuple[Sequence[Message], tuple[ev.GuardrailFired, ...], str]:
        """The conversation as it may be read; what fired, and why it may not, since the last reply.

        What was redacted or stopped in an earlier turn or run stays so: the log has it as it came.
        Results of tools were checked when they came.
        """
        if not self.config.enabled:
            return messages, (), ""
        facts: list[ev.GuardrailFired] = []
        for one in messages[_answered(messages) :]:
            if not isinstance(one, UserMessage):
                continue
            checked = await self._judged(one.text)
            facts += _fired(checked.verdict, "input", run_id, agent, turn, None)
            if checked.action == "block":
                return messages, tuple(facts), f"a guardrail stopped the request: {checked.reason}"
        changed: dict[int, UserMessage] = {}
        for at, one in enumerate(messages):
            if not isinstance(one, UserMessage):
                continue
            if (key := _key(one.text)) in self._known:
                instead = self._known[key]
            else:
                instead = _instead(one.text, await self._judged(one.text))
            if instead is not None:
                changed[at] = UserMessage(text=instead)
        if changed:
            messages = tuple(changed.get(at, one) for at, one in enumerate(messages))
        return messages, tuple(facts), ""

    async def _judged(self, text: str) -> Checked:
        """The verdict on one message, which is kept."""
        checked = await self.check(text[:_READ_MAX], "input")
        if checked.action == "block" and any(
            one.label == UNAVAILABLE for one in checked.verdict.findings
        ):
            return checked  # somebody could not be asked: next time perhaps
        if len(self._known) >= _KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self._known[_key(text)] = _instead(text, checked)
        return checked

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
    _kinds: dict[int, type[TextDelta | ReasoningDelta]] = field(
        default_factory=dict[int, type[TextDelta | ReasoningDelta]]
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
        window = self._windows.get(index)
        if window is None:
            window = self._windows[index] = Window(config)
            self._kinds[index] = type(event)
        said = window.feed(event.text)
        return [*ended, type(event)(index=index, text=said)] if said else ended

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
        return [self._kinds[index](index=index, text=rest)] if rest else []


async def worked(text: str, work: Callable[[str], _T]) -> _T:
    """What is made of a text, however long it is."""
    return work(text) if len(text) <= _ON_LOOP_MAX else await asyncio.to_thread(work, text)


def _answered(messages: Sequence[Message]) -> int:
    """How many messages there are up to the last reply."""
    for at in range(len(messages), 0, -1):
        if isinstance(messages[at - 1], AssistantMessage):
            return at
    return 0


def _key(text: str) -> str | bytes:
    """What a message is known by: itself, or a digest of a long one, which is not to be kept."""
    if len(text) <= _SHORT:
        return text
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _instead(text: str, checked: Checked) -> str | None:
    """What a model reads in place of a message; None: the message."""
    match checked.action:
        case "block":
            return checked.shown
        case "redact":
            return checked.shown + text[_READ_MAX:]
        case _:
            return None


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
