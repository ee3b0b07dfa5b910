"""How late the event loop is.

A named task sleeps for a fixed interval and looks by how much it overslept. That is what any other
timer, request or frame waits as well when something blocks the loop. Nothing runs, and no timer
exists, until `start`.

Who blocks it cannot be asked afterwards. A watchdog of the interpreter, armed anew along with the
samples, writes the stacks of all threads to standard error while the loop is still blocked, also
when what blocks it never lets go of the interpreter.
"""

import asyncio
import contextlib
import faulthandler
from collections import deque
from typing import Final

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.aiokit.tasks import TaskSet

BLOCKED_S: Final = 5.0
"""A loop that is this late is blocked, and the stacks are written."""
_REARM_S: Final = 1.0


class LoopLag:
    """Samples the lag of the running loop, in seconds. One per process may have a watchdog."""

    def __init__(
        self, clock: Clock, *, interval_s: float, window: int, watchdog: bool = False
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._samples: deque[float] = deque(maxlen=window)
        self._watchdog = watchdog
        self.blocked = 0
        """How often the loop was blocked for `BLOCKED_S` or longer."""

    @property
    def current_s(self) -> float:
        """The latest sample; 0.0 before the first one."""
        return self._samples[-1] if self._samples else 0.0

    @property
    def max_s(self) -> float:
        """The largest of the last `window` samples."""
        return max(self._samples, default=0.0)

    def start(self, owner: TaskSet) -> asyncio.Task[None]:
        """Begin to sample, until the owner cancels the task."""
        return owner.spawn(self._sample(), name="loop-lag", endless=True)

    async def _sample(self) -> None:
        armed_s = float("-inf")
        try:
            while True:
                before_s = self._clock.monotonic()
                if self._watchdog and before_s - armed_s >= _REARM_S:
                    armed_s = before_s
                    _arm()
                await asyncio.sleep(self._interval_s)
                late_s = self._clock.monotonic() - before_s - self._interval_s
                self._samples.append(max(0.0, late_s))
                self.blocked += late_s >= BLOCKED_S
        finally:
            if self._watchdog:
                faulthandler.cancel_dump_traceback_later()


def _arm() -> None:
    # By number: standard error as an object may be closed, or be something else in a test.
    with contextlib.suppress(OSError, RuntimeError):
        faulthandler.dump_traceback_later(BLOCKED_S + _REARM_S, file=2)
