"""Rings: the live frames of a session, encoded once and shared by everyone who follows it.

A ring is bounded in frames and bytes, and its bound is the bound on lag: a subscriber that falls
behind it is stopped, also while it is parked in a send (`aiokit.broadcast`). Nothing is skipped and
nothing is buffered for it; it comes back with its cursor and is served from the log. What several
subscribers miss is joined once, into one send.

A ring exists only while someone follows its session or a text is open in it, so a session at rest
costs nothing.
"""

from collections.abc import Callable
from typing import Final

from brainpilot_rt.aiokit.broadcast import Ring, Subscription
from brainpilot_rt.server.tracks import Frame

_FRAMES_MAX: Final = 50_000
_JOINED_FRAMES_MAX: Final = 512
_JOINED_BYTES_MAX: Final = 64 * 1024
"""One send: large enough to coalesce a burst, small enough that a stalled reader holds little."""


class Subscriber:
    """One open stream."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.ring: FrameRing | None = None
        """The ring it keeps alive."""
        self.place: Subscription[Frame] | None = None
        """Its position in that ring. While it is served from the log: the end of the ring when it
        was last sent something, so that a send that never ends is noticed then too."""
        self.reason = ""
        """Why it was stopped: `lag`, `closed`, `deleted`, `gone`; empty while it is not."""
        self.parked = False
        """Whether a send is under way, which may never end."""
        self._stop = stop

    def fell_behind(self) -> None:
        """The ring dropped what comes next at its place. While it is not parked it finds out."""
        if self.parked:
            self.stop("lag")
        else:
            self.place = None

    def stop(self, reason: str) -> None:
        """End the stream wherever it is; the first reason stays."""
        if not self.reason:
            self.reason = reason
            self._stop()


class FrameRing:
    """The newest frames of one stream; always at least one, however large."""

    def __init__(self, bytes_max: int, key: str) -> None:
        self.subscribers: set[Subscriber] = set()
        self.quiet = False
        """Nothing was pushed since this was last set."""
        self._first_key = key
        self._frames = Ring[Frame](
            count_max=_FRAMES_MAX, bytes_max=bytes_max, size_of=lambda frame: len(frame.data)
        )
        self._joined: dict[int, tuple[bytes, int]] = {}

    @property
    def end(self) -> int:
        """The position after the newest frame."""
        return self._frames.head

    def push(self, frame: Frame) -> None:
        """Add a frame, wake who waits, drop what is over the bound, stop who is too far behind."""
        self._joined.clear()
        self.quiet = False
        self._frames.publish(frame)

    def find(self, key: str) -> int | None:
        """The position right after the frame with this cursor, if the ring still knows it."""
        base = self._frames.base
        kept = self._frames.read(base)
        for index in range(len(kept) - 1, -1, -1):
            if kept[index].key == key:
                return base + index + 1
        return 0 if base == 0 and key == self._first_key else None

    def follow(self, subscriber: Subscriber, position: int) -> Subscription[Frame]:
        """Give the subscriber a place; from here on its lag counts."""
        place = self._frames.subscribe(position, on_lag=subscriber.fell_behind)
        subscriber.place = place
        return place

    def stand_at_the_end(self, subscriber: Subscriber) -> Subscription[Frame]:
        """Count the lag of a subscriber that is served from the log from here on."""
        if subscriber.place is None:
            return self.follow(subscriber, self.end)
        subscriber.place.position = self.end
        return subscriber.place

    def take(self, place: Subscription[Frame]) -> bytes:
        """What comes next at a place, which moves past it; empty when there is nothing."""
        if place.position >= self.end:
            return b""
        joined = self._joined.get(place.position)
        if joined is None:
            joined = self._joined[place.position] = self._join(place.position)
        place.position = joined[1]
        return joined[0]

    def _join(self, position: int) -> tuple[bytes, int]:
        parts: list[bytes] = []
        size = 0
        for frame in self._frames.read(position, _JOINED_FRAMES_MAX):
            parts.append(frame.data)
            size += len(frame.data)
            if size >= _JOINED_BYTES_MAX:
                break
        return b"".join(parts), position + len(parts)
