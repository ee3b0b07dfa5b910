from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.models.transcript import exchanges, wire_arguments, wire_name


def _call(ident: str) -> ToolCall:
    return ToolCall(call_id=CallId(ident), name="ls", arguments={})


def _result(ident: str) -> ToolResultMessage:
    return ToolResultMessage(call_id=CallId(ident), name="ls", content=f"of {ident}")


def test_results_follow_their_reply_in_call_order() -> None:
    reply = AssistantMessage(parts=(_call("a"), _call("b")))
    first, second = exchanges((UserMessage(text="go"), reply, _result("b"), _result("a")))
    assert (first.reply, first.said) == (None, ("go",))
    assert [each.call_id for each in second.results] == ["a", "b"]


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    (exchange,) = exchanges((AssistantMessage(parts=(_call("a"),)),))
    (result,) = exchange.results
    assert result.is_error
    assert "recorded" in result.content


def test_a_result_without_a_call_and_a_second_one_are_left_out() -> None:
    reply = AssistantMessage(parts=(_call("a"),))
    (exchange,) = exchanges((reply, _result("zz"), _result("a"), _result("a")))
    assert [each.call_id for each in exchange.results] == ["a"]


def test_words_said_while_tools_ran_come_after_the_results() -> None:
    reply = AssistantMessage(parts=(TextPart(text="x"), _call("a")))
    (exchange,) = exchanges((reply, UserMessage(text="wait"), _result("a"), UserMessage(text=" ")))
    assert [each.call_id for each in exchange.results] == ["a"]
    assert exchange.said == ("wait",)


def test_names_and_arguments_are_made_fit_for_the_wire() -> None:
    assert wire_name("a.b:c/d") == "a_b_c_d"
    assert wire_name("") == "unnamed"
    bad = ToolCall(call_id=CallId("a"), name="ls", arguments=None, raw_arguments="{oops")
    assert wire_arguments(bad) == {"raw": "{oops"}
