"""Any cut of a stream, between any two frames, is resumed exactly."""

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.world import (
    SESSION,
    Script,
    Seen,
    Server,
    lasting,
    orderly,
    serving,
    until,
)

STREAM = f"/sse/{SESSION}"

steps = st.lists(st.integers(0, 500), min_size=5, max_size=60)
slow_enough = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


async def play(server: Server, numbers: list[int], *, end: bool) -> Script:
    script = Script(server.backend)
    await script.begin()
    for number in numbers:
        await script.step(number)
    if end:
        await script.end()
    return script


def check(got: list[Seen], whole: list[Seen]) -> None:
    assert orderly(got) == orderly(whole)


@slow_enough
@given(steps)
async def test_a_replay_cut_anywhere_goes_on_with_the_very_same_frames(numbers: list[int]):
    async with serving() as server:
        await play(server, numbers, end=True)
        whole = lasting(await server.read(STREAM))
        for at, seen in enumerate(whole):
            rest = lasting(await server.read(STREAM, seen.key))
            assert rest == whole[at + 1 :], f"cut at {seen.key}"


@slow_enough
@given(steps)
async def test_a_live_stream_cut_anywhere_is_resumed_exactly_with_texts_open(numbers: list[int]):
    async with serving() as server:
        whole = await live(server, numbers)
        now = lasting(await server.read(STREAM))
        check(now, whole)
        for at, seen in enumerate(whole):
            rest = lasting(await server.read(STREAM, seen.key))
            check(whole[: at + 1] + rest, whole)


async def live(server: Server, numbers: list[int]) -> list[Seen]:
    """What a reader that was there from the beginning got, while texts are still open."""
    script = Script(server.backend)
    await script.begin()
    got: list[Seen] = []
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(server.read_into(got, STREAM))
        await until(lambda: got)
        for number in numbers:
            await script.step(number)
        await reader
    return lasting(got)


@slow_enough
@pytest.mark.timeout(30)
@given(steps)
async def test_a_hub_that_saw_nothing_resumes_from_the_log_and_the_open_texts(numbers: list[int]):
    async with serving() as server:
        whole = await live(server, numbers)
        for at, seen in enumerate(whole):
            async with serving(server.backend) as late:
                rest = lasting(await late.read(STREAM, seen.key))
            check(whole[: at + 1] + rest, whole)


@slow_enough
@given(steps, st.randoms(use_true_random=False))
async def test_a_reader_that_reconnects_at_random_ends_with_every_frame_once(
    numbers: list[int], dice: random.Random
):
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        got: list[Seen] = []
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(server.read_into(got, STREAM))
            for number in numbers:
                for _ in range(dice.choice((0, 0, 1, 5, 30))):
                    await asyncio.sleep(0)
                if dice.random() < 0.3:
                    reader.cancel()
                    last = lasting(got)
                    cursor = last[-1].key if last else ""
                    reader = group.create_task(server.read_into(got, STREAM, cursor))
                await script.step(number)
            await script.end()
            await reader
        whole = lasting(await server.read(STREAM))
        check(lasting(got), whole)


@slow_enough
@given(steps, st.integers(1, 4))
async def test_a_restart_ends_open_texts_and_says_so(numbers: list[int], kept: int):
    async with serving() as server:
        whole = await live(server, numbers)
        backend = server.backend
        open_texts = list(backend.loaded[SESSION].texts)
        for text in open_texts:
            await Script(backend).abort(text, crashed=True)
        async with serving(backend) as restarted:
            uncut = lasting(await restarted.read(STREAM))
            for at in range(0, len(whole), kept):
                rest = lasting(await restarted.read(STREAM, whole[at].key))
                got = whole[: at + 1] + rest
                steady, texts = orderly(got)
                steady_uncut, texts_uncut = orderly(uncut)
                assert steady == steady_uncut
                finished = {key: value for key, value in texts.items() if key not in open_texts}
                assert finished == texts_uncut
        ends = [seen.frame for seen in uncut if seen.frame.get("aborted")]
        assert {frame["message_id"] for frame in ends} >= set(open_texts)


@slow_enough
@given(steps)
async def test_while_the_ring_is_there_even_the_order_is_the_same(numbers: list[int]):
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        whole: list[Seen] = []
        async with asyncio.TaskGroup() as group, server.client.stream("GET", STREAM) as other:
            assert other.status_code == 200  # someone else, who keeps the ring
            reader = group.create_task(server.read_into(whole, STREAM))
            await until(lambda: whole)
            for number in numbers:
                await script.step(number)
            await reader
            whole = lasting(whole)
            for at, seen in enumerate(whole):
                rest = lasting(await server.read(STREAM, seen.key))
                assert rest == whole[at + 1 :], f"cut at {seen.key}"


async def test_the_script_makes_the_cursors_these_tests_are_about():
    async with serving() as server:
        dice = random.Random(7)
        seen = await live(server, [dice.randrange(500) for _ in range(400)])
    found = [one.key for one in seen]
    assert any(key.count(".") >= 3 for key in found), "no two texts open at once"
    assert any("-" in key and "~" in key for key in found), "no cut inside an event within a text"
    assert any(key.partition("~")[2].startswith("0.") for key in found), "no text without a piece"
