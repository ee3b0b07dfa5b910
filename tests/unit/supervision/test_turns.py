"""The turns of a session, as the log has them: numbered, and with what was read in each."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import DAEMON_STREAM, PRINCIPAL, AgentName, LetterId, RunId, SessionId
from brainpilot_rt.domain.messages import AssistantMessage
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.supervision.turns import Turns
from brainpilot_rt.testing.team import LoopClock

SESSION = SessionId("s")


def part(name: str, digest: str, text: str | None = None) -> ContextSection:
    return ContextSection(name=name, tokens=3, digest=digest, text=text)


def context(
    turn: int, *sections: ContextSection, agent: AgentName = PRINCIPAL, run: str = "run_1"
) -> ev.ContextAssembled:
    return ev.ContextAssembled(
        run_id=RunId(run), agent=agent, turn=turn, sections=sections, tokens=7, duration_us=900
    )


def replied(turn: int, run: str = "run_1") -> ev.ModelReplied:
    return ev.ModelReplied(
        run_id=RunId(run),
        agent=PRINCIPAL,
        turn=turn,
        message=AssistantMessage(parts=()),
        stop_reason=StopReason.END,
        usage=Usage(input=11, output=2),
        model=ModelRef(provider="p", model="m"),
        cost_usd=Decimal("0.25"),
        duration_ms=1,
    )


THOUGHT = ev.IntentClassified(
    run_id=RunId("run_1"),
    agent=PRINCIPAL,
    intent="plan",
    confidence=1.0,
    reasoning="",
    source="fixed",
    program="plan_execute",
)


async def log_of(*events: ev.Event) -> MemoryEventLog:
    log = MemoryEventLog(clock=LoopClock())
    await log.append(SESSION, [ev.SessionCreated(title="t", thinking="off"), *events])
    return log


def texts(found: dict[str, Any]) -> dict[str, str | None]:
    return {one["name"]: one["text"] for one in found["sections"]}


async def test_turns_are_numbered_by_their_contexts_and_say_what_they_cost():
    log = await log_of(THOUGHT, context(0), replied(0), context(1))
    turns = Turns(log)
    found = await turns.recent(SESSION, 50)
    assert found["total"] == 2
    first, second = found["turns"]
    assert (first["n"], first["turn"], first["intent"], first["program"]) == (
        1,
        0,
        "plan",
        "plan_execute",
    )
    assert (first["model"], first["inputTokens"], first["costUsd"]) == ("p:m", 11, 0.25)
    assert (second["n"], second["model"], second["costUsd"]) == (2, None, None)
    await log.append(SESSION, [replied(1), context(0, run="run_2")])
    later = (await turns.recent(SESSION, 2))["turns"]
    assert [(one["n"], one["model"]) for one in later] == [(2, "p:m"), (3, None)]


async def test_a_run_that_resumes_has_the_intent_of_the_one_it_resumes():
    resumed = ev.RunStarted(
        run_id=RunId("run_2"),
        agent=PRINCIPAL,
        letter_ids=(),
        root_id=LetterId("l"),
        resumes=RunId("run_1"),
    )
    turns = Turns(await log_of(THOUGHT, context(0), resumed, context(1, run="run_2")))
    found = await turns.recent(SESSION, 5)
    assert [one["intent"] for one in found["turns"]] == ["plan", "plan"]


async def test_a_text_is_found_in_the_earlier_context_that_has_it():
    writer = AgentName("writer")
    log = await log_of(
        context(0, part("memory", "d2", "old"), agent=writer, run="run_0"),
        context(0, part("persona", "d1", "mine"), part("memory", "d2")),
        context(1, part("persona", "d1"), part("memory", "d3", "new"), part("lost", "d9")),
        context(2, part("persona", "d1"), part("memory", "d2")),
    )
    turns = Turns(log)
    assert texts(await turns.context(SESSION, 3)) == {
        "persona": "mine",
        "memory": "new",
        "lost": None,
    }
    assert texts(await turns.context(SESSION, "latest")) == {"persona": "mine", "memory": "old"}


@pytest.mark.parametrize("n", [0, 3, 10**9])
async def test_a_turn_that_is_not_there_is_answered_with_how_many_there_are(n: int):
    turns = Turns(await log_of(context(0), context(1)))
    with pytest.raises(NotFound, match="has 2 turns"):
        await turns.context(SESSION, n)


async def test_unknown_and_deleted_sessions_have_no_turns():
    log = await log_of(context(0))
    turns = Turns(log)
    with pytest.raises(NotFound):
        await turns.recent(SessionId("other"), 5)
    assert (await turns.recent(SESSION, 5))["total"] == 1
    await log.delete_session(SESSION)
    await log.append(DAEMON_STREAM, [ev.SessionDeleted(deleted=SESSION)])
    with pytest.raises(NotFound):
        await turns.recent(SESSION, 5)


async def test_what_is_committed_while_the_log_is_read_is_counted_once():
    log = await log_of(*(context(number) for number in range(1_100)))
    turns = Turns(log)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(turns.recent(SESSION, 1))
        second = group.create_task(turns.recent(SESSION, 1))
        for number in range(5):
            await log.append(SESSION, [context(number, run="run_2")])
    assert first.result()["total"] >= 1_100
    assert second.result()["total"] >= 1_100
    assert (await turns.recent(SESSION, 1))["turns"][0]["n"] == 1_105
