import asyncio
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal

import pytest

from brainpilot_rt.domain.errors import FatalFault, ProviderFault, RetryableFault
from brainpilot_rt.domain.messages import UserMessage
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ModelRef,
    ReplyFinished,
    TextDelta,
)
from brainpilot_rt.models.dispatch import SPACING_S, Dispatcher
from brainpilot_rt.models.providers import OPENAI_URL, Dialect
from brainpilot_rt.testing.sources import START, ManualClock
from tests.unit.models.team import request
from tests.unit.models.wires import (
    KEY,
    Reply,
    delta,
    dispatcher,
    openai_stream,
    openai_text,
    profile,
)

OK = Reply(chunks=(openai_text("hello"),))
BUSY = Reply(status=429, headers={})


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _run(port: Dispatcher, seen: list[ModelEvent] | None = None) -> list[ModelEvent]:
    seen = [] if seen is None else seen
    async for event in port.stream(request("principal", UserMessage(text="hi"))):
        seen.append(event)
    return seen


async def test_an_answer_comes_with_its_model_usage_and_cost() -> None:
    port, transport = dispatcher(OK, using=profile(Dialect.OPENAI_CHAT, base_url=OPENAI_URL))
    *deltas, last = await _run(port)
    assert [event.text for event in deltas if isinstance(event, TextDelta)] == ["hello"]
    assert isinstance(last, ReplyFinished)
    assert last.model == ModelRef(provider="p", model="m-1")
    assert (last.usage.input, last.usage.output) == (7, 3)
    assert last.cost_usd is None
    assert transport.sent[0][2]["model"] == "m-1"
    assert transport.open_now == 0


async def test_a_known_price_is_filled_in() -> None:
    there = profile(Dialect.OPENAI_CHAT, base_url=OPENAI_URL, models=("gpt-4o-mini",))
    last = (await _run(dispatcher(OK, using=there)[0]))[-1]
    assert isinstance(last, ReplyFinished)
    assert last.cost_usd is not None
    assert last.cost_usd > Decimal(0)


async def test_attempts_before_the_first_word_are_announced_and_repeated() -> None:
    port, transport = dispatcher(
        Reply(status=503, headers={}), RetryableFault("no connection", code="connection"), OK
    )
    events = await _run(port)
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    assert [(each.attempt, each.attempts_max, each.delay_s) for each in failed] == [
        (1, 5, 1.0),
        (2, 5, 2.0),
    ]
    assert "503" in failed[0].reason
    assert len(transport.sent) == 3
    assert isinstance(events[-1], ReplyFinished)


@pytest.mark.fault("G2")
@pytest.mark.parametrize(
    "value", ["7", (START + timedelta(seconds=7)).strftime("%a, %d %b %Y %H:%M:%S GMT")]
)
async def test_retry_after_is_honoured_in_both_forms(value: str) -> None:
    port, _ = dispatcher(Reply(status=429, headers={"retry-after": value}), OK, clock=ManualClock())
    began = _now()
    events = await _run(port)
    assert isinstance(events[0], AttemptFailed)
    assert events[0].delay_s == 7.0
    assert _now() - began == pytest.approx(7.0)


@pytest.mark.fault("G2")
async def test_a_retry_after_beyond_the_cap_fails_at_once() -> None:
    port, transport = dispatcher(Reply(status=429, headers={"retry-after": "86400"}), OK)
    with pytest.raises(RetryableFault) as caught:
        await _run(port)
    assert caught.value.retry_after_s == 86400
    assert len(transport.sent) == 1


@pytest.mark.fault("G3")
async def test_attempts_are_counted_and_end() -> None:
    port, transport = dispatcher(*[BUSY] * 9)
    with pytest.raises(RetryableFault):
        await _run(port)
    assert len(transport.sent) == 5


@pytest.mark.fault("G4")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_what_would_fail_again_is_tried_once(status: int) -> None:
    port, transport = dispatcher(Reply(status=status, headers={}), OK)
    with pytest.raises(FatalFault):
        await _run(port)
    assert len(transport.sent) == 1


@pytest.mark.fault("G3", "G6")
async def test_nothing_is_repeated_once_something_was_said() -> None:
    half = openai_stream(delta(content="half"), done=False)
    port, transport = dispatcher(Reply(chunks=(half, RetryableFault("reset"))), OK)
    seen: list[ModelEvent] = []
    with pytest.raises(RetryableFault, match="reset"):
        await _run(port, seen)
    assert seen == [TextDelta(index=0, text="half")]
    assert len(transport.sent) == 1


@pytest.mark.fault("G6")
async def test_a_stream_without_its_end_marker_is_a_fault_and_not_a_reply() -> None:
    half = openai_stream(delta(content="half"), done=False)
    seen: list[ModelEvent] = []
    with pytest.raises(RetryableFault, match="middle") as caught:
        await _run(dispatcher(Reply(chunks=(half,)))[0], seen)
    assert caught.value.code == "protocol"
    assert seen == [TextDelta(index=0, text="half")]


async def test_what_came_before_a_fault_in_the_same_chunk_is_still_said() -> None:
    chunk = openai_stream(delta(content="half"), done=False) + b"data: {broken\n\n"
    seen: list[ModelEvent] = []
    with pytest.raises(FatalFault):
        await _run(dispatcher(Reply(chunks=(chunk,)))[0], seen)
    assert seen == [TextDelta(index=0, text="half")]


async def test_a_connection_lost_after_the_last_word_loses_nothing() -> None:
    whole = openai_stream(delta(content="all"), delta(finish="stop"), done=False)
    last = (await _run(dispatcher(Reply(chunks=(whole, RetryableFault("reset"))))[0]))[-1]
    assert isinstance(last, ReplyFinished)
    assert last.message.text == "all"


@pytest.mark.fault("G12")
async def test_usage_that_comes_late_is_still_counted() -> None:
    text = openai_stream(delta(content="x"), delta(finish="stop"), done=False)
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}\n\n'
    last = (await _run(dispatcher(Reply(chunks=(text, usage, b"data: [DONE]\n\n")))[0]))[-1]
    assert isinstance(last, ReplyFinished)
    assert not last.usage.estimated


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>hi</html>"), ("application/json", b'{"ok": true}')]
)
async def test_an_answer_that_is_no_event_stream_is_a_protocol_fault(
    kind: str, body: bytes
) -> None:
    port, _ = dispatcher(Reply(headers={"content-type": kind}, chunks=(body,)))
    with pytest.raises(FatalFault) as caught:
        await _run(port)
    assert caught.value.code == "protocol"


@pytest.mark.fault("G14")
async def test_a_key_that_the_provider_echoes_is_cut_out() -> None:
    body = f'{{"error": {{"message": "bad key {KEY} and {KEY[:20]}x"}}}}'.encode()
    port, _ = dispatcher(Reply(status=401, headers={}, chunks=(body,)))
    with pytest.raises(ProviderFault) as caught:
        await _run(port)
    assert KEY[8:16] not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_deltas_of_one_chunk_are_joined() -> None:
    pieces = openai_stream(*(delta(content=str(n)) for n in range(9)), delta(finish="stop"))
    *deltas, _ = await _run(dispatcher(Reply(chunks=(pieces,)))[0])
    assert deltas == [TextDelta(index=0, text="012345678")]


@pytest.mark.fault("G15")
async def test_a_provider_in_trouble_is_called_by_one_agent_after_the_other() -> None:
    agents = 20
    asked = Reply(status=429, headers={"retry-after": "10"})
    port, transport = dispatcher(*[asked] * agents, BUSY, *[OK] * agents)
    transport.latency_s = 0.01
    async with asyncio.TaskGroup() as group:
        for _ in range(agents):
            group.create_task(_run(port))
    together, apart = transport.times[:agents], transport.times[agents:]
    assert set(together) == {0.0}
    assert apart[0] == pytest.approx(10.01)
    # The first one back was refused again, so that the gate stayed shut for all the others.
    assert apart[1] >= apart[0] + 2.0
    assert apart[2] >= apart[1] + SPACING_S * 0.99


@pytest.mark.fault("G5")
async def test_silence_of_ten_minutes_anywhere_in_a_stream_is_waited_for() -> None:
    text = openai_stream(delta(content="at last"), done=False)
    end = openai_stream(delta(finish="stop"))
    port, transport = dispatcher(Reply(chunks=(600.0, b": ping\n\n", text, 600.0, end)))
    transport.latency_s = 600.0
    last = (await _run(port))[-1]
    assert isinstance(last, ReplyFinished)
    assert last.message.text == "at last"
    assert _now() >= 1800


async def test_a_reader_that_leaves_closes_the_request() -> None:
    pieces = [openai_stream(delta(content=str(n)), done=False) for n in range(9)]
    port, transport = dispatcher(Reply(chunks=tuple(pieces)))
    async with aclosing(port.stream(request("principal"))) as stream:
        await anext(stream)
        assert transport.open_now == 1
    assert transport.open_now == 0


async def test_a_call_cancelled_during_a_wait_ends_at_once() -> None:
    port, transport = dispatcher(BUSY, OK)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await _run(port)
    assert len(transport.sent) == 1


async def test_an_unknown_provider_fails_without_a_request() -> None:
    port, transport = dispatcher(OK)
    asked = request("p").model_copy(update={"model": ModelRef(provider="gone", model="x")})
    with pytest.raises(FatalFault, match="gone"):
        await anext(port.stream(asked))
    assert transport.sent == []
