"""Token counts nobody reported."""

from typing import Any

from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.domain.model_calls import ModelRef, ModelRequest
from brainpilot_rt.domain.tools import ToolSpec
from brainpilot_rt.models.estimates import OUTPUT_START, OUTPUT_WEIGHT, Expected

MODEL = ModelRef(provider="p", model="m")


def request(**changes: Any) -> ModelRequest:
    fields: dict[str, Any] = {
        "session": SessionId("s"),
        "agent": AgentName("a"),
        "role": "principal",
        "run_id": RunId("r"),
        "turn": 0,
        "model": MODEL,
        "system": "x" * 40,
        "messages": (UserMessage(text="y" * 20), UserMessage(text="z" * 20)),
    }
    return ModelRequest(**(fields | changes))


def test_the_input_of_a_call_is_its_characters_and_its_messages():
    assert Expected().before(request()).input == 80 // 4 + 2 * 4
    tool = ToolSpec(name="read", description="d" * 94, parameters={})
    assert Expected().before(request(tools=(tool,))).input == 180 // 4 + 2 * 4


def test_the_output_of_a_call_is_guessed_from_those_before_it_model_by_model():
    expected = Expected()
    assert expected.before(request()).output == OUTPUT_START
    expected.learn(MODEL, 50)
    assert expected.before(request()).output == 50
    assert expected.before(request(model=None)).output == OUTPUT_START
    assert expected.before(request(model=None), MODEL).output == 50
    expected.learn(MODEL, 1_050)
    assert expected.before(request()).output == 50 + 1_000 * OUTPUT_WEIGHT


def test_no_guess_is_above_what_the_call_may_answer():
    guess = Expected().before(request(max_tokens=64))
    assert (guess.output, guess.estimated) == (64, True)


def test_a_call_that_was_cut_took_its_input_and_what_was_heard():
    assert Expected().heard(request(), 41).output == 11
    assert Expected().heard(request(), 0).input == Expected().before(request()).input
