"""Nodes in memory follow the log; views of them and of causes are read from it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.events import (
    LetterAccepted,
    Recorded,
    SessionCreated,
    TraceNodeSaved,
)
from brainpilot_rt.domain.ids import PRINCIPAL, TRACE, USER, LetterId, SessionId
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import PAGE
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.supervision.traces import VERSIONS_MAX, Traces, TraceViews
from brainpilot_rt.testing.sources import ManualClock

SESSION = SessionId("s")


def saved(name: str, status: str = "pending", *, fresh: bool = True) -> TraceNodeSaved:
    node = TraceNode(id=name, title=name, status=status, created_at="t", updated_at="t")
    return TraceNodeSaved(op="created" if fresh else "updated", node=node, agent=TRACE)


@asynccontextmanager
async def world() -> AsyncGenerator[tuple[MemoryEventLog, Traces]]:
    """A log whose commits are told to the traces."""
    clock = ManualClock()
    log, hub = MemoryEventLog(clock=clock), Hub(clock.now_ms)

    def publish(committed: Sequence[Recorded]) -> None:
        for one in committed:
            hub.publish(one)

    log.on_commit(publish)
    await log.append(SESSION, [SessionCreated(title="t")])
    yield log, Traces(log, hub)
    await log.close()


async def test_more_saves_than_a_page_holds_are_read_and_followed():
    async with world() as (log, traces):
        await log.append(SESSION, [saved(f"n{number}") for number in range(PAGE + 20)])
        assert traces.nodes(SESSION) == []
        assert len(await traces.load(SESSION)) == PAGE + 20
        await log.append(SESSION, [saved("n0", "completed", fresh=False), saved("last")])
        nodes = traces.nodes(SESSION)
        assert (nodes[0].id, nodes[0].status, nodes[-1].id) == ("n0", "completed", "last")
        traces.forget(SESSION)
        assert list(await traces.load(SESSION)) == nodes


async def test_what_is_saved_while_a_session_is_read_is_not_lost():
    async with world() as (log, traces):
        await log.append(SESSION, [saved("a")])
        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(traces.load(SESSION)) for _ in range(2)]
            group.create_task(append(log, saved("b")))
        assert [[one.id for one in load.result()][:1] for load in loads] == [["a"], ["a"]]
        assert [one.id for one in traces.nodes(SESSION)] == ["a", "b"]


async def append(log: MemoryEventLog, event: TraceNodeSaved) -> None:
    await log.append(SESSION, [event])


async def test_a_node_counts_its_versions_and_shows_the_newest():
    async with world() as (log, _):
        count = VERSIONS_MAX + 5
        await log.append(SESSION, [saved("a", f"{one}", fresh=one == 0) for one in range(count)])
        shown = await TraceViews(log).node(SESSION, "a")
        assert shown["version"] == VERSIONS_MAX + 5
        assert [one["version"] for one in shown["versions"]] == [
            *range(6, VERSIONS_MAX + 6),
        ]
        assert shown["node"]["status"] == shown["versions"][-1]["node"]["status"]


async def test_a_session_nobody_knows_has_no_views():
    async with world() as (log, _):
        views = TraceViews(log)
        for asked in (views.graph, views.nodes, views.causes):
            with pytest.raises(NotFound):
                await asked(SessionId("x"))


async def test_a_graph_that_nobody_recorded_is_made_from_the_causes_until_somebody_does():
    async with world() as (log, _):
        views = TraceViews(log)
        assert (await views.graph(SESSION))["nodes"] == []
        letter = Letter(
            id=LetterId("l1"),
            session=SESSION,
            from_=USER,
            to=PRINCIPAL,
            kind=LetterKind.USER_MESSAGE,
            content="why?",
            root_id=LetterId("l1"),
            created_at="t",
            authority=Authority(origin="user"),
        )
        await log.append(SESSION, [LetterAccepted(letter_id=letter.id, letter=letter)])
        [asked] = (await views.graph(SESSION))["nodes"]
        assert (asked["title"], asked["metadata"]) == ("why?", {"derived": True})
        shown = await views.node(SESSION, "l1")
        assert (shown["node"], shown["version"]) == (asked, 0)
        await log.append(SESSION, [saved("a")])
        assert [one["id"] for one in (await views.graph(SESSION))["nodes"]] == ["a"]
