"""Chat completions and responses as JSON: what is read, what is refused, what is written."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import AgentName, CallId, RunId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import ModelRef, StopReason
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.server.wires.openai import (
    ChatBody,
    ChatWriter,
    End,
    Json,
    conversation,
    opening,
    results,
)
from brainpilot_rt.server.wires.openai_headers import headers_of, money_of, one_line
from brainpilot_rt.server.wires.openai_responses import ResponsesBody, ResponsesWriter
from brainpilot_rt.supervision.completions import Known

CALL = ToolCall(call_id=CallId("c1"), name="weather", arguments={"city": "Turku"})


def body(*messages: Json, **more: Any) -> ChatBody:
    return ChatBody.model_validate({"model": "auto", "messages": list(messages), **more})


def user(words: Any) -> Json:
    return {"role": "user", "content": words}


def test_a_conversation_is_read_with_its_calls_and_results():
    asked = {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Turku"}'}}
    broken = {"id": "c2", "function": {"name": "weather", "arguments": '{"city'}}
    system, messages = conversation(
        body(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            user([{"type": "text", "text": "How "}, {"type": "text", "text": "is it?"}]),
            {"role": "assistant", "content": "I look.", "tool_calls": [asked, broken]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ).messages
    )
    assert system == "Be brief.\n\nBe kind."
    cut = ToolCall(call_id=CallId("c2"), name="weather", arguments=None, raw_arguments='{"city')
    whole = CALL.model_copy(update={"raw_arguments": '{"city": "Turku"}'})
    assert messages == (
        UserMessage(text="How is it?"),
        AssistantMessage(parts=(TextPart(text="I look."), whole, cut)),
        ToolResultMessage(call_id=CallId("c1"), name="weather", content="rain"),
    )


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"role": "tool", "tool_call_id": "x", "content": "y"}], "answers no call"),
        ([{"role": "system", "content": "x"}], "nothing to answer"),
        ([user([{"type": "image_url"}])], "text only"),
    ],
)
def test_a_conversation_nobody_could_answer_is_refused(messages: list[Json], why: str):
    with pytest.raises(BadRequest, match=why):
        conversation(body(*messages).messages)


def test_an_agent_that_knows_nothing_yet_is_told_what_was_said_before():
    messages = body(
        {"role": "system", "content": "Be brief."},
        user("one"),
        {"role": "assistant", "content": "two"},
        user("three"),
    ).messages
    assert opening(messages, fresh=False) == "three"
    told = opening(messages, fresh=True)
    assert told.index("system: Be brief.") < told.index("user: one") < told.index("assistant: two")
    assert told.endswith("three")
    with pytest.raises(BadRequest, match="last message"):
        opening(body(user("one"), {"role": "assistant", "content": "x"}).messages, fresh=True)


def test_only_results_at_the_end_are_brought():
    def result(name: str) -> Json:
        return {"role": "tool", "tool_call_id": name, "content": name.upper()}

    messages = body(user("x"), result("a"), user("y"), result("b"), result("c")).messages
    assert list(results(messages).items()) == [("b", "B"), ("c", "C")]
    assert results(body(result("a"), user("x")).messages) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"stop": "x"},
        {"functions": ["x"]},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "x"}}},
        {"response_format": {"type": "json_schema"}},
        {"modalities": ["audio"]},
    ],
)
def test_what_can_not_be_done_is_named(wrong: Json):
    with pytest.raises(BadRequest, match="not supported") as refused:
        body(user("x"), **wrong).check()
    assert next(iter(wrong)).removeprefix("top_") in str(refused.value)


def test_hints_without_effect_and_defaults_said_aloud_are_taken():
    hints = {"top_p": 0.5, "seed": 1, "presence_penalty": 1, "user": "me"}
    said = {"n": 1, "logprobs": False, "response_format": {"type": "text"}, "stop": None}
    body(user("x"), **hints, **said, modalities=["text"], tool_choice="auto").check()


def test_there_is_a_bound_on_messages():
    with pytest.raises(ValidationError, match="2000"):
        body(*[user("x")] * 2_001)


TEXTS = st.lists(st.text(min_size=1), max_size=4)
ENDS = st.builds(
    End,
    stop=st.sampled_from(list(StopReason)),
    calls=st.sampled_from([(), (CALL,), (CALL, CALL)]),
    usage=st.builds(Usage, input=st.integers(0, 9), output=st.integers(0, 9)),
    cost_usd=st.sampled_from([None, Decimal(0), Decimal("0.25")]),
)


@given(TEXTS, ENDS)
def test_the_pieces_of_a_chat_say_what_the_whole_says(texts: list[str], end: End):
    writer = ChatWriter("1", 7, "auto", usage=True)
    pieces = [*writer.begin(), *(one for text in texts for one in writer.words(text))]
    pieces += writer.end(end)
    whole = writer.whole("".join(texts), end)
    message = whole["choices"][0]["message"]
    deltas = [one["choices"][0]["delta"] for one in pieces if one["choices"]]
    assert "".join(one.get("content", "") for one in deltas) == (message["content"] or "")
    calls = [call for one in deltas for call in one.get("tool_calls", ())]
    assert [{**one} for one in message.get("tool_calls", ())] == [
        {key: value for key, value in call.items() if key != "index"} for call in calls
    ]
    assert pieces[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert pieces[-1]["usage"] == whole["usage"]
    assert {one["id"] for one in pieces} == {whole["id"]}


@given(TEXTS, ENDS)
def test_the_events_of_a_response_end_with_the_whole(texts: list[str], end: End):
    asked = ResponsesBody(model="auto", input="x")
    writer = ResponsesWriter("1", 7, asked)
    events = [*writer.begin(), *(one for text in texts for one in writer.words(text))]
    events += writer.end(end)
    whole = ResponsesWriter("1", 7, asked).whole("".join(texts), end)
    assert events[-1]["response"] == whole
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    kinds = [one["type"] for one in events]
    assert kinds.count("response.output_item.added") == len(whole["output"])
    assert kinds.count("response.output_item.done") == len(whole["output"])
    said = [one["delta"] for one in events if one["type"] == "response.output_text.delta"]
    assert "".join(said) == "".join(texts)


def test_a_response_is_asked_for_as_a_chat():
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    asked = ResponsesBody.model_validate(
        {
            "model": "auto",
            "instructions": "Be brief.",
            "tools": [tool],
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            ],
        }
    )
    chat = ChatBody.model_validate(asked.as_chat())
    assert [one.role for one in chat.messages] == ["system", "user", "assistant", "tool"]
    assert results(chat.messages) == {"c1": "rain"}
    assert [one.name for one in chat.offered] == ["weather"]
    for wrong in ({"background": True}, {"tools": [{"type": "web_search"}]}):
        with pytest.raises(BadRequest):
            ResponsesBody.model_validate({"model": "m", "input": "x", **wrong}).as_chat()
    strange = ResponsesBody.model_validate({"model": "m", "input": [{"type": "image"}]})
    with pytest.raises(BadRequest, match="image"):
        strange.as_chat()


def test_headers_say_what_is_known_and_nothing_else():
    run, agent = RunId("chat_1"), AgentName("chat")
    model = ModelRef(provider="p", model="m")
    known = Known()
    assert headers_of(known) == {}
    known.note(
        ev.ModelSelected(
            run_id=run, agent=agent, turn=0, model=model, phase="pinned", reason="a\nb \u2603"
        )
    )
    known.note(
        ev.SpendReserved(
            reservation_id="r", run_id=run, agent=agent, model=model, amount_usd=Decimal("0.0125")
        )
    )
    found = headers_of(known)
    assert (found["x-br-model"], found["x-br-provider"]) == ("m", "p")
    assert (found["x-br-estimated-cost"], found["x-br-estimated-cost-cents"]) == ("0.0125", "2")
    assert found["x-br-guardian-status"] == "pass"
    assert "x-br-actual-cost" not in found
    assert one_line(found["x-br-route-reason"]) == b"a b ?"


@pytest.mark.parametrize(
    ("text", "usd"), [(None, None), ("$0.50", "0.5"), (" 2 ", "2"), ("0", "0")]
)
def test_money_of_a_header_may_carry_its_sign(text: str | None, usd: str | None):
    assert money_of(text) == (None if usd is None else Decimal(usd))


@pytest.mark.parametrize("text", ["x", "-1", "NaN", "Infinity", ""])
def test_what_is_no_money_is_refused(text: str):
    with pytest.raises(BadRequest, match="US dollars"):
        money_of(text)
