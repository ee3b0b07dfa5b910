"""How late the event loop is.

A named task sleeps for a fixed interval and looks by how much it overslept. That is what any other
timer, request or frame waits as well when something blocks the loop. Nothing runs, and no timer
exists, until `start`.
"""

import asyncio
from collections import deque

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.aiokit.tasks import TaskSet


class LoopLag:
    """Samples the lag of the running loop, in seconds."""

    def __init__(self, clock: Clock, *, interval_s: float, window: int) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._samples: deque[float] = deque(maxlen=window)

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
        while True:
            before_s = self._clock.monotonic()
            await asyncio.sleep(self._interval_s)
            late_s = self._clock.monotonic() - before_s - self._interval_s
            self._samples.append(max(0.0, late_s))
