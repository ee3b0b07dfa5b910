"""What becomes of a loop whose life is over."""

import asyncio
from contextlib import suppress

from brainpilot_rt.aiokit import tasks
from brainpilot_rt.testing.shuffled_loop import ShuffledLoop


def bury(loop: ShuffledLoop) -> None:
    """End what is left of a life, so that nothing complains about it."""
    for _ in range(50):
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        with suppress(BaseException):
            loop.turn()
            loop.pass_time(3600)
        if not left:
            break
    for task in asyncio.all_tasks(loop):  # cut in the middle of its own end: end it by hand
        coroutine = task.get_coro()
        assert coroutine is not None
        for _ in range(9):  # each try ends at most one clean-up that waits for something
            try:
                coroutine.close()
                break
            except BaseException:  # noqa: BLE001 - whatever the dead say
                continue
        tasks._alive.discard(task)  # pyright: ignore[reportPrivateUsage] - else kept for ever
        task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue] - it is told
    with suppress(BaseException):
        loop.create_task(loop.shutdown_asyncgens())
        loop.turn()
    loop.close()
