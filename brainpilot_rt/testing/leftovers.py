"""A check that a test leaves no task behind.

A task that outlives its test is a task nobody owns: in the daemon it would outlive its run. The
event loop would cancel it without a word when it closes, so the check runs before that.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

Params = ParamSpec("Params")

PATIENCE_TURNS = 5
"""Turns of the loop that a task which has been cancelled or is returning gets to end."""


class TasksLeftBehind(AssertionError):
    """The test ended and tasks it started had not."""


def no_task_left_behind(
    test: Callable[Params, Awaitable[None]],
) -> Callable[Params, Awaitable[None]]:
    """Wrap an async test so that it fails with `TasksLeftBehind` if tasks it started go on.

    Tasks that ran before the test (those of its fixtures) are not counted.
    """

    @functools.wraps(test)
    async def guarded(*args: Params.args, **kwargs: Params.kwargs) -> None:
        before = asyncio.all_tasks()
        await test(*args, **kwargs)
        for _ in range(PATIENCE_TURNS):
            if not asyncio.all_tasks() - before:
                return
            await asyncio.sleep(0)
        left = sorted(
            f"{task.get_name()} ({task.get_coro()})" for task in asyncio.all_tasks() - before
        )
        if left:
            raise TasksLeftBehind(f"{len(left)} tasks left behind: " + "; ".join(left))

    return guarded
