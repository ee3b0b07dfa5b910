"""One publisher, many followers, bounded memory, and no queue per follower.

A `Ring` keeps the newest items, each under an absolute position that never changes. A follower is a
cursor: it reads from the ring what lies between its position and the head, in one piece, so that a
burst or a slow reader makes reading cheaper instead of memory larger. Publishing is synchronous,
takes constant time whatever the number of followers, and wakes those that wait once.

The ring's bounds are also the bound on lag. A follower whose position has been dropped is *lagged*:
its next read raises `Lagged`, and its `on_lag` callback is called, because it may be parked
somewhere it will not leave by itself, such as a send to a client that does not read. Nothing is
ever skipped for it; what follows (read the missing part elsewhere, or hang up) is its owner's
decision.

Belongs to one event loop; not thread-safe. Waiters hold a future each, never the same one:
cancelling a task cancels the future it waits for, and a shared one would take the others with it.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Lagged(Exception):
    """The item at `position` is gone; the oldest one kept is at `base`."""

    def __init__(self, position: int, base: int) -> None:
        super().__init__(f"position {position} was dropped; the ring begins at {base}")
        self.position = position
        self.base = base


class Ring(Generic[T]):
    """The newest items, by absolute position; at most `count_max` of them and `bytes_max` bytes.

    The newest item is kept even when it alone is larger than `bytes_max`. The first item gets the
    position `start`.
    """

    def __init__(
        self, *, count_max: int, bytes_max: int, size_of: Callable[[T], int], start: int = 0
    ) -> None:
        if count_max < 1:
            msg = f"a ring holds at least one item, not {count_max}"
            raise ValueError(msg)
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._size_of = size_of
        self._kept: dict[int, tuple[T, int]] = {}
        self._bytes = 0
        self._base = self._head = start
        self._closed = False
        self._bell: asyncio.Event | None = None
        self._followers: set[Subscription[T]] = set()
        # No follower stands before this position; it may stand still while they move on.
        self._slowest = start

    @property
    def base(self) -> int:
        """Position of the oldest item kept; equals `head` when nothing is."""
        return self._base

    @property
    def head(self) -> int:
        """Position the next item will get."""
        return self._head

    @property
    def bytes(self) -> int:
        """Size of everything kept, as `size_of` counts it."""
        return self._bytes

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def followers(self) -> int:
        """How many subscriptions are open."""
        return len(self._followers)

    def publish(self, item: T) -> int:
        """Append an item and return its position. RuntimeError once closed."""
        if self._closed:
            msg = "the ring is closed"
            raise RuntimeError(msg)
        position, size = self._head, self._size_of(item)
        self._kept[position] = (item, size)
        self._head += 1
        self._bytes += size
        while len(self._kept) > self._count_max or (
            self._bytes > self._bytes_max and len(self._kept) > 1
        ):
            _, dropped = self._kept.pop(self._base)
            self._bytes -= dropped
            self._base += 1
        if self._base > self._slowest:
            self._tell_the_lagged()
        self._ring_bell()
        return position

    def read(self, position: int, count_max: int | None = None) -> list[T]:
        """The items from `position` on, without waiting. Lagged when that one was dropped."""
        if position < self._base:
            raise Lagged(position, self._base)
        end = self._head if count_max is None else min(self._head, position + count_max)
        return [self._kept[at][0] for at in range(position, end)]

    async def wait(self, position: int) -> bool:
        """Return True as soon as `read(position)` gives something or raises, False at the end."""
        while self._head <= position and not self._closed:
            await self.wait_for_change()
        return self._head > position

    def subscribe(
        self, position: int | None = None, *, on_lag: Callable[[], object] | None = None
    ) -> "Subscription[T]":
        """Follow from `position` on, or from the head. Lagged when that item was dropped.

        Synchronous, so that between looking at `base` and holding a cursor nothing can be missed.
        `on_lag` is called from the loop, soon after the follower fell behind, at most once.
        """
        at = self._head if position is None else position
        if at < self._base:
            raise Lagged(at, self._base)
        follower = Subscription(self, at, on_lag)
        self._followers.add(follower)
        self._slowest = min(self._slowest, at)
        return follower

    def close(self) -> None:
        """End every follower once it has read what is there; nothing more is published."""
        self._closed = True
        self._ring_bell()

    def leave(self, follower: "Subscription[T]") -> None:
        """Forget a follower and wake it if it waits; `Subscription.close` calls this."""
        if follower in self._followers:
            self._followers.discard(follower)
            self._ring_bell()

    async def wait_for_change(self) -> None:
        """Return at the next publication, at the end, or when any follower leaves."""
        if self._bell is None:
            self._bell = asyncio.Event()
        await self._bell.wait()

    def _ring_bell(self) -> None:
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    def _tell_the_lagged(self) -> None:
        lagged = [one for one in self._followers if one.position < self._base]
        self._followers.difference_update(lagged)
        self._slowest = min((one.position for one in self._followers), default=self._head)
        for one in lagged:
            if one.on_lag is not None:
                # Not called from here: it may close, subscribe or publish, and its failure is
                # the loop's to report, not the publisher's.
                asyncio.get_running_loop().call_soon(one.on_lag)


class Subscription(Generic[T]):
    """A follower of a ring: `async for batch in subscription`, or `ready` and `take`."""

    def __init__(
        self, ring: Ring[T], position: int, on_lag: Callable[[], object] | None = None
    ) -> None:
        self._ring = ring
        self._closed = False
        self.position = position
        """Position of the next item to be taken."""
        self.on_lag = on_lag

    def take(self, count_max: int | None = None) -> list[T]:
        """What there is now, without waiting; nothing once closed. Lagged when it was dropped."""
        if self._closed:
            return []
        items = self._ring.read(self.position, count_max)
        self.position += len(items)
        return items

    async def ready(self) -> bool:
        """Return True as soon as `take` has something to give or to raise, False at the end.

        The end is `close` of this subscription, or of the ring once everything has been taken.
        """
        ring = self._ring
        while not self._closed and ring.head <= self.position and not ring.closed:
            await ring.wait_for_change()
        return not self._closed and ring.head > self.position

    def close(self) -> None:
        """Stop following; also ends a `ready` that another task waits in. Twice is harmless."""
        self._closed = True
        self._ring.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        if not await self.ready():
            raise StopAsyncIteration
        return self.take()
