import asyncio
import random

import pytest

from brainpilot_rt.aiokit.limits import Limit


async def test_no_more_than_the_slots_are_held_at_once() -> None:
    limit, most = Limit("models", 3), 0

    async def work() -> None:
        nonlocal most
        async with limit:
            most = max(most, limit.in_use)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(work())
        await asyncio.sleep(0.5)
        assert (limit.in_use, limit.waiting) == (3, 7)
    assert (most, limit.in_use, limit.waiting) == (3, 0, 0)


async def test_slots_are_given_in_the_order_asked() -> None:
    limit, order = Limit("tools", 1), list[int]()

    async def work(number: int) -> None:
        async with limit:
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(work(number))
    assert order == list(range(20))


async def test_a_newcomer_cannot_take_a_slot_that_was_given_to_a_waiter() -> None:
    limit = Limit("tools", 1)
    await limit.acquire()
    waiter = asyncio.get_running_loop().create_task(limit.acquire())
    await asyncio.sleep(0)
    limit.release()
    newcomer = asyncio.get_running_loop().create_task(limit.acquire())
    await waiter
    await asyncio.sleep(0)
    assert (newcomer.done(), limit.in_use, limit.waiting) == (False, 1, 1)
    limit.release()
    await newcomer
    limit.release()


async def test_a_waiter_cancelled_when_just_given_a_slot_passes_it_on() -> None:
    limit, loop = Limit("tools", 1), asyncio.get_running_loop()
    await limit.acquire()
    first, second = loop.create_task(limit.acquire()), loop.create_task(limit.acquire())
    await asyncio.sleep(0)
    limit.release()
    first.cancel()
    await second
    assert first.cancelled()
    limit.release()
    assert limit.in_use == 0


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    limit = Limit("tools", 1)
    await limit.acquire()
    waiter = asyncio.get_running_loop().create_task(limit.acquire())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert (limit.in_use, limit.waiting) == (1, 0)
    limit.release()
    assert limit.in_use == 0


@pytest.mark.parametrize("seed", range(10))
async def test_no_slot_is_lost_or_doubled_in_a_cancellation_storm(seed: int) -> None:
    dice, limit, most = random.Random(seed), Limit("tools", 3), 0

    async def work() -> None:
        nonlocal most
        async with limit:
            most = max(most, limit.in_use)
            await asyncio.sleep(dice.random())

    loop = asyncio.get_running_loop()
    workers = [loop.create_task(work()) for _ in range(100)]
    while any(not worker.done() for worker in workers):
        dice.choice(workers).cancel()
        await asyncio.sleep(dice.random() / 10)
    assert (limit.in_use, limit.waiting) == (0, 0)
    assert most <= 3


def test_giving_back_what_is_not_held_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="nothing to release"):
        Limit("tools", 1).release()


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        Limit("tools", 0)
