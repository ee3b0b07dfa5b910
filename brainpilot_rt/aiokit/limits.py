"""How many may do something at once: a semaphore with a name and visible counts.

Slots are given in the order in which they were asked for: a released slot goes to the first in the
queue, and nobody who comes later can take it in between. A waiter that is cancelled leaves the
queue, or passes its slot on when it had just been given one.
"""

import asyncio
from collections import deque
from typing import Self


class Limit:
    """At most `slots` holders; use it in an `async with`. Belongs to one event loop."""

    def __init__(self, name: str, slots: int) -> None:
        if slots < 1:
            msg = f"limit {name} needs at least one slot, not {slots}"
            raise ValueError(msg)
        self.name = name
        self.slots = slots
        self._in_use = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def in_use(self) -> int:
        """Slots held."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Callers that wait for a slot."""
        return sum(not turn.done() for turn in self._queue)

    async def acquire(self) -> None:
        """Take a slot, waiting for one in turn. Cancelled means not taken."""
        if self._in_use < self.slots:
            self._in_use += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                # `release` may have dropped it from the queue already.
                if turn in self._queue:
                    self._queue.remove(turn)
            else:
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, to the first that waits. RuntimeError when none is held."""
        if self._in_use == 0:
            msg = f"limit {self.name}: nothing to release"
            raise RuntimeError(msg)
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                # The slot changes hands without becoming free.
                turn.set_result(None)
                return
        self._in_use -= 1

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
