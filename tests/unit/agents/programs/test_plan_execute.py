"""A plan is led step by step, and can not grow without end."""

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.agents.programs import plan_execute
from brainpilot_rt.agents.programs.plan_execute import Bounds
from brainpilot_rt.domain.thinking import Plan, PlanStep

BOUNDS = Bounds(steps_max=4, replans_max=2)


def plan(*statuses: str) -> Plan:
    return Plan(
        goal="g",
        steps=tuple(
            PlanStep.model_validate({"text": f"s{n}", "status": one})
            for n, one in enumerate(statuses, 1)
        ),
    )


def test_a_proposal_leads_to_its_first_step():
    move = plan_execute.propose(None, 0, " my\n goal ", ("a\n b", " ", "c"), BOUNDS)
    assert move.plan is not None
    assert (move.op, move.plan.goal) == ("proposed", "my goal")
    assert [one.text for one in move.plan.steps] == ["a b", "c"]
    assert "Step 1 of 2: a b" in move.said


def test_a_plan_without_steps_is_refused():
    assert plan_execute.propose(None, 0, "g", ("", "  "), BOUNDS).failed


def test_steps_beyond_the_bound_are_cut_and_that_is_said():
    move = plan_execute.propose(None, 0, "g", tuple("abcdef"), BOUNDS)
    assert move.plan is not None
    assert len(move.plan.steps) == 4
    assert (move.limit, move.actual) == ("steps", 6)
    assert "first 4 of 6" in move.said
    assert not move.final


def test_a_second_proposal_counts_as_a_revision():
    move = plan_execute.propose(plan("done", "open"), 0, "new", ("x",), BOUNDS)
    assert move.op == "revised"
    assert move.plan is not None
    assert [one.text for one in move.plan.steps] == ["s1", "x"]
    assert (move.plan.goal, move.plan.version) == ("new", 2)


def test_a_revision_too_many_ends_the_run():
    move = plan_execute.revise(plan("open"), 2, ("x",), BOUNDS)
    assert (move.plan, move.limit, move.final) == (None, "replans", True)


def test_a_plan_full_of_closed_steps_takes_no_more():
    move = plan_execute.revise(plan("done", "done", "failed", "dropped"), 0, ("x",), BOUNDS)
    assert (move.plan, move.limit, move.final) == (None, "steps", True)


def test_the_same_steps_again_are_no_revision():
    move = plan_execute.revise(plan("done", "open"), 0, ("s2",), BOUNDS)
    assert (move.plan, move.failed) == (None, False)


def test_a_revision_to_nothing_leads_to_the_answer():
    move = plan_execute.revise(plan("done", "open"), 0, (), BOUNDS)
    assert move.plan is not None
    assert move.plan.next_step is None
    assert plan_execute.FINAL_TEXT in move.said


def test_closing_goes_on_to_the_next_step_and_at_last_to_the_answer():
    move = plan_execute.close(plan("open", "open"), "failed", "no\nluck")
    assert move.plan is not None
    assert move.plan.steps[0] == PlanStep(text="s1", status="failed", note="no luck")
    assert "Step 2 of 2" in move.said
    move = plan_execute.close(move.plan, "done", "x" * 5000)
    assert move.plan is not None
    assert len(move.plan.steps[1].note) == plan_execute.NOTE_CHARS_MAX
    assert plan_execute.FINAL_TEXT in move.said
    assert plan_execute.close(move.plan, "done", "").failed


def test_the_model_sees_where_it_stands():
    text = plan_execute.guidance(plan("done", "open"), 1)
    assert "1. [done] s1" in text
    assert "step 2" in text
    assert "1 revisions" in text


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("propose"), st.lists(st.sampled_from("abcd"), max_size=9)),
            st.tuples(st.just("revise"), st.lists(st.sampled_from("abcd"), max_size=9)),
            st.tuples(st.just("close"), st.just([])),
        ),
        max_size=60,
    )
)
def test_whatever_a_model_does_a_plan_ends(moves: list[tuple[str, list[str]]]) -> None:
    known: Plan | None = None
    replans, closed = 0, 0
    for what, steps in moves:
        texts = tuple(steps)
        if what == "close":
            move = plan_execute.close(known, "done", "")
        elif what == "revise" and known:
            move = plan_execute.revise(known, replans, texts, BOUNDS)
        else:
            move = plan_execute.propose(known, replans, "g", texts, BOUNDS)
        if move.final:
            break
        replans += move.plan is not None and move.op == "revised"
        closed += move.plan is not None and move.op == "step_closed"
        known = move.plan or known
    assert replans <= BOUNDS.replans_max
    assert closed <= BOUNDS.steps_max
