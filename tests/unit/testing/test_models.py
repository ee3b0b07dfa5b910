import asyncio
from contextlib import aclosing

import pytest

from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRequest,
    ReplyFinished,
    StopReason,
    TextDelta,
)
from brainpilot_rt.testing.models import Call, Gate, Reply, ScriptedModel, Thought


def _request(agent: str = "principal", turn: int = 0) -> ModelRequest:
    return ModelRequest(
        session=SessionId("s"),
        agent=AgentName(agent),
        role=agent,
        run_id=RunId("run_1"),
        turn=turn,
        model=None,
        system="",
        messages=(),
    )


async def _play(model: ScriptedModel, request: ModelRequest) -> list[ModelEvent]:
    return [event async for event in model.stream(request)]


async def test_steps_are_streamed_in_order_and_summed_up_in_the_reply() -> None:
    model = ScriptedModel()
    model.say("principal", Thought("hm"), "Hel", "lo", Call("ls", {"path": "."}))
    *deltas, last = await _play(model, _request())
    assert [delta.type for delta in deltas] == ["reasoning", "text", "text", "tool_call"]
    assert isinstance(last, ReplyFinished)
    assert last.message.text == "Hello"
    assert last.stop_reason is StopReason.TOOL_USE
    assert [call.arguments for call in last.message.tool_calls] == [{"path": "."}]


async def test_a_stream_waits_at_a_gate_until_the_test_opens_it() -> None:
    model = ScriptedModel()
    gate = Gate()
    model.say("principal", "a", gate, "b")
    seen: list[ModelEvent] = []

    async def read() -> None:
        async with asyncio.timeout(60):
            seen.extend([event async for event in model.stream(_request())])

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        await gate.reached.wait()
        assert seen == []
        gate.open()
    assert [event.text for event in seen if isinstance(event, TextDelta)] == ["a", "b"]


async def test_agents_have_their_own_scripts_and_fall_back_to_the_common_one() -> None:
    model = ScriptedModel()
    model.say("writer", "mine")
    model.say("*", "anyone's")
    first = (await _play(model, _request("writer")))[-1]
    second = (await _play(model, _request("writer", turn=1)))[-1]
    assert isinstance(first, ReplyFinished)
    assert isinstance(second, ReplyFinished)
    assert [first.message.text, second.message.text] == ["mine", "anyone's"]
    assert len(model.requests_of("writer")) == 2


async def test_a_scripted_fault_is_raised_after_what_came_before_it() -> None:
    model = ScriptedModel()
    model.say("principal", "half", RetryableFault("cut"))
    stream = model.stream(_request())
    assert await anext(stream) == TextDelta(index=0, text="half")
    with pytest.raises(RetryableFault, match="cut"):
        await anext(stream)
    assert model.abandoned == []


async def test_an_exhausted_script_is_a_fault_unless_an_answer_was_given_for_it() -> None:
    with pytest.raises(FatalFault, match="nothing is scripted"):
        await _play(ScriptedModel(), _request())
    last = (await _play(ScriptedModel(otherwise=Reply(("ok",))), _request()))[-1]
    assert isinstance(last, ReplyFinished)
    assert last.message.text == "ok"


async def test_a_cancelled_stream_is_recorded_as_abandoned() -> None:
    model = ScriptedModel()
    gate = model.hang("principal")
    task = asyncio.get_running_loop().create_task(_play(model, _request()))
    await gate.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [request.agent for request in model.abandoned] == ["principal"]


async def test_a_stream_closed_by_its_reader_is_recorded_as_abandoned() -> None:
    model = ScriptedModel()
    model.say("principal", "a", "b")
    async with aclosing(model.stream(_request())) as stream:
        await anext(stream)
    assert len(model.abandoned) == 1


async def test_a_test_can_wait_for_the_nth_request_of_an_agent() -> None:
    model = ScriptedModel(otherwise=Reply(("ok",)))

    async def ask_twice() -> None:
        await _play(model, _request(turn=0))
        await _play(model, _request(turn=1))

    async with asyncio.TaskGroup() as group:
        group.create_task(ask_twice())
        assert (await model.arrival("principal", 2)).turn == 1
