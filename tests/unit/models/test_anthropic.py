import json
from typing import Any

import pytest

from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
    StopReason,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.anthropic import AnthropicFold, build
from brainpilot_rt.models.partial import CALLS_MAX
from brainpilot_rt.models.providers import Dialect
from brainpilot_rt.models.sse import SseEvent
from brainpilot_rt.testing.sources import SequentialIds
from tests.unit.models.team import request
from tests.unit.models.wires import KEY, profile

START = {"type": "message_start", "message": {"usage": {"input_tokens": 11, "output_tokens": 1}}}
STOP = {"type": "message_stop"}


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _text(index: int, *texts: str) -> list[dict[str, Any]]:
    deltas = ({"type": "text_delta", "text": text} for text in texts)
    return _block(index, {"type": "text", "text": ""}, *deltas)


def _tool(index: int, ident: str, name: str, *json_pieces: str) -> list[dict[str, Any]]:
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in json_pieces)
    return _block(index, {"type": "tool_use", "id": ident, "name": name, "input": {}}, *deltas)


def _end(reason: str | None, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def _fold(
    *events: dict[str, Any], asked: ModelRequest | None = None
) -> tuple[list[ModelEvent], ReplyFinished]:
    ref = ModelRef(provider="p", model="m-1")
    fold = AnthropicFold(asked or request("principal"), ref, SequentialIds())
    seen: list[ModelEvent] = []
    for event in events:
        wire = SseEvent(str(event["type"]), json.dumps(event))
        seen += [each for each in fold.take(wire) if each]
    assert fold.done
    return seen, fold.finish()


def _body(*messages: Message, **changes: Any) -> dict[str, Any]:
    asked = request("principal", *messages).model_copy(update=changes)
    return build(profile(Dialect.ANTHROPIC), "m-1", asked).body


def test_text_reasoning_and_calls_become_parts_in_their_order() -> None:
    seen, reply = _fold(
        START,
        *_block(
            0,
            {"type": "thinking", "thinking": ""},
            {"type": "thinking_delta", "thinking": "let me "},
            {"type": "thinking_delta", "thinking": "see"},
            {"type": "signature_delta", "signature": "SIG"},
        ),
        *_text(1, "I ", "look."),
        *_tool(2, "toolu_aaaaaaaa", "ls", '{"path"', ': "."}'),
        *_tool(3, "toolu_bbbbbbbb", "ls"),
        _end("tool_use", output_tokens=20),
        STOP,
    )
    kinds = [each.type for each in seen]
    assert kinds == ["reasoning"] * 2 + ["text"] * 2 + ["tool_call"] * 4
    assert [getattr(each, "index", None) for each in seen] == [0, 0, 1, 1, 2, 2, 2, 3]
    thought, text, first, second = reply.message.parts
    assert thought == ReasoningPart(
        text="let me see",
        opaque={"anthropic": {"type": "thinking", "thinking": "let me see", "signature": "SIG"}},
    )
    assert text == TextPart(text="I look.")
    assert first == ToolCall(
        call_id=CallId("toolu_aaaaaaaa"),
        name="ls",
        arguments={"path": "."},
        raw_arguments='{"path": "."}',
    )
    assert isinstance(second, ToolCall)
    assert second.arguments == {}
    assert reply.stop_reason is StopReason.TOOL_USE
    assert reply.usage == Usage(input=11, output=20)


def test_cache_tokens_are_counted_apart() -> None:
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "output_tokens": 1,
    }
    start = {"type": "message_start", "message": {"usage": usage}}
    _, reply = _fold(start, *_text(0, "x"), _end("end_turn", output_tokens=9), STOP)
    assert reply.usage == Usage(input=5, output=9, cache_read=100, cache_write=30)


@pytest.mark.fault("G12")
@pytest.mark.parametrize("usage", [{}, {"input_tokens": -4, "output_tokens": 2}])
def test_missing_or_negative_usage_is_estimated_and_marked(usage: dict[str, int]) -> None:
    start = {"type": "message_start", "message": {"usage": usage}}
    _, reply = _fold(start, *_text(0, "four chars!!"), _end("end_turn"), STOP)
    assert reply.usage.estimated
    assert reply.usage.output == 3


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("end_turn", StopReason.END),
        ("max_tokens", StopReason.LENGTH),
        ("model_context_window_exceeded", StopReason.LENGTH),
        ("refusal", StopReason.REFUSAL),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("tool_use", StopReason.END),
        ("something_new", StopReason.END),
        (None, StopReason.END),
    ],
)
def test_every_stop_reason_is_mapped(wire: str | None, ours: StopReason) -> None:
    _, reply = _fold(START, *_text(0, "x"), _end(wire, output_tokens=1), STOP)
    assert reply.stop_reason is ours


@pytest.mark.fault("G8")
def test_unknown_events_blocks_and_deltas_are_ignored() -> None:
    _, reply = _fold(
        {"type": "ping"},
        START,
        {"type": "brand_new", "x": 1},
        *_block(0, {"type": "server_thing"}, {"type": "server_delta", "x": 1}),
        *_text(1, "x"),
        _end("end_turn", output_tokens=1),
        STOP,
    )
    assert reply.message.text == "x"


def test_redacted_thinking_goes_back_verbatim() -> None:
    block = {"type": "redacted_thinking", "data": "OPAQUE"}
    _, reply = _fold(START, *_block(0, block), *_text(1, "x"), _end("end_turn"), STOP)
    body = _body(UserMessage(text="hi"), reply.message, UserMessage(text="go on"))
    assert body["messages"][1]["content"] == [block, {"type": "text", "text": "x"}]


@pytest.mark.fault("G10")
def test_invalid_arguments_are_kept_as_text() -> None:
    _, reply = _fold(START, *_tool(0, "toolu_aaaaaaaa", "ls", '{"a": '), _end("max_tokens"), STOP)
    (call,) = reply.message.tool_calls
    assert (call.arguments, call.raw_arguments) == (None, '{"a": ')
    assert reply.stop_reason is StopReason.LENGTH


@pytest.mark.fault("G10")
def test_missing_short_and_repeated_call_ids_are_replaced() -> None:
    earlier = AssistantMessage(
        parts=(ToolCall(call_id=CallId("toolu_old12345"), name="ls", arguments={}),)
    )
    _, reply = _fold(
        START,
        *_tool(0, "", "a"),
        *_tool(1, "0", "b"),
        *_tool(2, "toolu_old12345", "c"),
        *_tool(3, "toolu_new12345", "d"),
        *_tool(4, "toolu_new12345", "e"),
        _end("tool_use", output_tokens=1),
        STOP,
        asked=request("principal", UserMessage(text="x"), earlier),
    )
    ids = [call.call_id for call in reply.message.tool_calls]
    assert len({*ids, "toolu_old12345"}) == 6
    assert ids[3] == "toolu_new12345"
    assert all(each.startswith("call_") for each in (ids[0], ids[1], ids[2], ids[4]))


@pytest.mark.fault("G10")
def test_too_many_calls_are_a_fault() -> None:
    blocks = [event for n in range(CALLS_MAX + 1) for event in _tool(n, "", "ls")]
    with pytest.raises(FatalFault, match="200 tool calls"):
        _fold(START, *blocks)


@pytest.mark.fault("G7")
def test_an_error_inside_the_stream_is_a_fault() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(RetryableFault, match="Overloaded"):
        _fold(START, *_text(0, "x"), error)


@pytest.mark.fault("G9")
@pytest.mark.parametrize("data", ["{", "[1]", "5", "", "<html>"])
def test_garbage_is_a_protocol_fault(data: str) -> None:
    fold = AnthropicFold(request("p"), ModelRef(provider="p", model="m"), SequentialIds())
    with pytest.raises(FatalFault) as caught:
        list(fold.take(SseEvent("message_start", data)))
    assert caught.value.code == "protocol"


def test_a_request_carries_system_tools_and_key() -> None:
    call = build(profile(Dialect.ANTHROPIC), "m-1", request("principal", UserMessage(text="hi")))
    assert call.url == "https://models.example/v1/messages"
    assert call.headers["x-api-key"] == KEY
    assert call.body["system"][0]["text"] == "You are part of a team."
    assert [tool["name"] for tool in call.body["tools"]] == ["search", "send_message", "read"]
    assert call.body["max_tokens"] > 0
    assert call.body["stream"] is True


def test_a_base_url_that_names_the_version_is_not_doubled() -> None:
    there = profile(Dialect.ANTHROPIC, base_url="https://models.example/anthropic/v1/")
    assert build(there, "m-1", request("p")).url == "https://models.example/anthropic/v1/messages"


def test_results_come_first_and_letters_join_the_same_turn() -> None:
    calls = tuple(
        ToolCall(call_id=CallId(f"call.{n}"), name="ls", arguments={"n": n}) for n in (1, 2)
    )
    body = _body(
        UserMessage(text="one"),
        UserMessage(text="two"),
        AssistantMessage(parts=(TextPart(text=" "), *calls)),
        ToolResultMessage(call_id=CallId("call.2"), name="ls", content="", is_error=True),
        ToolResultMessage(call_id=CallId("call.1"), name="ls", content="r1"),
        UserMessage(text="three"),
    )
    first, second, third = body["messages"]
    assert [block["text"] for block in first["content"]] == ["one", "two"]
    assert [block["type"] for block in second["content"]] == ["tool_use", "tool_use"]
    assert [block["type"] for block in third["content"]] == ["tool_result", "tool_result", "text"]
    assert [block["tool_use_id"] for block in third["content"][:2]] == ["call_1", "call_2"]
    assert third["content"][1]["is_error"] is True
    assert third["content"][2]["cache_control"] == {"type": "ephemeral"}


def test_a_conversation_that_begins_with_a_reply_is_given_a_beginning() -> None:
    body = _body(AssistantMessage(parts=(TextPart(text="x"),)), UserMessage(text="y"))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


def test_thinking_is_asked_for_in_the_form_the_model_takes() -> None:
    there = profile(Dialect.ANTHROPIC)
    asked = request("p").model_copy(update={"thinking": "medium", "temperature": 0.3})
    older = build(there, "claude-sonnet-4-5-20250929", asked).body
    newer = build(there, "claude-opus-4-7", asked).body
    assert older["thinking"]["budget_tokens"] < older["max_tokens"]
    assert newer["thinking"] == {"type": "adaptive"}
    assert newer["output_config"] == {"effort": "medium"}
    assert "temperature" not in older
    assert (
        build(there, "m", request("p").model_copy(update={"temperature": 0.3})).body["temperature"]
        == 0.3
    )
