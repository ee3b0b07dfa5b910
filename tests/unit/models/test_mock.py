import pytest

from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.messages import Message, ToolResultMessage, UserMessage
from brainpilot_rt.domain.model_calls import AttemptFailed, ModelEvent, ReplyFinished, TextDelta
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models import mock
from tests.unit.models.team import request


async def _events(*messages: Message) -> list[ModelEvent]:
    return [event async for event in mock.stream(request("principal", *messages))]


async def test_a_prompt_is_answered_in_pieces_of_eight_with_fixed_usage() -> None:
    *deltas, last = await _events(UserMessage(text="hi"))
    texts = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
    assert texts == ["mock rep", "ly from ", "principa", "l"]
    assert isinstance(last, ReplyFinished)
    assert last.usage == Usage(input=10, output=7)


async def test_a_directive_calls_the_tool_first_and_then_replies() -> None:
    prompt = UserMessage(text='do [[tool:send_message {"to": "writer", "content": "x"}]] now')
    last = (await _events(prompt))[-1]
    assert isinstance(last, ReplyFinished)
    (call,) = last.message.tool_calls
    assert (call.name, call.arguments) == ("send_message", {"to": "writer", "content": "x"})
    result = ToolResultMessage(call_id=call.call_id, name=call.name, content="ok")
    after = (await _events(prompt, last.message, result))[-1]
    assert isinstance(after, ReplyFinished)
    assert after.message.text == "mock reply from principal"


async def test_the_next_prompt_is_read_without_the_old_directive() -> None:
    first = (await _events(UserMessage(text="hi")))[-1]
    assert isinstance(first, ReplyFinished)
    last = (await _events(UserMessage(text="[[error]]"), first.message, UserMessage(text="b")))[-1]
    assert isinstance(last, ReplyFinished)


async def test_an_error_directive_fails_after_a_failed_attempt_without_text() -> None:
    stream = mock.stream(request("principal", UserMessage(text="[[error]]")))
    assert isinstance(await anext(stream), AttemptFailed)
    with pytest.raises(FatalFault):
        await anext(stream)


async def test_a_directive_that_is_no_json_is_ordinary_text() -> None:
    last = (await _events(UserMessage(text="[[tool:ls {nope}]]")))[-1]
    assert isinstance(last, ReplyFinished)
    assert last.message.tool_calls == ()


async def test_half_a_character_in_a_directive_is_mended() -> None:
    last = (await _events(UserMessage(text='[[tool:ls {"path": "a\\ud800"}]]')))[-1]
    assert isinstance(last, ReplyFinished)
    assert last.message.tool_calls[0].arguments == {"path": "a\ufffd"}
