"""What a run that was cut hands on to its successor."""

import pytest

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, CallId
from brainpilot_rt.domain.messages import AssistantMessage, TextPart
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.sessions.recovery import cut, repair, resume
from brainpilot_rt.sessions.state import RunState
from tests.unit.sessions.world import World

CALL = CallId("c")


def planned(world: World, effect: Effect) -> None:
    run_id = world.run_of(PRINCIPAL)
    world.commit(
        [
            ev.ModelReplied(
                run_id=run_id,
                agent=PRINCIPAL,
                turn=0,
                message=AssistantMessage(parts=(TextPart(text="."),)),
                stop_reason=StopReason.TOOL_USE,
                usage=Usage(input=1, output=1),
                model=ModelRef(provider="p", model="m"),
                cost_usd=None,
                duration_ms=1,
            ),
            ev.ToolPlanned(
                run_id=run_id,
                agent=PRINCIPAL,
                turn=0,
                call_id=CALL,
                name="bash",
                arguments={},
                effect=effect,
            ),
        ]
    )


def start(world: World) -> None:
    world.commit([ev.ToolStarted(run_id=world.run_of(PRINCIPAL), call_id=CALL)])


def crash(world: World) -> list[ev.Event]:
    return world.commit(repair(world.state, world.moment), follow=False)


def restart(world: World) -> RunState:
    world.commit(resume(world.state, world.moment))
    [run] = world.state.runs.values()
    return run


def at_work() -> World:
    world = World()
    world.do(world.post())
    return world


def test_a_successor_goes_on_with_the_next_turn_and_the_same_letters():
    world = at_work()
    [before] = world.state.runs.values()
    planned(world, Effect.PURE)
    crash(world)
    run = restart(world)
    assert (run.first_turn, run.turns, run.attempt) == (1, 1, 1)
    assert run.letter_ids == before.letter_ids
    assert run.host_run_id == before.host_run_id


def test_a_call_planned_in_one_life_and_started_in_the_next_is_unknown_in_the_third():
    world = at_work()
    planned(world, Effect.IRREVERSIBLE)
    assert not [one for one in crash(world) if isinstance(one, ev.ToolFinished)]
    restart(world)
    start(world)
    [result] = [one for one in crash(world) if isinstance(one, ev.ToolFinished)]
    assert (result.call_id, result.status) == (CALL, "unknown")
    assert not restart(world).calls
    assert world.violations() == []


@pytest.mark.parametrize("effect", [Effect.PURE, Effect.IDEMPOTENT])
def test_a_call_that_may_be_repeated_stays_open(effect: Effect):
    world = at_work()
    planned(world, effect)
    start(world)
    crash(world)
    assert list(restart(world).calls) == [CALL]
    world.do(world.finish(PRINCIPAL))
    assert world.violations() == []


def test_mail_that_comes_before_the_workers_start_waits_for_the_cut_run():
    world = at_work()
    world.commit(cut(world.state), follow=False)
    world.do(world.post("More."))
    assert not world.state.runs
    assert len(restart(world).letter_ids) == 1
    assert len(world.state.queued_for(PRINCIPAL)) == 1


def test_repair_leaves_nothing_for_a_second_repair():
    world = at_work()
    planned(world, Effect.IRREVERSIBLE)
    start(world)
    assert crash(world)
    assert crash(world) == []


def test_a_run_without_progress_is_buried_after_its_last_attempt():
    world = at_work()
    for attempt in range(1, world.limits.attempts_max + 1):
        [run] = world.state.runs.values()
        assert run.attempt == attempt
        crash(world)
        if world.state.interrupted:
            restart(world)
    world.do(cmd.Wake())
    assert not world.state.busy
    [end] = [one.event for one in world.log if isinstance(one.event, ev.RunFinished)]
    assert (end.outcome, end.error_code) == ("failed", "poison")
    assert world.violations() == []


def test_a_run_that_waits_for_an_answer_is_never_buried():
    world = at_work()
    world.do(world.ask(PRINCIPAL))
    for _ in range(10):
        crash(world)
        restart(world)
    assert len(world.state.questions) == 1
    assert world.violations() == []
