import pytest

from brainpilot_rt.models.task_classes import LONG_CHARS, Moment, task_class


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [
        (Moment(), "chat"),
        (Moment(intent="respond", program="respond"), "chat"),
        (Moment(intent="clarify", program="clarify"), "chat"),
        (Moment(intent="tool_use", program="react"), "tool_loop"),
        (Moment(intent="respond", first=False, results_pending=True), "tool_loop"),
        (Moment(intent="plan", program="plan_execute"), "plan"),
        (Moment(program="plan_execute", first=False), "tool_loop"),
        (Moment(program="plan_execute", first=False, closing=True), "synthesis"),
        (Moment(intent="research", program="research", results_pending=True), "research"),
        (Moment(program="research", closing=True), "synthesis"),
        (Moment(intent="respond", asked_chars=LONG_CHARS), "synthesis"),
    ],
)
def test_a_turn_has_the_class_of_what_it_is_about(moment: Moment, wanted: str) -> None:
    assert task_class(moment) == wanted
