"""The signals of the process, from before anything exists until nothing is left to be ended.

A first SIGTERM or SIGINT stops in order: a start-up that is not done is cancelled, a running daemon
is told. A second one ends the process at once, in whatever it is. SIGHUP changes nothing (the token
is read again anyway), SIGPIPE and SIGXFSZ become the errors of the call that met them.

Plain handlers of Python rather than the loop's: those end with the loop, and what comes after it, a
checkpoint of a large log perhaps, would be cut short by a second signal with the code of a death.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

AT_ONCE: Final = 130
"""Exit code after a second signal."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Hears the signals of the process; `follow` says what a first one does."""

    def __init__(self) -> None:
        self.asked = False
        """A first signal has come."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] = _nothing
        for number in _STOPS:
            signal.signal(number, self._hear)
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)

    def follow(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
        """From now on a first signal calls `stop` on this loop; so does one that has come."""
        self._loop, self._stop = loop, stop
        if self.asked:
            stop()

    def done(self) -> None:
        """Everything is closed: what comes now must not turn a clean end into a death."""
        for number in (*_STOPS, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            os._exit(AT_ONCE)
        self.asked = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it ends already
                self._loop.call_soon_threadsafe(self._stop)


def _nothing() -> None:
    """Before there is a loop nothing has begun: `follow` will see that it was asked."""
