"""Tasks with a name, an owner and an end.

A bare asyncio task can be collected while it runs, can fail without anyone reading it, and can be
cancelled twice in the middle of its own clean-up. `spawn` guards against the first two, `TaskSet`
against the third. `finish_shielded` is for work that cannot be undone: a commit on a thread happens
whether or not the caller still waits, so the caller waits for the end of it and is cancelled then.

Relied upon: asyncio delivers a cancellation once, at the next await; whoever catches it must raise
it again. Everything here does, also when a second cancellation arrives while the first is served.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")

OnCrash: TypeAlias = Callable[[str, BaseException], None]
"""Told the name of a task and what it died of; called on the loop, must not block."""

_log = logging.getLogger(__name__)

# The loop itself holds tasks weakly; this is what keeps a spawned task alive until it is done.
_alive: Final[set[asyncio.Task[Any]]] = set()

_IN_ORDER_SHARE: Final = 0.8


class TaskEnded(RuntimeError):
    """A task that was to run until cancelled returned."""


def spawn(
    coro: Coroutine[Any, Any, T], *, name: str, on_crash: OnCrash, endless: bool = False
) -> asyncio.Task[T]:
    """Start a task that is kept alive and whose crash is logged and reported.

    Awaiting the task still raises what it died of. Being cancelled is not a crash. With `endless`,
    returning is one too (`TaskEnded`).
    """
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _alive.add(task)

    def ended(done: asyncio.Task[T]) -> None:
        _alive.discard(done)
        if done.cancelled():
            return
        cause = done.exception()
        if cause is None and endless:
            cause = TaskEnded(f"task {name} was to run until cancelled, and returned")
        if cause is not None:
            _log.error("task %s crashed", name, exc_info=cause)
            on_crash(name, cause)

    task.add_done_callback(ended)
    return task


async def finish_shielded(work: Awaitable[T]) -> T:
    """Run `work` to its end even when the caller is cancelled, then raise the cancellation.

    When the caller was cancelled and `work` failed as well, the failure is logged and is the
    `__cause__` of the CancelledError. A future or task passed in keeps its result for the caller.
    """
    inner = work if isinstance(work, asyncio.Future) else _as_task(work)
    interrupted: asyncio.CancelledError | None = None
    while not inner.done():
        try:
            await asyncio.wait([inner])
        except asyncio.CancelledError as cancelled:
            interrupted = interrupted or cancelled
    if interrupted is None:
        return inner.result()
    failure = None if inner.cancelled() else inner.exception()
    if failure is not None:
        _log.error("shielded work failed while its caller was cancelled", exc_info=failure)
    raise interrupted from failure


def _as_task(work: Awaitable[T]) -> asyncio.Task[T]:
    async def await_it() -> T:
        return await work

    name = getattr(work, "__qualname__", type(work).__name__)
    return asyncio.get_running_loop().create_task(await_it(), name=f"shielded {name}")


class TaskSet:
    """Owns tasks: starts them, ends one, ends all in the reverse order of starting.

    Each member is cancelled at most once by the set, however many callers ask, so that a clean-up
    is never interrupted by a second request. Only `close` repeats it, for members that outlived
    their share of the deadline.
    """

    def __init__(self, *, on_crash: OnCrash) -> None:
        self._on_crash = on_crash
        # Insertion order is the order of starting; the value says whether cancel was requested.
        self._members: dict[asyncio.Task[Any], bool] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._members)

    def spawn(
        self, coro: Coroutine[Any, Any, T], *, name: str, endless: bool = False
    ) -> asyncio.Task[T]:
        """Start a member. RuntimeError once `close` has begun."""
        if self._closed:
            coro.close()
            msg = f"cannot start {name}: its owner is closed"
            raise RuntimeError(msg)
        task = spawn(coro, name=name, on_crash=self._on_crash, endless=endless)
        self._members[task] = False
        task.add_done_callback(self._forget)
        return task

    async def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task and return when it has really exited.

        What it died of is reported to `on_crash`, not raised. A caller cancelled meanwhile still
        waits for the exit and is cancelled then. RuntimeError when a task asks for its own end, or
        when the running task is no member.
        """
        self._refuse_self(task)
        if task.done():
            return
        if task not in self._members:
            msg = f"task {task.get_name()} belongs to someone else"
            raise RuntimeError(msg)
        self._request(task)
        await finish_shielded(asyncio.wait([task]))

    async def close(self, deadline_s: float) -> list[str]:
        """End every member, last started first, within `deadline_s` seconds.

        Each member is waited for before the next one is cancelled. After four fifths of the time
        the rest is cancelled together. Returns the names of those still running at the deadline.
        """
        self._closed = True
        for task in self._members:
            self._refuse_self(task)
        return await finish_shielded(self._end_all(deadline_s))

    async def _end_all(self, deadline_s: float) -> list[str]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        for task in reversed(list(self._members)):
            time_left = ends_at - (1 - _IN_ORDER_SHARE) * deadline_s - loop.time()
            if time_left <= 0:
                break
            self._request(task)
            if not task.done():
                await asyncio.wait([task], timeout=time_left)
        left = [task for task in self._members if not task.done()]
        if left:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=max(0.0, ends_at - loop.time()))
        names = [task.get_name() for task in left if not task.done()]
        if names:
            _log.error("still running after %s s: %s", deadline_s, ", ".join(names))
        return names

    def _request(self, task: asyncio.Task[Any]) -> None:
        if not task.done() and not self._members[task]:
            self._members[task] = True
            task.cancel()

    def _refuse_self(self, task: asyncio.Task[Any]) -> None:
        if task is asyncio.current_task():
            msg = f"task {task.get_name()} cannot wait for its own end"
            raise RuntimeError(msg)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._members.pop(task, None)
