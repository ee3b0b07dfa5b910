"""Time and identifiers that a test decides: a `Clock` and a `NewId` of `aiokit.sources`."""

from datetime import UTC, datetime, timedelta
from typing import Final

from brainpilot_rt.aiokit.sources import encode_ulid

START: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""When a `ManualClock` begins unless told otherwise."""


class ManualClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return self._now

    def now_ms(self) -> int:
        """Wall-clock time in whole milliseconds since the Unix epoch."""
        return int(self._now.timestamp() * 1000)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def step_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or a person would; no time passes."""
        self._now += timedelta(seconds=seconds)


class SequentialIds:
    """Identifiers of the legal form that count up from one, so that a test can name them."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self) -> str:
        """Give the next identifier."""
        self._count += 1
        return self.nth(self._count)

    @staticmethod
    def nth(number: int) -> str:
        """Give the identifier that call `number` gives, counting from one."""
        return encode_ulid(number)
