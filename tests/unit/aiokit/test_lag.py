import asyncio

import pytest

from brainpilot_rt.aiokit.lag import LoopLag
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.testing.sources import ManualClock


def _ignore(_name: str, _cause: BaseException) -> None:
    pass


async def test_oversleeping_is_the_lag_and_the_worst_of_the_window_is_kept() -> None:
    clock, tasks = ManualClock(), TaskSet(on_crash=_ignore)
    lag = LoopLag(clock, interval_s=1, window=2)
    assert (lag.current_s, lag.max_s) == (0.0, 0.0)
    lag.start(tasks)
    await asyncio.sleep(0.5)
    seen: list[tuple[float, float]] = []
    for passed_s in (1.0, 1.25, 1.0, 1.0):
        clock.advance(passed_s)
        await asyncio.sleep(1)
        seen.append((lag.current_s, lag.max_s))
    assert seen == [(0.0, 0.0), (0.25, 0.25), (0.0, 0.25), (0.0, 0.0)]
    assert await tasks.close(1) == []


async def test_a_clock_that_is_read_early_gives_no_negative_lag() -> None:
    clock, tasks = ManualClock(), TaskSet(on_crash=_ignore)
    lag = LoopLag(clock, interval_s=1, window=2)
    lag.start(tasks)
    await asyncio.sleep(2.5)
    assert lag.current_s == pytest.approx(0.0)
    await tasks.close(1)


async def test_nothing_runs_before_start() -> None:
    before = asyncio.all_tasks()
    LoopLag(ManualClock(), interval_s=1, window=2)
    assert asyncio.all_tasks() == before
