"""A log in memory, with the same order of events as the real one: for tests and virtual time.

A commit happens on the next turn of the event loop, so that appends made together share it, and
whoever awaits really waits. `fail_next` makes the coming commit fail, as a full disk would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import EVENTS, Event, Recorded
from brainpilot_rt.domain.ids import DAEMON_STREAM, SessionId
from brainpilot_rt.eventlog.port import RawRow, Receipt, SessionRow


@dataclass(slots=True)
class _Waiting:
    session: SessionId
    events: tuple[Event, ...]
    title: str | None
    busy: bool | None
    receipt: Receipt | None
    done: asyncio.Future[list[Recorded]]


class MemoryEventLog:
    """All rows in lists. Forgets everything when it is gone."""

    def __init__(self, clock: Clock, epoch: str = "memory") -> None:
        self._clock = clock
        self._epoch = epoch
        self._rows: list[Recorded] = []
        self._by_session: dict[SessionId, list[Recorded]] = {}
        self._facts: dict[SessionId, tuple[str, bool]] = {}
        self._receipts: dict[str, Receipt] = {}
        self._waiting: list[_Waiting] = []
        self._on_commit: list[Callable[[Sequence[Recorded]], None]] = []
        self._on_failure: list[Callable[[Unavailable], None]] = []
        self.fail_next: Unavailable | None = None

    @property
    def epoch(self) -> str:
        """Lineage of this log."""
        return self._epoch

    @property
    def head_pos(self) -> int:
        """`pos` of the newest commit."""
        return self._rows[-1].pos if self._rows else 0

    def append(
        self,
        session: SessionId,
        events: Sequence[Event],
        *,
        title: str | None = None,
        busy: bool | None = None,
        receipt: Receipt | None = None,
    ) -> Awaitable[list[Recorded]]:
        """Queue a commit; it happens on the next turn of the loop."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Recorded]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append(_Waiting(session, tuple(events), title, busy, receipt, done))
        return done

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self.fail_next is not None:
            fault, self.fail_next = self.fail_next, None
            for listener in self._on_failure:
                listener(fault)
            for one in waiting:
                if not one.done.done():
                    one.done.set_exception(fault)
            return
        committed = [self._store(one) for one in waiting]
        for listener in self._on_commit:
            listener([recorded for batch in committed for recorded in batch])
        for one, batch in zip(waiting, committed, strict=True):
            if not one.done.done():
                one.done.set_result(batch)

    def _store(self, one: _Waiting) -> list[Recorded]:
        rows = self._by_session.setdefault(one.session, [])
        now_ms = self._clock.now_ms()
        batch: list[Recorded] = []
        for event in one.events:
            recorded = Recorded(one.session, len(rows) + 1, self.head_pos + 1, now_ms, event)
            rows.append(recorded)
            self._rows.append(recorded)
            batch.append(recorded)
        title, busy = self._facts.get(one.session, ("", False))
        self._facts[one.session] = (
            title if one.title is None else one.title,
            busy if one.busy is None else one.busy,
        )
        if one.receipt is not None:
            self._receipts.setdefault(one.receipt.key, one.receipt)
        return batch

    def on_commit(self, listener: Callable[[Sequence[Recorded]], None]) -> None:
        """Call after each commit."""
        self._on_commit.append(listener)

    def on_failure(self, listener: Callable[[Unavailable], None]) -> None:
        """Call after each failed commit."""
        self._on_failure.append(listener)

    async def read(
        self, session: SessionId, *, after: int = 0, upto: int | None = None, limit: int = 500
    ) -> list[Recorded]:
        """Events with `after < seq <= upto`."""
        rows = self._by_session.get(session, [])
        return rows[after : len(rows) if upto is None else upto][:limit]

    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = 500,
        types: frozenset[str] | None = None,
    ) -> list[Recorded]:
        """The newest events before `before`."""
        rows = self._by_session.get(session, [])
        rows = rows if before is None else rows[: max(before - 1, 0)]
        if types is not None:
            rows = [one for one in rows if one.event.type in types]
        return rows[-limit:] if limit else []

    async def read_raw(
        self, session: SessionId, *, after: int = 0, limit: int = 500
    ) -> list[RawRow]:
        """Rows as JSON."""
        return [
            RawRow(one.seq, one.pos, one.at_ms, EVENTS.dump_json(one.event))
            for one in await self.read(session, after=after, limit=limit)
        ]

    async def read_all(self, *, after_pos: int = 0, limit: int = 500) -> list[Recorded]:
        """Events of all sessions by `pos`."""
        return [one for one in self._rows if one.pos > after_pos][:limit]

    async def head(self, session: SessionId) -> int:
        """The newest `seq`."""
        return len(self._by_session.get(session, []))

    async def sessions(self) -> list[SessionRow]:
        """All sessions."""
        rows = [await self.session(one) for one in self._by_session if one != DAEMON_STREAM]
        return [one for one in rows if one is not None]

    async def session(self, session: SessionId) -> SessionRow | None:
        """One session."""
        rows = self._by_session.get(session)
        if not rows:
            return None
        title, busy = self._facts[session]
        return SessionRow(session, rows[0].at_ms, rows[-1].at_ms, title, len(rows), busy)

    async def receipt(self, key: str) -> Receipt | None:
        """A stored answer."""
        return self._receipts.get(key)

    async def prune_receipts(self, before_ms: int) -> int:
        """Forget old answers."""
        old = [key for key, one in self._receipts.items() if one.at_ms < before_ms]
        for key in old:
            del self._receipts[key]
        return len(old)

    async def delete_session(self, session: SessionId) -> None:
        """Forget a session."""
        await self.append(session, [])
        self._by_session.pop(session, None)
        self._facts.pop(session, None)
        self._rows = [one for one in self._rows if one.session != session]

    async def close(self) -> None:
        """Nothing to close."""
