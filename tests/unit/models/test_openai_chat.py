import json
from typing import Any

import pytest

from brainpilot_rt.domain.errors import FatalFault, ProviderFault, RetryableFault
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRef,
    ReplyFinished,
    StopReason,
    ToolCallDelta,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.openai_chat import OpenAiChatFold, build
from brainpilot_rt.models.providers import Dialect
from brainpilot_rt.models.sse import SseEvent
from brainpilot_rt.testing.sources import SequentialIds
from tests.unit.models.team import request
from tests.unit.models.wires import KEY, delta, profile


def _new() -> OpenAiChatFold:
    return OpenAiChatFold(
        request("principal"), ModelRef(provider="p", model="m-1"), SequentialIds()
    )


def _fold(*chunks: dict[str, Any]) -> tuple[list[ModelEvent], ReplyFinished]:
    fold = _new()
    seen: list[ModelEvent] = []
    for chunk in chunks:
        seen += [each for each in fold.take(SseEvent("message", json.dumps(chunk))) if each]
    assert fold.complete
    return seen, fold.finish()


def _call(index: int | None, ident: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        call["index"] = index
    if ident is not None:
        call["id"] = ident
    if name is not None:
        call["function"]["name"] = name
    return call


def test_text_and_parallel_calls_split_over_chunks_are_put_together() -> None:
    seen, reply = _fold(
        delta(role="assistant", content=""),
        delta(content="I "),
        delta(content="look."),
        delta(tool_calls=[_call(0, "call_aaaaaaaa", "ls", "")]),
        delta(tool_calls=[_call(0, None, None, '{"path"')]),
        delta(tool_calls=[_call(1, "call_bbbbbbbb", "read", '{"n"')]),
        delta(tool_calls=[_call(0, None, None, ': "."}')]),
        delta(tool_calls=[_call(1, None, None, ": 1}")]),
        delta(finish="tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    )
    assert [(call.call_id, call.arguments) for call in reply.message.tool_calls] == [
        ("call_aaaaaaaa", {"path": "."}),
        ("call_bbbbbbbb", {"n": 1}),
    ]
    assert reply.message.text == "I look."
    assert reply.stop_reason is StopReason.TOOL_USE
    assert reply.usage == Usage(input=9, output=4)
    shown = [each.index for each in seen if isinstance(each, ToolCallDelta)]
    assert shown == sorted(shown)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_under_both_of_its_names(field: str) -> None:
    seen, reply = _fold(
        {"choices": [{"delta": {field: "hm"}}]}, delta(content="x"), delta(finish="stop")
    )
    assert [each.type for each in seen] == ["reasoning", "text"]
    assert reply.message.parts == (ReasoningPart(text="hm"), TextPart(text="x"))


@pytest.mark.parametrize(
    ("calls", "count"),
    [
        ([_call(None, "call_aaaaaaaa", "ls", "{}"), _call(None, "call_bbbbbbbb", "ls", "{}")], 2),
        ([_call(None, None, "ls", "{}"), _call(None, None, "ls", "{}")], 2),
        ([_call(None, None, "ls", '{"a"'), _call(None, None, None, ": 1}")], 1),
        ([_call(0, "", "ls", {"a": 1})], 1),
    ],
)
def test_calls_of_servers_that_number_nothing_are_told_apart(
    calls: list[dict[str, Any]], count: int
) -> None:
    _, reply = _fold(*(delta(tool_calls=[each]) for each in calls), delta(finish="stop"))
    assert len({call.call_id for call in reply.message.tool_calls}) == count
    assert all(call.arguments is not None for call in reply.message.tool_calls)
    assert reply.stop_reason is StopReason.TOOL_USE


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("stop", StopReason.END),
        ("length", StopReason.LENGTH),
        ("content_filter", StopReason.REFUSAL),
        ("tool_calls", StopReason.END),
        ("eos", StopReason.END),
    ],
)
def test_every_stop_reason_is_mapped(wire: str, ours: StopReason) -> None:
    assert _fold(delta(content="x"), delta(finish=wire))[1].stop_reason is ours


@pytest.mark.fault("G11")
def test_a_refusal_is_text_and_a_stop_reason() -> None:
    _, reply = _fold(delta(refusal="I will not."), delta(finish="stop"))
    assert reply.message.text == "I will not."
    assert reply.stop_reason is StopReason.REFUSAL


def test_cached_tokens_are_taken_out_of_the_prompt_count() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 60},
    }
    _, reply = _fold(delta(content="x"), delta(finish="stop") | {"usage": usage})
    assert reply.usage == Usage(input=40, output=5, cache_read=60)


@pytest.mark.fault("G12")
@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "9"}, [1]]
)
def test_missing_or_nonsensical_usage_is_estimated_and_marked(usage: Any) -> None:
    _, reply = _fold(delta(content="four"), delta(finish="stop") | {"usage": usage})
    assert reply.usage.estimated
    assert reply.usage.output == 1


def test_done_without_a_finish_reason_ends_the_reply() -> None:
    fold = _new()
    list(fold.take(SseEvent("message", json.dumps(delta(content="x")))))
    assert not fold.complete
    list(fold.take(SseEvent("message", "[DONE]")))
    assert fold.done
    assert fold.finish().stop_reason is StopReason.END


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("message", '{"error": {"message": "m", "type": "server_error"}}'),
        ("message", '{"error": "m"}'),
        ("error", '{"message": "m"}'),
        (
            "message",
            '{"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 502}}]}',
        ),
    ],
)
def test_an_error_inside_the_stream_is_a_fault(name: str, data: str) -> None:
    with pytest.raises(RetryableFault):
        list(_new().take(SseEvent(name, data)))


@pytest.mark.fault("G9")
@pytest.mark.parametrize("data", ["{", "[1]", "null", "<html>"])
def test_garbage_is_a_protocol_fault(data: str) -> None:
    with pytest.raises(ProviderFault) as caught:
        list(_new().take(SseEvent("message", data)))
    assert isinstance(caught.value, FatalFault)
    assert caught.value.code == "protocol"


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"tool_calls": [None, {"function": 5}], "content": 5}}]},
    ],
)
def test_chunks_without_anything_useful_do_no_harm(chunk: dict[str, Any]) -> None:
    list(_new().take(SseEvent("message", json.dumps(chunk))))


@pytest.mark.fault("G8")
def test_a_named_ping_without_json_is_ignored() -> None:
    assert list(_new().take(SseEvent("ping", "..."))) == []


def test_a_request_carries_everything_in_order() -> None:
    calls = tuple(ToolCall(call_id=CallId(f"call_{n}"), name="ls", arguments={}) for n in (1, 2))
    call = build(
        profile(Dialect.OPENAI_CHAT, base_url="https://models.example/v1"),
        "m-1",
        request(
            "principal",
            UserMessage(text="one"),
            UserMessage(text="two"),
            AssistantMessage(parts=(ReasoningPart(text="hm"), TextPart(text="ok"), *calls)),
            ToolResultMessage(call_id=CallId("call_2"), name="ls", content="r2", is_error=True),
            ToolResultMessage(call_id=CallId("call_1"), name="ls", content="r1"),
        ),
    )
    assert call.url == "https://models.example/v1/chat/completions"
    assert call.headers["authorization"] == f"Bearer {KEY}"
    system, user, reply, first, second = call.body["messages"]
    assert (system["role"], user["content"]) == ("system", "one\n\ntwo")
    assert [each["id"] for each in reply["tool_calls"]] == ["call_1", "call_2"]
    assert (first["tool_call_id"], first["content"]) == ("call_1", "r1")
    assert second["content"] == "Error: r2"
    assert call.body["stream_options"] == {"include_usage": True}


def test_a_bare_origin_gets_the_version_path() -> None:
    there = profile(Dialect.OPENAI_CHAT, base_url="http://127.0.0.1:4010/", api_key=None)
    call = build(there, "m", request("p"))
    assert call.url == "http://127.0.0.1:4010/v1/chat/completions"
    assert call.headers == {}


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://models.example/v1", "max_tokens"),
    ],
)
def test_the_output_limit_has_the_name_the_server_knows(base_url: str, name: str) -> None:
    asked = request("p").model_copy(update={"max_tokens": 99})
    assert build(profile(Dialect.OPENAI_CHAT, base_url=base_url), "m", asked).body[name] == 99


def test_what_a_gateway_wants_back_goes_back_verbatim() -> None:
    signature = {"google": {"thought_signature": "SIG"}}
    details = [{"type": "reasoning.encrypted", "data": "D"}]
    fragment = _call(0, "call_aaaaaaaa", "ls", "{}") | {"extra_content": signature}
    _, reply = _fold(
        delta(reasoning_details=details), delta(tool_calls=[fragment]), delta(finish="tool_calls")
    )
    body = build(
        profile(Dialect.OPENAI_CHAT), "m", request("p", UserMessage(text="x"), reply.message)
    ).body
    sent = next(each for each in body["messages"] if each["role"] == "assistant")
    assert sent["reasoning_details"] == details
    assert sent["tool_calls"][0]["extra_content"] == signature
