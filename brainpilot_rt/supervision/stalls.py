"""Silence of a model as advice: seen, said, and never an end (D6)."""

import asyncio
from collections.abc import Callable


class StallWatch:
    """Calls `on_stall(silent seconds)` while `heard` is not called. One timer, no task.

    The pauses between notices double, so that hours of silence are a handful of events.
    """

    def __init__(self, notice_s: float, on_stall: Callable[[int], None]) -> None:
        self._notice_s = notice_s
        self._on_stall = on_stall
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._next_s = notice_s
        self._timer = self._loop.call_later(notice_s, self._look)

    def heard(self) -> None:
        """Something arrived."""
        self._heard_at = self._loop.time()
        self._next_s = self._notice_s

    def stop(self) -> None:
        """No more notices."""
        self._timer.cancel()

    def _look(self) -> None:
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= self._next_s:
            self._next_s = silent_s * 2
            self._on_stall(int(silent_s))
        self._timer = self._loop.call_later(max(self._next_s - silent_s, 0.01), self._look)
