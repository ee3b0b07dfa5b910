"""A log in memory: the same contract without a disk, for tests on virtual time.

Appends go through the same writer as those of SQLite, so they are committed on the next turn of the
loop, in batches, and fail together. Nothing survives the object.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import EVENTS, Event, Recorded
from brainpilot_rt.domain.ids import DAEMON_STREAM, SessionId
from brainpilot_rt.eventlog.ledger import Ledger, MemoryLedger
from brainpilot_rt.eventlog.port import PAGE, RawRow, Receipt, SessionRow
from brainpilot_rt.eventlog.writer import Append, Delete, Numbering, Outcome, Writer


class _Store:
    """What the writer commits to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.pos = 0
        self.streams: dict[SessionId, list[Recorded]] = {}
        self.rows: dict[SessionId, SessionRow] = {}
        self.receipts: dict[str, Receipt] = {}
        self.ledger = MemoryLedger()
        self.failure: str | None = None

    async def commit(self, batch: Sequence[Append]) -> list[Outcome]:
        """Store the batch at once."""
        if self.failure is not None:
            raise Unavailable(self.failure)
        at_ms = self._clock.now_ms()
        numbering = Numbering(
            pos=self.pos,
            head=lambda session: len(self.streams.get(session, ())),
            key_taken=self.receipts.__contains__,
        )
        outcomes = [numbering.place(append, at_ms) for append in batch]
        for append, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, list):
                self._keep(append, outcome, at_ms)
        self.pos = numbering.pos
        return outcomes

    async def remove(self, session: SessionId) -> None:
        """Forget a session."""
        if self.failure is not None:
            raise Unavailable(self.failure)
        self.streams.pop(session, None)
        self.rows.pop(session, None)

    def _keep(self, append: Append, placed: list[Recorded], at_ms: int) -> None:
        if append.receipt is not None:
            self.receipts[append.receipt.key] = append.receipt
        for item in placed:
            self.ledger.project(item)
        if placed:
            self.streams.setdefault(append.session, []).extend(placed)
        row = self.rows.get(append.session)
        if append.session == DAEMON_STREAM or (row is None and not placed):
            return
        row = row or SessionRow(append.session, at_ms, at_ms, "", 0, busy=False)
        self.rows[append.session] = replace(
            row,
            updated_ms=at_ms if placed else row.updated_ms,
            title=row.title if append.title is None else append.title,
            head_seq=row.head_seq + len(placed),
            busy=row.busy if append.busy is None else append.busy,
        )


class MemoryEventLog:
    """An `EventLog` that forgets everything."""

    def __init__(self, *, clock: Clock, epoch: str = "memory") -> None:
        self._epoch = epoch
        self._closed = False
        self._store = _Store(clock)
        self._writer = Writer(self._store)
        self.ledger: Ledger = self._store.ledger

    def fail_commits(self, reason: str | None) -> None:
        """From now on every commit fails with `Unavailable(reason)`; None ends that."""
        self._store.failure = reason

    @property
    def epoch(self) -> str:
        """The lineage of this log."""
        return self._epoch

    @property
    def head_pos(self) -> int:
        """`pos` of the newest commit."""
        return self._store.pos

    def append(
        self,
        session: SessionId,
        events: Sequence[Event],
        *,
        title: str | None = None,
        busy: bool | None = None,
        receipt: Receipt | None = None,
        at_ms: int | None = None,
    ) -> Awaitable[list[Recorded]]:
        """Queue the events at once; the awaitable gives their places after the commit."""
        return self._writer.put(Append(session, events, title, busy, receipt, at_ms))

    def on_commit(self, listener: Callable[[Sequence[Recorded]], None]) -> Callable[[], None]:
        """Call `listener` after each commit, before its waiters wake."""
        return self._writer.on_commit(listener)

    def on_failure(self, listener: Callable[[Unavailable], None]) -> None:
        """Call `listener` when a commit failed, before its waiters are told."""
        self._writer.on_failure(listener)

    async def read(
        self, session: SessionId, *, after: int = 0, upto: int | None = None, limit: int = PAGE
    ) -> list[Recorded]:
        """The first `limit` events with `after < seq <= upto`, ascending."""
        start = max(0, after)
        return self._stream(session)[start:upto][:limit]

    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = PAGE,
        types: frozenset[str] | None = None,
    ) -> list[Recorded]:
        """The newest `limit` events (of these types) with `seq < before`, ascending."""
        stream = self._stream(session)
        older = stream if before is None else stream[: max(0, before - 1)]
        kept = [item for item in older if types is None or item.event.type in types]
        return kept[max(0, len(kept) - limit) :]

    async def read_raw(
        self, session: SessionId, *, after: int = 0, limit: int = PAGE
    ) -> list[RawRow]:
        """As `read`, as stored."""
        return [
            RawRow(item.seq, item.pos, item.at_ms, EVENTS.dump_json(item.event))
            for item in await self.read(session, after=after, limit=limit)
        ]

    async def read_all(self, *, after_pos: int = 0, limit: int = PAGE) -> list[Recorded]:
        """Events of all sessions in commit order."""
        self._refuse_when_closed()
        later = [i for stream in self._store.streams.values() for i in stream if i.pos > after_pos]
        return sorted(later, key=lambda item: item.pos)[:limit]

    async def head(self, session: SessionId) -> int:
        """`seq` of the session's newest event, 0 when it has none."""
        return len(self._stream(session))

    async def sessions(self) -> list[SessionRow]:
        """Every session, newest first."""
        self._refuse_when_closed()
        return sorted(self._store.rows.values(), key=lambda r: (-r.created_ms, r.session))

    async def session(self, session: SessionId) -> SessionRow | None:
        """One session's row."""
        self._refuse_when_closed()
        return self._store.rows.get(session)

    async def receipt(self, key: str) -> Receipt | None:
        """The answer stored under an Idempotency-Key."""
        self._refuse_when_closed()
        return self._store.receipts.get(key)

    async def prune_receipts(self, before_ms: int) -> int:
        """Forget receipts older than this; returns how many."""
        self._refuse_when_closed()
        old = [key for key, receipt in self._store.receipts.items() if receipt.at_ms < before_ms]
        for key in old:
            del self._store.receipts[key]
        return len(old)

    async def delete_session(self, session: SessionId) -> None:
        """Remove the session's events and row, after every append already queued."""
        await self._writer.put(Delete(session))

    async def close(self) -> None:
        """Commit what is queued and close."""
        await self._writer.close()
        self._closed = True

    def _stream(self, session: SessionId) -> list[Recorded]:
        self._refuse_when_closed()
        return self._store.streams.get(session, [])

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable("the log is closed")
