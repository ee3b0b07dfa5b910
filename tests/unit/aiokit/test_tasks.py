import asyncio
import gc
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from brainpilot_rt.aiokit.tasks import TaskEnded, TaskSet, finish_shielded, spawn


class Crashes:
    """Collects what `on_crash` is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, cause: BaseException) -> None:
        self.seen.append((name, cause))


class Trail:
    """Members that write down in which order they end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def member(self, name: str, *, cleanup_s: float = 0.0) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(cleanup_s)
            self.ended.append(name)

    async def stubborn(self, lets_go: asyncio.Event) -> None:
        while not lets_go.is_set():
            try:
                await lets_go.wait()
            except asyncio.CancelledError:
                self.ended.append("refused")


async def _boom(after_s: float = 0.0) -> None:
    await asyncio.sleep(after_s)
    msg = "boom"
    raise ValueError(msg)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_crash_is_logged_reported_and_still_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crashes = Crashes()
    with caplog.at_level(logging.ERROR):
        task = spawn(_boom(), name="reader", on_crash=crashes)
        with pytest.raises(ValueError, match="boom"):
            await task
        await _settle()
    assert [(name, type(cause)) for name, cause in crashes.seen] == [("reader", ValueError)]
    assert "task reader crashed" in caplog.text


async def test_a_cancelled_task_is_no_crash() -> None:
    crashes = Crashes()
    task = spawn(asyncio.sleep(60), name="sleeper", on_crash=crashes)
    task.cancel()
    await asyncio.wait([task])
    await _settle()
    assert crashes.seen == []


async def test_an_endless_task_that_returns_is_a_crash() -> None:
    crashes = Crashes()
    await spawn(asyncio.sleep(1), name="ticker", on_crash=crashes, endless=True)
    await _settle()
    assert [(name, type(cause)) for name, cause in crashes.seen] == [("ticker", TaskEnded)]


async def test_a_spawned_task_survives_when_nobody_else_holds_it() -> None:
    reached: list[str] = []

    async def work() -> None:
        await asyncio.sleep(1)
        reached.append("end")

    spawn(work(), name="orphan", on_crash=Crashes())
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(2)
    assert reached == ["end"]


async def test_shielded_work_ends_before_the_cancellation_is_raised() -> None:
    done: list[str] = []

    async def commit() -> str:
        await asyncio.sleep(5)
        done.append("committed")
        return "ok"

    async def caller() -> None:
        try:
            await finish_shielded(commit())
        finally:
            done.append("caller left")

    task = asyncio.get_running_loop().create_task(caller())
    await asyncio.sleep(1)
    for _ in range(20):
        task.cancel()
        await asyncio.sleep(0.1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["committed", "caller left"]


async def test_shielded_work_gives_its_result_or_its_error_when_nobody_cancels() -> None:
    assert await finish_shielded(asyncio.sleep(1, "value")) == "value"
    with pytest.raises(ValueError, match="boom"):
        await finish_shielded(_boom(1))


async def test_a_failure_of_shielded_work_is_the_cause_of_the_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = asyncio.get_running_loop().create_task(finish_shielded(_boom(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    assert isinstance(raised.value.__cause__, ValueError)
    assert "shielded work failed" in caplog.text


async def test_a_timeout_around_shielded_work_fires_after_the_work_is_done() -> None:
    loop = asyncio.get_running_loop()
    work = loop.create_task(asyncio.sleep(5, "kept"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await finish_shielded(work)
    assert work.result() == "kept"


async def test_cancel_returns_when_the_task_has_really_exited() -> None:
    tasks, trail = TaskSet(on_crash=Crashes()), Trail()
    task = tasks.spawn(trail.member("a", cleanup_s=3), name="a")
    await asyncio.sleep(0)
    await tasks.cancel(task)
    assert trail.ended == ["a"]
    assert len(tasks) == 0


async def test_many_cancels_interrupt_a_clean_up_only_once() -> None:
    tasks, trail = TaskSet(on_crash=Crashes()), Trail()
    task = tasks.spawn(trail.member("a", cleanup_s=3), name="a")
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as callers:
        for _ in range(50):
            callers.create_task(tasks.cancel(task))
    assert trail.ended == ["a"]


async def test_a_caller_cancelled_while_joining_leaves_only_after_the_exit() -> None:
    tasks, trail = TaskSet(on_crash=Crashes()), Trail()
    task = tasks.spawn(trail.member("a", cleanup_s=3), name="a")
    await asyncio.sleep(0)
    caller = asyncio.get_running_loop().create_task(tasks.cancel(task))
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert trail.ended == ["a"]


async def test_cancelling_a_task_that_is_done_returns_at_once() -> None:
    tasks = TaskSet(on_crash=Crashes())
    task = tasks.spawn(asyncio.sleep(0), name="short")
    await task
    await tasks.cancel(task)


async def test_close_ends_members_in_the_reverse_order_of_starting() -> None:
    tasks, trail = TaskSet(on_crash=Crashes()), Trail()
    for name in "abc":
        tasks.spawn(trail.member(name, cleanup_s=1), name=name)
    await asyncio.sleep(0)
    assert await tasks.close(10) == []
    assert trail.ended == ["c", "b", "a"]


async def test_a_crash_during_close_is_reported_and_the_others_still_end() -> None:
    crashes, trail = Crashes(), Trail()
    tasks = TaskSet(on_crash=crashes)

    async def crashes_on_its_way_out() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            msg = "clean-up failed"
            raise OSError(msg)

    tasks.spawn(trail.member("first"), name="first")
    tasks.spawn(crashes_on_its_way_out(), name="second")
    await asyncio.sleep(0)
    assert await tasks.close(10) == []
    await _settle()
    assert trail.ended == ["first"]
    assert [(name, str(cause)) for name, cause in crashes.seen] == [("second", "clean-up failed")]


async def test_a_member_that_refuses_to_end_is_named_and_the_others_are_still_ended() -> None:
    tasks, trail, lets_go = TaskSet(on_crash=Crashes()), Trail(), asyncio.Event()
    tasks.spawn(trail.member("a"), name="a")
    stubborn = tasks.spawn(trail.stubborn(lets_go), name="stubborn")
    await asyncio.sleep(0)
    started = asyncio.get_running_loop().time()
    assert await tasks.close(10) == ["stubborn"]
    assert asyncio.get_running_loop().time() - started == pytest.approx(10)
    assert trail.ended == ["refused", "refused", "a"]
    lets_go.set()
    await stubborn


async def test_a_cancelled_close_still_closes() -> None:
    tasks, trail = TaskSet(on_crash=Crashes()), Trail()
    tasks.spawn(trail.member("a", cleanup_s=3), name="a")
    await asyncio.sleep(0)
    closing = asyncio.get_running_loop().create_task(tasks.close(10))
    await asyncio.sleep(1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert trail.ended == ["a"]


@pytest.mark.parametrize("deed", ["cancel", "close"])
async def test_a_member_may_not_wait_for_its_own_end(deed: str) -> None:
    tasks = TaskSet(on_crash=Crashes())

    async def itself() -> None:
        me = asyncio.current_task()
        assert me is not None
        work: Coroutine[Any, Any, object] = tasks.cancel(me) if deed == "cancel" else tasks.close(1)
        await work

    with pytest.raises(RuntimeError, match="its own end"):
        await tasks.spawn(itself(), name="itself")


async def test_a_closed_owner_starts_nothing() -> None:
    tasks = TaskSet(on_crash=Crashes())
    await tasks.close(1)
    with pytest.raises(RuntimeError, match="cannot start late"):
        tasks.spawn(asyncio.sleep(1), name="late")


async def test_an_owner_does_not_end_the_task_of_another() -> None:
    mine, theirs = TaskSet(on_crash=Crashes()), TaskSet(on_crash=Crashes())
    task = theirs.spawn(asyncio.sleep(60), name="foreign")
    with pytest.raises(RuntimeError, match="someone else"):
        await mine.cancel(task)
    await theirs.close(1)
