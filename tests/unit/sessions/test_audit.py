"""The audit sees what is missing and what is doubled; its books are its own."""

from collections.abc import Callable

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, CallId, MessageId
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.sessions.audit import Audit
from brainpilot_rt.sessions.recovery import repair, resume
from tests.unit.sessions.world import SESSION, World


def working() -> World:
    """The principal at work, with a text and a call open."""
    world = World()
    world.do(world.post())
    run_id = world.run_of(PRINCIPAL)
    world.commit(
        [
            ev.TextStarted(run_id=run_id, agent=PRINCIPAL, turn=0, message_id=MessageId("m")),
            ev.ToolPlanned(
                run_id=run_id,
                agent=PRINCIPAL,
                turn=0,
                call_id=CallId("c"),
                name="read",
                arguments={},
                effect=Effect.PURE,
            ),
            ev.ToolStarted(run_id=run_id, call_id=CallId("c")),
        ]
    )
    return world


def found(events: list[ev.Recorded]) -> list[str]:
    """Violations of these events, renumbered without a gap."""
    audit = Audit(SESSION)
    for seq, one in enumerate(events, 1):
        audit.feed([ev.Recorded(SESSION, seq, seq, one.at_ms, one.event)])
    return [one.what for one in audit.violations()]


def test_open_work_of_a_run_at_work_is_no_violation():
    assert working().violations() == []


def test_the_end_of_a_run_closes_what_it_left_open():
    world = working()
    world.do(world.finish(PRINCIPAL))
    assert world.violations() == []


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        (ev.TextFinished, ["text_left_open"]),
        (ev.ToolFinished, ["call_left_open"]),
        (ev.LetterAccepted, ["letter_ended_without_start"]),
        (ev.RunStarted, ["run_ended_without_start"]),
    ],
)
def test_an_event_that_is_missing_is_found(kind: type[ev.Event], missing: list[str]):
    world = working()
    world.do(world.finish(PRINCIPAL))
    kept = [one for one in world.log if not isinstance(one.event, kind)]
    assert set(missing) <= set(found(kept))


@pytest.mark.parametrize("doubled", [ev.LetterAccepted, ev.TextFinished, ev.RunFinished])
def test_an_event_that_came_twice_is_found(doubled: type[ev.Event]):
    world = working()
    world.do(world.finish(PRINCIPAL))
    twice = [one for one in world.log for _ in range(1 + isinstance(one.event, doubled))]
    assert found(twice)


def test_a_gap_is_found():
    world = working()
    audit = Audit(SESSION).feed([*world.log[:2], *world.log[3:]])
    assert "gap" in [one.what for one in audit.violations()]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_cut_run_owns_its_calls_until_its_successor_does(steps: int):
    world = working()
    changes: list[Callable[[], list[ev.Event]]] = [
        lambda: repair(world.state, world.moment),
        lambda: resume(world.state, world.moment),
    ]
    for change in changes[:steps]:
        world.commit(change(), follow=False)
    assert world.violations() == []


def test_a_second_run_beside_the_first_of_an_agent_is_a_violation():
    world = working()
    run = next(one.event for one in world.log if isinstance(one.event, ev.RunStarted))
    beside = run.model_copy(update={"run_id": "run_other"})
    last = world.log[-1]
    extra = ev.Recorded(SESSION, last.seq + 1, last.pos + 1, last.at_ms, beside)
    assert "run_beside_another" in found([*world.log, extra])


def test_a_second_execution_of_what_can_not_be_undone_is_a_violation():
    events: list[ev.Event] = []
    for one in working().log:
        event = one.event
        if isinstance(event, ev.ToolPlanned):
            event = event.model_copy(update={"effect": Effect.IRREVERSIBLE})
        events.append(event)
        if isinstance(event, ev.ToolStarted):
            events.append(event.model_copy(update={"attempt": 2}))
    records = [ev.Recorded(SESSION, n, n, 0, event) for n, event in enumerate(events, 1)]
    assert "irreversible_call_repeated" in found(records)
