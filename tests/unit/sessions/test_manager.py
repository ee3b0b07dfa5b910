"""The order of every change: commit, evolve, publish, acknowledge."""

import asyncio

import pytest

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict, NotFound, Unavailable
from brainpilot_rt.domain.ids import PRINCIPAL, CallId, RunId, SessionId
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.testing.sources import ManualClock, SequentialIds
from tests.unit.sessions.world import SESSION, World


class Desk:
    """A manager over a log in memory, and what a listener was told."""

    def __init__(self, log: MemoryEventLog | None = None) -> None:
        self.clock = ManualClock()
        self.log = log or MemoryEventLog(clock=self.clock)
        self.hub = Hub(self.clock.now_ms)
        self.told: list[ev.Recorded] = []
        self.seen: list[int] = []
        """`seq` of the committed state at each telling."""
        self.manager = SessionManager(
            self.log,
            self.hub,
            clock=self.clock,
            new_id=SequentialIds(),
            limits=SessionLimits(),
        )
        self.hub.listen(self._on_item)

    def _on_item(self, item: Item) -> None:
        if isinstance(item, ev.Recorded):
            self.told.append(item)
            self.seen.append(self.manager.state(item.session).seq)

    async def create(self, session: SessionId = SESSION) -> None:
        await self.manager.dispatch(session, cmd.CreateSession(title="t"))

    def state(self) -> SessionState:
        return self.manager.state(SESSION)


world = World()
"""Makes commands with ids of their own."""


async def test_a_listener_finds_each_event_in_the_log_and_in_the_state():
    desk = Desk()
    await desk.create()
    recorded = await desk.manager.dispatch(SESSION, world.post())
    assert [one.event.type for one in recorded] == [
        "letter_accepted",
        "host_turn_started",
        "run_started",
    ]
    assert [one.seq for one in desk.told] == desk.seen == [1, 2, 3, 4, 5]
    assert await desk.log.head(SESSION) == 5


async def test_what_is_decided_is_invisible_until_it_is_durable():
    desk = Desk()
    await desk.create()
    before = desk.state()
    waiting = asyncio.get_running_loop().create_task(desk.manager.dispatch(SESSION, world.post()))
    await asyncio.sleep(0)
    assert desk.state() is before
    assert len(desk.told) == 2
    await waiting
    assert desk.state().runs


async def test_a_second_decision_stands_on_the_first_before_it_is_durable():
    desk = Desk()
    await desk.create()
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(desk.manager.dispatch(SESSION, world.post())) for _ in range(2)]
    starts = [one for task in both for one in task.result() if isinstance(one.event, ev.RunStarted)]
    assert len(starts) == 1
    assert len(desk.state().queued_for(PRINCIPAL)) == 1


async def test_a_log_that_fails_takes_everything_back_that_stood_on_it():
    desk = Desk()
    await desk.create()
    before = desk.state()
    desk.log.fail_commits("disk full")
    results = [
        asyncio.get_running_loop().create_task(desk.manager.dispatch(SESSION, world.post()))
        for _ in range(3)
    ]
    await asyncio.wait(results)
    assert all(isinstance(one.exception(), Unavailable) for one in results)
    assert desk.state() is before
    assert len(desk.told) == 2
    desk.log.fail_commits(None)
    recorded = await desk.manager.dispatch(SESSION, world.post())
    assert [one.seq for one in recorded] == [3, 4, 5]
    row = await desk.log.session(SESSION)
    assert row is not None
    assert row.busy


async def test_an_answer_refused_for_its_key_leaves_no_trace_of_its_events():
    desk = Desk()
    await desk.create()

    times: list[int] = []

    def same(_events: object, at_ms: int) -> Receipt:
        times.append(at_ms)
        return Receipt(key="k", fingerprint="f", status=202, body=b"", at_ms=0)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(
            desk.manager.dispatch(SESSION, cmd.UpdateSession(title="one"), same)
        )
        second = group.create_task(_refused(desk, world.post(), same))
        third = group.create_task(desk.manager.dispatch(SESSION, world.post()))
    assert [one.at_ms for one in first.result()] == times[:1]
    assert isinstance(second.result(), Conflict)
    assert third.result()
    await asyncio.sleep(0.1)
    state = desk.state()
    assert len(state.letters) == 1
    assert len(state.runs) == 1
    fresh = Desk(desk.log)
    assert await fresh.manager.load(SESSION) == state


async def _refused(desk: Desk, command: cmd.Command, receipt: object) -> Exception | None:
    try:
        await desk.manager.dispatch(SESSION, command, receipt)  # pyright: ignore[reportArgumentType] - any builder
    except Conflict as refused:
        return refused
    return None


async def test_a_caller_that_gives_up_does_not_undo_the_commit():
    desk = Desk()
    await desk.create()
    waiting = asyncio.get_running_loop().create_task(desk.manager.dispatch(SESSION, world.post()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert desk.state().runs


async def test_a_run_that_has_ended_can_change_nothing():
    desk = Desk()
    await desk.create()
    await desk.manager.dispatch(SESSION, world.post())
    [run_id] = desk.state().runs
    finish = cmd.FinishRun(run_id=run_id, outcome="completed", turns=1)
    await desk.manager.dispatch(SESSION, finish)
    before = desk.state()
    late = ev.ToolStarted(run_id=run_id, call_id=CallId("c"))
    with pytest.raises(Conflict, match="ended"):
        await desk.manager.record(SESSION, late)
    with pytest.raises(Conflict, match="ended"):
        await desk.manager.dispatch(SESSION, finish)
    with pytest.raises(Conflict, match="ended"):
        await desk.manager.dispatch(SESSION, cmd.JoinLetters(run_id=RunId("run_forged"), turn=1))
    assert desk.state() is before


async def test_time_alone_starts_what_is_due():
    desk = Desk()
    await desk.create()
    await desk.manager.dispatch(SESSION, world.post())
    [run_id] = desk.state().runs
    later = desk.clock.now_ms() + 5000
    await desk.manager.dispatch(
        SESSION, cmd.FinishRun(run_id=run_id, outcome="failed", turns=0, retry_at_ms=later)
    )
    assert await desk.manager.dispatch(SESSION, cmd.Wake()) == []
    desk.clock.advance(5)
    recorded = await desk.manager.dispatch(SESSION, cmd.Wake())
    assert [one.event.type for one in recorded] == ["run_started"]


async def test_a_session_that_was_forgotten_is_read_again_as_it_was():
    desk = Desk()
    await desk.create()
    await desk.manager.dispatch(SESSION, world.post())
    before = desk.state()
    desk.manager.forget(SESSION)
    with pytest.raises(NotFound):
        desk.manager.state(SESSION)
    async with asyncio.TaskGroup() as group:
        loads = [group.create_task(desk.manager.load(SESSION)) for _ in range(3)]
    assert all(one.result() is loads[0].result() for one in loads)
    assert desk.state() == before


async def test_nothing_begins_in_a_session_that_is_being_deleted():
    desk = Desk()
    await desk.create()
    with desk.manager.deleting(SESSION):
        with pytest.raises(NotFound):
            await desk.manager.dispatch(SESSION, world.post())
        await desk.manager.dispatch(SESSION, cmd.Evict(agents_stopped=0))
        await desk.log.delete_session(SESSION)
    with pytest.raises(NotFound):
        await desk.manager.load(SESSION)
    await desk.create()
    assert desk.state().seq == 2
