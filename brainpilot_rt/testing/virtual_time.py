"""An event loop whose clock jumps instead of waiting, so that sleeps and timeouts cost nothing.

The selector polls. When nothing is ready, the time the loop would have waited is added to a counter
that starts at zero, and that counter is `loop.time()`: a test can assert exactly how long something
took. With no timer pending the loop blocks for real, as a socket or another thread must wake it.

The loop cannot see work in threads. Jobs given to `run_in_executor` (and so `asyncio.to_thread`)
are counted, and while one runs the clock keeps real time. Threads started elsewhere (aiosqlite,
watchfiles) are invisible: under a timeout the timeout would fire first, so tests of such code carry
`@pytest.mark.realtime` and run on the ordinary loop.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from typing_extensions import override

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


class JumpingSelector(selectors.BaseSelector):
    """A selector that adds the time it was asked to wait to `now` (seconds) and returns at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs = 0
        self._inner = selectors.DefaultSelector()

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return self._inner.select(None)
        ready = self._inner.select(0)
        if ready or timeout <= 0:
            return ready
        if self.jobs:
            started = time.monotonic()
            ready = self._inner.select(timeout)
            self.now += time.monotonic() - started
            return ready
        self.now += timeout
        return ready

    @override
    def register(
        self, fileobj: "FileDescriptorLike", events: int, data: object = None
    ) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    @override
    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    @override
    def get_map(self) -> "Mapping[FileDescriptorLike, selectors.SelectorKey]":
        return self._inner.get_map()

    @override
    def close(self) -> None:
        self._inner.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop on virtual time: `loop.time()` is the virtual seconds since it was made."""

    def __init__(self) -> None:
        self._virtual = JumpingSelector()
        super().__init__(self._virtual)

    @override
    def time(self) -> float:
        return self._virtual.now

    @override
    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[*Args], Result],
        *args: *Args,
    ) -> asyncio.Future[Result]:
        """Run the job on a thread; until it is done the clock keeps real time."""
        self._virtual.jobs += 1
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self._virtual.jobs -= 1
            raise
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: object) -> None:
        self._virtual.jobs -= 1

    @override
    async def shutdown_default_executor(self, _limit: float | None = None) -> None:
        """Join the threads without a limit: one in virtual time would pass before they end."""
        await super().shutdown_default_executor()
