"""Where time and identity come from.

Nothing in the runtime asks the operating system for the time or for an identifier: it is handed a
`Clock` and a `NewId` when it is built. That makes every decision replayable, lets tests run on
virtual time, and keeps wall-clock jumps out of anything that measures a duration.

Wall-clock time (`now`, `now_ms`) is for showing and recording; it may jump. Durations come from
`monotonic`. Order never comes from time: it comes from the log.

Identifiers are ULIDs (ulid/spec: 48 bits of Unix milliseconds, 80 random bits, Crockford base 32),
written in lower case so that a file name is the same on a case-insensitive file system. Within one
process they are strictly increasing, also when the wall clock steps back.
"""

import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias

NewId: TypeAlias = Callable[[], str]
"""Gives a fresh identifier: 26 characters matching `ULID_PATTERN`."""

ULID_PATTERN: Final = r"^[0-9a-hjkmnp-tv-z]{26}$"

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH: Final = 26
_RANDOM_BITS: Final = 80
_MILLISECONDS_MAX: Final = (1 << 48) - 1


class Clock(Protocol):
    """What the time is."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def now_ms(self) -> int:
        """Wall-clock time in whole milliseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return datetime.now(UTC)

    def now_ms(self) -> int:
        """Wall-clock time in whole milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        return time.monotonic()


def encode_ulid(value: int) -> str:
    """Write a 128-bit number as 26 lower-case Crockford digits; ValueError outside the range."""
    if not 0 <= value < 1 << 128:
        msg = f"not a 128-bit number: {value}"
        raise ValueError(msg)
    digits = [""] * _LENGTH
    for place in range(_LENGTH - 1, -1, -1):
        digits[place] = _ALPHABET[value & 31]
        value >>= 5
    return "".join(digits)


class UlidSource:
    """A `NewId` over a clock: strictly increasing within the process, safe to call from threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = -1
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Give the next identifier."""
        stamp = min(max(self._clock.now_ms(), 0), _MILLISECONDS_MAX)
        fresh = stamp << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        with self._lock:
            # In the same millisecond, or after a step back, the next number after the last one
            # keeps the order; running out of random bits carries into the milliseconds.
            if fresh >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                fresh = self._last + 1
            self._last = fresh
        return encode_ulid(fresh)
