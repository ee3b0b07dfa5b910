"""The connection the log is written through, and what one commit does.

aiosqlite runs each call on the thread of its connection. A batch is one function there, from
`BEGIN` to `COMMIT`, so nothing comes between, and it costs one hop and one wake of the loop.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import aiosqlite

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.domain.ids import DAEMON_STREAM, SessionId
from brainpilot_rt.eventlog import ledger
from brainpilot_rt.eventlog.schema import last_pos, set_meta, transaction, trouble
from brainpilot_rt.eventlog.writer import Append, Numbering, Outcome

T = TypeVar("T")

CHECKPOINT_PAGES: Final = 3000
"""Pages in the write-ahead log after which it is moved into the main file."""
_PAGE_BYTES: Final = 4096
_PAGES_PER_COMMIT: Final = 4
"""The least a commit writes: a leaf of each tree. SQLite tells nobody how many there were; what
this guess misses, its own limit (`wal_autocheckpoint`) catches."""

_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
_CREATE_SESSION: Final = """
    INSERT INTO sessions VALUES (:session, :at_ms, coalesce(:title, ''), coalesce(:busy, 0))
    ON CONFLICT (session)
    DO UPDATE SET title = coalesce(:title, title), busy = coalesce(:busy, busy)
"""
_UPDATE_SESSION: Final = """
    UPDATE sessions SET title = coalesce(:title, title), busy = coalesce(:busy, busy)
    WHERE session = :session
"""

PAGES_PINNED: Final = 16_384
"""Pages (64 MB) that a checkpoint can not move before somebody is told (D5)."""

_log = logging.getLogger(__name__)


class LogConnection(aiosqlite.Connection):
    """aiosqlite's connection, able to run a whole function on its thread in one hop."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` to its end on the connection's thread, also when the caller is cancelled."""
        # aiosqlite offers no public call for this and leaves the one it has to itself untyped.
        done: T = await self._execute(work, self._conn)  # pyright: ignore[reportUnknownMemberType]
        return done

    async def abandon(self) -> None:
        """Close after a failed start, and wait for the thread, which a failed connect leaves."""
        await self.close()
        await asyncio.to_thread(self._thread.join)


class LogStore:
    """The connection and what is known of its content; what the writer commits to."""

    def __init__(
        self,
        connection: LogConnection,
        clock: Clock,
        epoch: str,
        pos: int,
        checkpoint_pages: int = CHECKPOINT_PAGES,
        leave: Callable[[int], None] | None = None,
    ) -> None:
        """`leave` is called with the last `pos` when the log is closed in order, on its thread."""
        self._connection = connection
        self._clock = clock
        self.epoch = epoch
        self.pos = pos
        self._leave = leave
        self.heads: dict[SessionId, int] = {}
        """Of sessions written since the start. Changed on the loop only, after a commit."""
        self._certain = True
        self._closed = False
        self._checkpoint_pages = checkpoint_pages
        self._pages = 0
        """About how many pages were written since the last checkpoint."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run on the connection; `Unavailable` when it fails or is closed."""
        if self._closed:
            raise Unavailable("the log is closed")
        try:
            return await self._connection.run(work)
        except (sqlite3.Error, OSError) as cause:
            raise trouble(cause) from cause

    async def fetch(self, sql: str, parameters: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
        return await self.run(lambda db: db.execute(sql, parameters).fetchall())

    async def commit(self, batch: Sequence[Append]) -> list[Outcome]:
        """Store the batch in one transaction."""
        work = partial(self._write, batch=batch, at_ms=self._clock.now_ms())
        try:
            numbering, outcomes = await self.run(work)
        except Unavailable:
            self._forget()
            raise
        self._certain = True
        self.pos = numbering.pos
        self.heads.update(numbering.heads)
        return outcomes

    async def remove(self, session: SessionId) -> None:
        """Remove a session's events and row; what it spent stays in the ledger."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection, before="log.remove.before", after="log.remove.after"):
                # A `pos` is never given twice, although the rows that held the highest may go.
                set_meta(connection, "pos_floor", str(last_pos(connection)))
                connection.execute("DELETE FROM events WHERE session = ?", (session,))
                connection.execute("DELETE FROM sessions WHERE session = ?", (session,))

        try:
            await self.run(work)
        except Unavailable:
            self._forget()
            raise
        self.heads.pop(session, None)

    async def close(self) -> None:
        """Mark the stop as clean, move everything into the main file, close."""
        if self._closed:
            return
        try:
            await self.run(self._mark_clean)
        except Unavailable as failure:
            _log.warning("the log was closed without its mark of a clean stop: %s", failure)
        finally:
            self._closed = True
            await self._connection.close()

    def _mark_clean(self, connection: sqlite3.Connection) -> None:
        try:
            failpoints.hit("stop.clean.before")
            set_meta(connection, "clean", "1")
        finally:
            self._say_where_it_ends(connection)
        failpoints.hit("stop.checkpoint.before")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        failpoints.hit("stop.checkpoint.after")

    def _say_where_it_ends(self, connection: sqlite3.Connection) -> None:
        """The same beside the log: one of the two marks is enough."""
        try:
            if self._leave is not None:
                self._leave(last_pos(connection))
        except OSError as trouble:
            _log.warning("where the log ends can not be kept beside it: %s", trouble)

    def _forget(self) -> None:
        # What the failed step left behind is asked of the database, not assumed.
        self._certain = False
        self.heads.clear()

    def _write(
        self, connection: sqlite3.Connection, *, batch: Sequence[Append], at_ms: int
    ) -> tuple[Numbering, list[Outcome]]:
        """On the connection's thread, while the loop changes nothing of this object."""
        with transaction(connection, before="log.commit.before", after="log.commit.after"):
            numbering = Numbering(
                pos=self.pos if self._certain else last_pos(connection),
                head=lambda session: self.heads.get(session) or head_of(connection, session),
                key_taken=partial(_key_taken, connection),
            )
            outcomes = [numbering.place(append, at_ms) for append in batch]
            rows: list[tuple[str, int, int, int, str, bytes]] = []
            for append, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, list):
                    rows += [
                        (item.session, item.seq, item.pos, item.at_ms, item.event.type, payload)
                        for item, payload in zip(outcome, append.payloads, strict=True)
                    ]
                    _write_rows_beside(connection, append, outcome, at_ms)
            failpoints.hit("log.commit.half")
            connection.executemany(_INSERT, rows)
        self._pages += _PAGES_PER_COMMIT + sum(len(row[-1]) for row in rows) // _PAGE_BYTES
        if self._pages >= self._checkpoint_pages:
            self._pages = 0
            _checkpoint(connection)
        return numbering, outcomes


def _write_rows_beside(
    connection: sqlite3.Connection, append: Append, placed: list[Recorded], at_ms: int
) -> None:
    """The session's row, the ledger and the receipt, in the transaction of the events."""
    for item in placed:
        ledger.project(connection, item)
    if append.session != DAEMON_STREAM:
        first = bool(placed) and placed[0].seq == 1
        if first or append.title is not None or append.busy is not None:
            row = {"session": append.session, "title": append.title, "busy": append.busy}
            connection.execute(
                _CREATE_SESSION if first else _UPDATE_SESSION, row | {"at_ms": at_ms}
            )
    if append.receipt is not None:
        kept = append.receipt
        answer = (kept.key, kept.fingerprint, kept.status, kept.body, kept.at_ms)
        connection.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?)", answer)


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Move what can be moved into the main file. The commit before it stands, whatever happens."""
    try:
        failpoints.hit("log.checkpoint.before")
        [[_, logged, moved]] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        failpoints.hit("log.checkpoint.after")
        if logged - moved > PAGES_PINNED:
            _log.warning(
                "another program reads the log and keeps %d MB of its write-ahead log from "
                "being reused; close it there",
                (logged - moved) * _PAGE_BYTES >> 20,
            )
    except (sqlite3.Error, OSError) as trouble:
        _log.warning("the write-ahead log grows, it can not be moved: %s", trouble)


def _key_taken(connection: sqlite3.Connection, key: str) -> bool:
    return connection.execute("SELECT 1 FROM receipts WHERE key = ?", (key,)).fetchone() is not None


def head_of(connection: sqlite3.Connection, session: SessionId) -> int:
    """`seq` of the newest stored event, 0 when there is none."""
    sql = "SELECT max(seq) FROM events WHERE session = ?"
    return connection.execute(sql, (session,)).fetchone()[0] or 0
