"""Replay, then follow: every event of a session from a place on, without gap or duplicate.

Listening starts before the first read, so an event is in the pages read, among those heard, or in
both; its `seq` tells. What was heard and not yet taken is bounded: the oldest is let go, which
shows as a hole in `seq`, and the hole is read from the log again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import EventLog

HEARD: Final = 256
"""Events kept for a follower that is busy; behind that it reads the log."""


class _Ear:
    """The newest events heard of one session."""

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._heard: deque[Recorded] = deque(maxlen=HEARD)
        self._news = asyncio.Event()

    @property
    def newest(self) -> int:
        return self._heard[-1].seq if self._heard else 0

    def hear(self, committed: Sequence[Recorded]) -> None:
        self._heard.extend(item for item in committed if item.session == self._session)
        self._news.set()

    def forget(self) -> None:
        self._heard.clear()

    async def follow(self, after: int) -> AsyncGenerator[Recorded, None]:
        """The events after this one as they come; ends at a hole."""
        while True:
            while self._heard and self._heard[0].seq <= after:
                self._heard.popleft()
            if not self._heard:
                self._news.clear()
                await self._news.wait()
            elif self._heard[0].seq == after + 1:
                after += 1
                yield self._heard.popleft()
            else:
                return


async def replay_then_follow(
    log: EventLog, session: SessionId, *, after: int = 0
) -> AsyncGenerator[Recorded, None]:
    """Yield every event with `seq > after`, then each new one as it is committed, without end.

    Close the generator (`contextlib.aclosing`) to stop listening. Raises `Unavailable` when the log
    cannot be read. The end of a session is one of its events or its deletion; neither ends this.
    """
    ear = _Ear(session)
    stop = log.on_commit(ear.hear)
    try:
        while True:
            known = ear.newest
            while page := await log.read(session, after=after):
                for item in page:
                    after = item.seq
                    yield item
            if known > after:
                # Committed, and no longer there: the session was deleted.
                ear.forget()
            async with aclosing(ear.follow(after)) as live:
                async for item in live:
                    after = item.seq
                    yield item
    finally:
        stop()
