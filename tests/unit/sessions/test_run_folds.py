"""What the end of a run leaves behind."""

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, RunId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.thinking import ContextSection, Plan, PlanStep
from tests.unit.sessions.world import World


def planned(world: World) -> None:
    plan = Plan(goal="know it", steps=(PlanStep(text="ask the librarian"),))
    run_id = world.run_of(PRINCIPAL)
    world.commit([ev.PlanChanged(run_id=run_id, agent=PRINCIPAL, op="proposed", plan=plan)])


def test_a_plan_outlives_a_run_that_ends_just_after_the_result_has_come():
    world = World()
    world.do(world.post())
    planned(world)
    world.do(world.send(PRINCIPAL, "librarian", "Look."))
    [task] = world.state.tasks
    world.do(world.send("librarian", PRINCIPAL, "red", LetterKind.RESULT_DELIVER, task))
    assert not world.state.tasks
    world.do(world.finish(PRINCIPAL))
    assert world.state.plans
    world.do(world.finish(PRINCIPAL))
    assert not world.state.plans
    assert world.violations() == []


def test_a_plan_does_not_outlive_the_last_run_of_its_request():
    world = World()
    world.do(world.post())
    planned(world)
    world.do(world.post("Another question."))
    world.do(world.finish(PRINCIPAL))
    assert not world.state.plans


def test_an_agent_that_waits_for_one_answer_may_plan_for_another():
    world = World()
    world.do(world.post())
    planned(world)
    world.do(world.send(PRINCIPAL, "librarian", "Look."))
    [task] = world.state.tasks
    world.do(world.finish(PRINCIPAL))
    world.do(world.post("Another question."))
    planned(world)
    assert len(world.state.plans) == 2
    world.do(world.finish(PRINCIPAL))
    assert len(world.state.plans) == 1
    world.do(world.send("librarian", PRINCIPAL, "red", LetterKind.RESULT_DELIVER, task))
    run = world.state.runs[world.run_of(PRINCIPAL)]
    assert (PRINCIPAL, run.root_id) in world.state.plans
    world.do(world.finish(PRINCIPAL))
    assert not world.state.plans


def test_a_run_that_goes_on_for_one_that_read_untrusted_words_is_tainted_too():
    world = World()
    world.do(world.post())
    run_id = world.run_of(PRINCIPAL)
    first = world.state.runs[run_id]
    section = ContextSection(name="lessons", tokens=1, untrusted=True)
    read = ev.ContextAssembled(
        run_id=run_id, agent=PRINCIPAL, turn=0, sections=(section,), tokens=1
    )
    cut = ev.RunInterrupted(run_id=run_id, agent=PRINCIPAL, reason="crash")
    again = ev.RunStarted(
        run_id=RunId("again"),
        agent=PRINCIPAL,
        letter_ids=first.letter_ids,
        root_id=first.root_id,
        resumes=run_id,
    )
    world.commit([read, cut, again])
    assert not first.tainted
    assert world.state.runs[RunId("again")].tainted
