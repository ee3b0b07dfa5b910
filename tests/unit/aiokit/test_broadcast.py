import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.aiokit.broadcast import Lagged, Ring, Subscription


def _ring(count_max: int = 100, bytes_max: int = 10_000, start: int = 0) -> Ring[str]:
    return Ring(count_max=count_max, bytes_max=bytes_max, size_of=len, start=start)


async def _read_all(follower: Subscription[str]) -> list[str]:
    return [item async for batch in follower for item in batch]


def test_positions_are_absolute_and_survive_dropping() -> None:
    ring = _ring(count_max=3, start=10)
    assert [ring.publish(item) for item in "abcde"] == [10, 11, 12, 13, 14]
    assert (ring.base, ring.head) == (12, 15)
    assert (ring.read(12), ring.read(13, 1), ring.read(15)) == (["c", "d", "e"], ["d"], [])
    with pytest.raises(Lagged) as raised:
        ring.read(11)
    assert (raised.value.position, raised.value.base) == (11, 12)


def test_the_bytes_are_bounded_but_the_newest_item_is_always_kept() -> None:
    ring = _ring(bytes_max=10)
    for item in ("aaaa", "bbbb", "cccc"):
        ring.publish(item)
    assert (ring.read(ring.base), ring.bytes) == (["bbbb", "cccc"], 8)
    ring.publish("d" * 50)
    assert (ring.read(ring.base), ring.bytes) == (["d" * 50], 50)


@given(
    items=st.lists(st.text(max_size=8)), count_max=st.integers(1, 5), bytes_max=st.integers(0, 20)
)
def test_the_ring_holds_the_newest_items_within_its_bounds(
    items: list[str], count_max: int, bytes_max: int
) -> None:
    ring = _ring(count_max=count_max, bytes_max=bytes_max)
    for item in items:
        ring.publish(item)
    kept = ring.read(ring.base)
    assert kept == items[len(items) - len(kept) :]
    assert len(kept) <= count_max
    assert ring.bytes == sum(map(len, kept))
    assert ring.bytes <= bytes_max or len(kept) == 1
    assert ring.head == len(items)


async def test_every_follower_gets_everything_in_order() -> None:
    ring = _ring()
    ring.publish("early")
    from_start, from_head = ring.subscribe(0), ring.subscribe()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(_read_all(from_start))
        second = group.create_task(_read_all(from_head))
        for number in range(20):
            ring.publish(str(number))
            await asyncio.sleep(number % 3)
        ring.close()
    later = [str(number) for number in range(20)]
    assert (first.result(), second.result()) == (["early", *later], later)


async def test_a_burst_reaches_a_follower_as_one_batch() -> None:
    ring = _ring()
    follower = ring.subscribe()
    reading = asyncio.get_running_loop().create_task(anext(follower))
    await asyncio.sleep(0)
    for item in "abc":
        ring.publish(item)
    assert await reading == ["a", "b", "c"]


def test_a_batch_can_be_bounded() -> None:
    ring = _ring()
    follower = ring.subscribe(0)
    for item in "abc":
        ring.publish(item)
    assert (follower.take(2), follower.take(2), follower.take(2)) == (["a", "b"], ["c"], [])


async def test_cancelling_one_waiter_leaves_the_others_waiting() -> None:
    ring = _ring()
    followers = [ring.subscribe() for _ in range(50)]
    loop = asyncio.get_running_loop()
    readers = [loop.create_task(anext(follower)) for follower in followers]
    await asyncio.sleep(0)
    for reader in readers[::2]:
        reader.cancel()
    await asyncio.wait(readers[::2])
    ring.publish("x")
    await asyncio.wait(readers)
    assert all(reader.cancelled() for reader in readers[::2])
    assert [reader.result() for reader in readers[1::2]] == [["x"]] * 25


async def test_a_follower_parked_elsewhere_is_told_that_it_lags() -> None:
    ring = _ring(count_max=3)
    told: list[str] = []
    ring.subscribe(on_lag=lambda: told.append("slow"))
    quick = ring.subscribe(on_lag=lambda: told.append("quick"))
    for item in "abcdefgh":
        ring.publish(item)
        quick.take()
    await asyncio.sleep(0)
    assert (told, ring.followers) == (["slow"], 1)


async def test_a_lag_callback_can_cancel_a_reader_that_never_reads() -> None:
    ring = _ring(count_max=3)
    stuck = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
    ring.subscribe(on_lag=stuck.cancel)
    for item in "abcd":
        ring.publish(item)
    with pytest.raises(asyncio.CancelledError):
        await stuck


async def test_a_lagging_follower_never_skips_but_is_refused() -> None:
    ring = _ring(count_max=2)
    follower = ring.subscribe()
    for item in "abc":
        ring.publish(item)
    with pytest.raises(Lagged):
        await anext(follower)
    with pytest.raises(Lagged):
        ring.subscribe(0)
    assert ring.subscribe(ring.base).take() == ["b", "c"]


async def test_a_failing_lag_callback_does_not_disturb_the_publisher() -> None:
    ring = _ring(count_max=1)
    loop, reported = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))

    def fails() -> None:
        msg = "callback"
        raise ValueError(msg)

    ring.subscribe(on_lag=fails)
    assert [ring.publish(item) for item in "abc"] == [0, 1, 2]
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert [str(one) for one in reported] == ["callback"]


async def test_closing_the_ring_lets_followers_read_the_rest_and_end() -> None:
    ring = _ring()
    follower = ring.subscribe()
    ring.publish("last")
    ring.close()
    assert await _read_all(follower) == ["last"]
    assert await ring.wait(ring.head) is False
    with pytest.raises(RuntimeError, match="closed"):
        ring.publish("late")


async def test_closing_a_follower_ends_its_waiting_reader_only() -> None:
    ring = _ring()
    loop = asyncio.get_running_loop()
    one, other = ring.subscribe(), ring.subscribe()
    reading_one = loop.create_task(_read_all(one))
    reading_other = loop.create_task(_read_all(other))
    await asyncio.sleep(0)
    one.close()
    one.close()
    assert (await reading_one, one.take(), ring.followers) == ([], [], 1)
    ring.publish("x")
    ring.close()
    assert await reading_other == ["x"]


async def test_waiting_for_a_position_needs_no_subscription() -> None:
    ring = _ring()
    waiting = asyncio.get_running_loop().create_task(ring.wait(1))
    await asyncio.sleep(0)
    ring.publish("a")
    await asyncio.sleep(1)
    assert not waiting.done()
    ring.publish("b")
    assert await waiting is True


def test_a_subscription_leaves_with_its_block() -> None:
    ring = _ring()
    with ring.subscribe():
        assert ring.followers == 1
    assert ring.followers == 0


def test_a_ring_without_room_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        _ring(count_max=0)
