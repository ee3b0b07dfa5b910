"""Guardrails of a run: what was decided about a message holds, and new rules count at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from brainpilot_rt.domain.governing import GuardAction, GuardStage
from brainpilot_rt.domain.ids import AgentName, RunId
from brainpilot_rt.domain.messages import AssistantMessage, Message, TextPart, UserMessage
from brainpilot_rt.domain.model_calls import ReasoningDelta, TextDelta
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.guardrails.pipeline import Finding
from brainpilot_rt.governance.guardrails.providers import unavailable
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import GuardSettings, SessionLimits
from brainpilot_rt.supervision.guarding import ExternalGuards, Guards
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.testing.sources import ManualClock, SequentialIds

RUN, AGENT = RunId("run_1"), AgentName("a")
SECRET = "My password is hunter2Zx9!kk, use it."
HARMLESS = UserMessage(text="And now something harmless.")
ANSWER = AssistantMessage(parts=(TextPart(text="Yes."),))


@dataclass
class Judge:
    """An external provider that notes what it is asked about."""

    finding: Finding | None = None
    asked: list[str] = field(default_factory=list[str])

    def judges(self, stage: GuardStage, config: GuardrailConfig) -> bool:
        del config
        return stage == "input"

    async def findings(
        self, text: str, stage: GuardStage, config: GuardrailConfig
    ) -> Sequence[Finding]:
        del stage, config
        self.asked.append(text)
        return [self.finding] if self.finding else []


async def guards(
    mode: GuardAction, external: ExternalGuards | None = None
) -> tuple[Guards, Records]:
    clock = ManualClock()
    log = MemoryEventLog(clock=clock)
    manager = SessionManager(
        log, Hub(clock.now_ms), clock=clock, new_id=SequentialIds(), limits=SessionLimits()
    )
    records = Records(log, manager)
    await records.load()
    return Guards(records, GuardSettings(mode=mode), external), records


async def read(over: Guards, *messages: Message) -> tuple[list[str], int, str]:
    """The texts a model may read, how much fired, and why it may not be asked."""
    shown, facts, why = await over.incoming(messages, RUN, AGENT, 0)
    texts = [one.text for one in shown if isinstance(one, UserMessage)]
    return texts, len(facts), why


async def test_what_was_redacted_stays_redacted_in_the_turns_that_follow():
    over, _ = await guards("redact")
    said = UserMessage(text=SECRET)
    redacted = "My password is [REDACTED:secret], use it."
    assert await read(over, said) == ([redacted], 1, "")
    assert await read(over, said, ANSWER, HARMLESS) == ([redacted, HARMLESS.text], 0, "")


async def test_what_was_stopped_is_not_read_with_the_next_request_either():
    over, _ = await guards("block")
    said = UserMessage(text=SECRET)
    _, fired, why = await read(over, said)
    assert (fired, why) == (1, "a guardrail stopped the request: called a password")
    texts, fired, why = await read(over, said, ANSWER, HARMLESS)
    assert texts == ["[Stopped by the guardrail secrets: called a password]", HARMLESS.text]
    assert (fired, why) == (0, "")


async def test_an_earlier_life_is_judged_again_as_its_verdicts_are_not_kept():
    over, _ = await guards("redact")
    texts, fired, _ = await read(over, UserMessage(text=SECRET), ANSWER, HARMLESS)
    assert (texts[0], fired) == ("My password is [REDACTED:secret], use it.", 0)


async def test_a_message_is_judged_once_until_the_rules_change():
    judge = Judge()
    over, records = await guards("warn", judge)
    said = (UserMessage(text="Hello."), ANSWER, HARMLESS)
    await read(over, *said)
    await read(over, *said, ANSWER)
    await read(over, *said, ANSWER)
    assert judge.asked == [HARMLESS.text, "Hello."]
    await over.set_config(GuardrailConfig(mode="redact"))
    await records.put("guardrail_provider", "other", {})
    await read(over, *said, ANSWER)
    assert judge.asked[2:] == ["Hello.", HARMLESS.text]


async def test_a_rule_that_becomes_stricter_counts_for_what_was_said_before():
    over, _ = await guards("log")
    said = UserMessage(text=SECRET)
    assert (await read(over, said, ANSWER))[0] == [SECRET]
    await over.set_config(GuardrailConfig(mode="redact"))
    assert (await read(over, said, ANSWER))[0] == ["My password is [REDACTED:secret], use it."]


async def test_a_long_message_is_judged_once_too_and_what_stands_after_its_secret_is_read():
    over, _ = await guards("redact")
    long = UserMessage(text=f"{SECRET} {'word ' * 1000}")
    texts, fired, _ = await read(over, long, ANSWER, HARMLESS)
    assert texts[0] == long.text.replace("hunter2Zx9!kk", "[REDACTED:secret]")
    assert (await read(over, long, ANSWER, HARMLESS))[0] == texts
    assert fired == 0


async def test_a_message_that_nobody_could_judge_is_judged_the_next_time():
    judge = Judge(unavailable("far", "no answer within 5 s"))
    over, _ = await guards("warn", judge)
    assert (await read(over, HARMLESS))[2]
    judge.finding = None
    assert await read(over, HARMLESS, ANSWER) == ([HARMLESS.text], 0, "")


async def test_a_long_text_is_judged_like_a_short_one():
    over, _ = await guards("redact")
    long = "word " * 20_000
    checked = await over.check(long + SECRET, "tool_result")
    assert checked.shown == long + "My password is [REDACTED:secret], use it."


async def test_pieces_keep_their_kind_and_place_whatever_is_held_back():
    over, _ = await guards("redact")
    reply = over.reply(RUN, AGENT, 0)
    heard = [
        one
        for piece in (
            ReasoningDelta(index=0, text="My password is hunter2"),
            ReasoningDelta(index=0, text="Zx9!kk, no"),
            TextDelta(index=1, text="Fine, th"),
            TextDelta(index=1, text="anks a lot"),
        )
        for one in reply.hear(piece)
    ]
    deltas = [one for one in heard if isinstance(one, ReasoningDelta | TextDelta)]
    thought = "".join(one.text for one in deltas if one.type == "reasoning")
    said = "".join(one.text for one in deltas if one.type == "text")
    assert (thought, said) == ("My password is [REDACTED:secret], no", "Fine, thanks a ")
    assert {(one.type, one.index) for one in deltas} == {("reasoning", 0), ("text", 1)}
