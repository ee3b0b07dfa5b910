import asyncio

import pytest

from brainpilot_rt.aiokit.tasks import spawn
from brainpilot_rt.testing.leftovers import TasksLeftBehind, no_task_left_behind


def unreported(name: str, cause: BaseException) -> None:
    raise AssertionError(name) from cause


async def test_a_test_that_leaves_a_task_behind_fails_with_its_name():
    left: list[asyncio.Task[bool]] = []

    async def careless() -> None:
        left.append(spawn(asyncio.Event().wait(), name="parked", on_crash=unreported))

    with pytest.raises(TasksLeftBehind, match=r"^1 tasks left behind: parked"):
        await no_task_left_behind(careless)()
    left[0].cancel()


async def test_a_test_whose_cancelled_task_is_on_its_way_out_passes():
    async def careful() -> None:
        spawn(asyncio.Event().wait(), name="parked", on_crash=unreported).cancel()

    await no_task_left_behind(careful)()


async def test_tasks_that_ran_before_the_test_are_not_counted():
    async def idle() -> None:
        await asyncio.sleep(0)

    release = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(release.wait())
        await no_task_left_behind(idle)()
        release.set()


async def test_the_failure_of_the_test_itself_comes_first():
    async def failing() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await no_task_left_behind(failing)()
