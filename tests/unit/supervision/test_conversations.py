"""A conversation is read back no further than it must be."""

from collections.abc import Sequence

from typing_extensions import override

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.messages import AssistantMessage, TextPart, ToolResultMessage
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import PAGE
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.supervision.conversations import Conversations
from brainpilot_rt.testing.team import LoopClock

SESSION = SessionId("s")
ME, OTHER = AgentName("librarian"), AgentName("writer")


class CountingLog(MemoryEventLog):
    """Counts the pages that were read."""

    pages = 0

    @override
    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = PAGE,
        types: frozenset[str] | None = None,
    ) -> list[ev.Recorded]:
        self.pages += 1
        return await super().read_back(session, before=before, limit=limit, types=types)


def replied(text: str, agent: AgentName = ME) -> ev.ModelReplied:
    return ev.ModelReplied(
        run_id=RunId("r"),
        agent=agent,
        turn=0,
        message=AssistantMessage(parts=(TextPart(text=text),)),
        stop_reason=StopReason.END,
        usage=Usage(),
        model=ModelRef(provider="p", model="m"),
        cost_usd=None,
        duration_ms=1,
    )


def compacted(through_seq: int, agent: AgentName = ME) -> ev.ConversationCompacted:
    return ev.ConversationCompacted(
        run_id=RunId("r"),
        agent=agent,
        turn=0,
        through_seq=through_seq,
        summary="In short.",
        messages_before=9,
        messages_after=2,
        chars_before=900,
        chars_after=90,
    )


async def read(events: Sequence[ev.Event], agent: AgentName = ME) -> tuple[list[str], int]:
    clock = LoopClock()
    log = CountingLog(clock=clock)
    await log.append(SESSION, events)
    conversations = Conversations(log, Hub(clock.now_ms), keep_max=4, chars_max=10**6)
    found = await conversations.of(SESSION, agent)
    texts = [one.text for one in found.messages() if not isinstance(one, ToolResultMessage)]
    return texts, log.pages


async def test_what_a_summary_stands_for_is_not_read_again():
    many = [replied(str(number)) for number in range(3 * PAGE)]
    texts, pages = await read([*many, compacted(len(many) - 2), replied("new")])
    assert pages == 1
    assert "In short." in texts[0]
    assert texts[1:] == [str(3 * PAGE - 2), str(3 * PAGE - 1), "new"]


async def test_what_came_after_the_summary_is_read_however_much_it_is():
    texts, pages = await read(
        [replied("old"), compacted(1), *(replied(str(number)) for number in range(2 * PAGE))]
    )
    assert pages == 3
    assert len(texts) == 2 * PAGE + 1
    assert "In short." in texts[0]


async def test_the_summary_of_another_agent_ends_no_reading():
    texts, _ = await read([replied("mine"), compacted(1, OTHER), *[replied("x", OTHER)] * PAGE])
    assert texts == ["mine"]
