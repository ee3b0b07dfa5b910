"""Programs by intent, and what each offers."""

import pytest

from brainpilot_rt.agents.programs import choice
from brainpilot_rt.domain.thinking import Intent

TOOLS = ("read", "ask_user", "propose_plan", "revise_plan", "close_step")


@pytest.mark.parametrize(
    ("intent", "program"),
    [
        ("respond", "respond"),
        ("tool_use", "react"),
        ("research", "research"),
        ("plan", "plan_execute"),
        ("clarify", "clarify"),
    ],
)
def test_each_intent_has_its_program(intent: Intent, program: str) -> None:
    assert choice.program_for(intent, choice.ALL_PROGRAMS, TOOLS) == (program, "")


def test_what_an_agent_can_not_do_it_answers_by_react_and_says_so():
    program, why = choice.program_for("plan", ("react", "research"), TOOLS)
    assert program == "react"
    assert "plan_execute" in why
    program, why = choice.program_for("clarify", choice.ALL_PROGRAMS, ("read",))
    assert program == "react"
    assert "ask_user" in why


def test_the_first_turn_is_narrowed_and_the_rest_is_not():
    assert choice.offer("respond", TOOLS, first=True, planned=False) == ()
    assert choice.offer("clarify", TOOLS, first=True, planned=False) == ("ask_user",)
    assert choice.offer("plan_execute", TOOLS, first=True, planned=False) == ("propose_plan",)
    for program in choice.ALL_PROGRAMS:
        assert choice.offer(program, TOOLS, first=False, planned=False) == ("read", "ask_user")


def test_a_run_with_a_plan_may_change_it_and_not_make_another():
    offered = choice.offer("plan_execute", TOOLS, first=True, planned=True)
    assert offered == ("read", "ask_user", "revise_plan", "close_step")
