"""The durable log: SQLite through aiosqlite, one connection, one writer (D2).

Every piece of work, a commit or a page of a read, is one function run on the connection's thread:
one hop there and one wake of the loop. Work therefore never overlaps on the connection, and what is
between `BEGIN` and `COMMIT` belongs to one batch.

The files are opened by SQLite only. Opening and closing one of them anywhere else in this process
would drop SQLite's locks (POSIX locks belong to the process), and rows would vanish.

After a failed commit the transaction is rolled back and everything queued is refused; the next
append simply tries again, so the log recovers by itself when the disk has room again.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import ValidationError

from brainpilot_rt.aiokit.sources import Clock, UlidSource
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import EVENTS, Event, Recorded
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog import lineage
from brainpilot_rt.eventlog.ledger import Ledger, SqlLedger
from brainpilot_rt.eventlog.place import doubt
from brainpilot_rt.eventlog.port import PAGE, RawRow, Receipt, SessionRow
from brainpilot_rt.eventlog.schema import last_pos, prepare, trouble
from brainpilot_rt.eventlog.store import CHECKPOINT_PAGES, LogConnection, LogStore, head_of
from brainpilot_rt.eventlog.writer import Append, Delete, Writer

_log = logging.getLogger(__name__)

_Row: TypeAlias = tuple[SessionId, int, int, int, bytes]

PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page ends early here, so that large events do not make one read hold the connection."""
SCAN: Final = 5000
"""Events looked through in one hop when only some types are wanted."""
PARSE_BYTES: Final = 128 * 1024
"""Bytes parsed before the loop gets a turn."""
_EPOCH_LENGTH: Final = 12
_NO_END: Final = (1 << 63) - 1

_SELECT = "SELECT session, seq, pos, at_ms, payload FROM events "
_FORWARD = _SELECT + "WHERE session = ? AND seq <= ? AND seq > ? ORDER BY seq LIMIT ?"
_NEWEST = "SELECT max(seq) FROM events WHERE session = ? AND seq <= ?"
_ALL = _SELECT + "WHERE pos > ? ORDER BY pos LIMIT ?"
_BACK = _SELECT + "WHERE session = ? AND seq >= ? AND seq < ? {types} ORDER BY seq DESC LIMIT ?"
_SESSIONS = """
    SELECT s.session, s.created_ms, coalesce(e.at_ms, s.created_ms),
        s.title, coalesce(e.seq, 0), s.busy
    FROM sessions s LEFT JOIN events e
    ON e.session = s.session AND e.seq = (SELECT max(seq) FROM events WHERE session = s.session)
"""


class SqliteEventLog:
    """The `EventLog` in a file. Make it with `open`, end it with `close`."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._writer = Writer(store)
        self.ledger: Ledger = SqlLedger(store.fetch)

    @classmethod
    async def open(
        cls, path: Path, *, clock: Clock, checkpoint_pages: int = CHECKPOINT_PAGES
    ) -> "SqliteEventLog":
        """Open or create the log; its folder must exist, be private, and be locked by the caller.

        Raises `Unavailable` when the file is damaged, newer than this version, or not ours.
        """
        connection = LogConnection(lambda: sqlite3.connect(path, isolation_level=None), PAGE)
        new_epoch = UlidSource(clock)()[-_EPOCH_LENGTH:]

        def work(inner: sqlite3.Connection) -> tuple[str, int]:
            unsafe = doubt(path.parent)
            if unsafe is not None:
                _log.warning("the log %s is at risk: %s", path, unsafe)
            # Before anything is written, so that the files SQLite makes beside it inherit the mode.
            path.chmod(0o600)
            prepare(inner, new_epoch=new_epoch, whole=lineage.left_whole(inner, path))
            pos = last_pos(inner)
            return lineage.settle(inner, path, pos=pos, new=new_epoch), pos

        try:
            await connection
            epoch, pos = await connection.run(work)
        except BaseException as failure:
            await finish_shielded(connection.abandon())
            if isinstance(failure, (sqlite3.Error, OSError)):
                raise trouble(failure) from failure
            raise
        leave = partial(lineage.leave, path, new_epoch)
        return cls(LogStore(connection, clock, epoch, pos, checkpoint_pages, leave))

    @property
    def epoch(self) -> str:
        """The lineage of this database, made when the database was, or was restored."""
        return self._store.epoch

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
        key = (session, _NO_END if upto is None else upto)
        return await _parsed(await self._forward(_FORWARD, key, after, limit, whole=True))

    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = PAGE,
        types: frozenset[str] | None = None,
    ) -> list[Recorded]:
        """The newest `limit` events (of these types) with `seq < before`, ascending."""
        wanted = tuple(sorted(types or ()))
        marks = ", ".join("?" * len(wanted))
        sql = _BACK.format(types="" if types is None else f"AND type IN ({marks})")
        window = PAGE if types is None else SCAN
        top = await self.head(session) + 1
        top = top if before is None else min(top, before)
        rows: list[_Row] = []
        while top > 1 and len(rows) < limit:
            bottom = max(1, top - window)
            asked = min(PAGE, limit - len(rows))
            parameters = (session, bottom, top, *wanted, asked)
            page, more = await self._store.run(partial(_page, sql=sql, parameters=parameters))
            rows += page
            top = page[-1][1] if more else bottom
        rows.reverse()
        return await _parsed(rows)

    async def read_raw(
        self, session: SessionId, *, after: int = 0, limit: int = PAGE
    ) -> list[RawRow]:
        """As `read`, as stored."""
        rows = await self._forward(_FORWARD, (session, _NO_END), after, limit)
        return [RawRow(*row[1:]) for row in rows]

    async def read_all(self, *, after_pos: int = 0, limit: int = PAGE) -> list[Recorded]:
        """Events of all sessions in commit order."""
        return await _parsed(await self._forward(_ALL, (), after_pos, limit))

    async def head(self, session: SessionId) -> int:
        """`seq` of the session's newest event, 0 when it has none."""
        return self._store.heads.get(session) or await self._store.run(
            partial(head_of, session=session)
        )

    async def sessions(self) -> list[SessionRow]:
        """Every session, newest first."""
        sql = _SESSIONS + "ORDER BY s.created_ms DESC, s.session"
        return [_session_row(row) for row in await self._store.fetch(sql, ())]

    async def session(self, session: SessionId) -> SessionRow | None:
        """One session's row."""
        found = await self._store.fetch(_SESSIONS + "WHERE s.session = ?", (session,))
        return _session_row(found[0]) if found else None

    async def receipt(self, key: str) -> Receipt | None:
        """The answer stored under an Idempotency-Key."""
        found = await self._store.fetch("SELECT * FROM receipts WHERE key = ?", (key,))
        return Receipt(*found[0]) if found else None

    async def prune_receipts(self, before_ms: int) -> int:
        """Forget receipts older than this; returns how many."""

        def work(connection: sqlite3.Connection) -> int:
            sql = "DELETE FROM receipts WHERE at_ms < ?"
            return connection.execute(sql, (before_ms,)).rowcount

        return await self._store.run(work)

    async def delete_session(self, session: SessionId) -> None:
        """Remove the session's events and row, after every append already queued."""
        await self._writer.put(Delete(session))

    async def close(self) -> None:
        """Commit what is queued, checkpoint and close."""
        await self._writer.close()
        await finish_shielded(self._store.close())

    async def _forward(
        self,
        sql: str,
        key: tuple[str | int, ...],
        after: int,
        limit: int,
        *,
        whole: bool = False,
    ) -> list[_Row]:
        rows: list[_Row] = []
        read = _whole_page if whole else _page
        while len(rows) < limit:
            parameters = (*key, after, min(PAGE, limit - len(rows)))
            page, more = await self._store.run(partial(read, sql=sql, parameters=parameters))
            rows += page
            if not more:
                break
            after = page[-1][2] if sql is _ALL else page[-1][1]
        return rows


def _page(
    connection: sqlite3.Connection, *, sql: str, parameters: tuple[str | int, ...]
) -> tuple[list[_Row], bool]:
    """Rows up to the limit (the last parameter) or `PAGE_BYTES`, and whether more may follow."""
    rows: list[_Row] = []
    size = 0
    for row in connection.execute(sql, parameters):
        payload: object = row[4]
        if not isinstance(payload, bytes | str):  # damage that SQLite does not see
            message = f"event {row[1]} of session {row[0]} is damaged"
            raise Unavailable(message, code="log_corrupt")
        rows.append(row)
        size += len(payload)
        if size > PAGE_BYTES:
            return rows, True
    return rows, len(rows) == parameters[-1]


def _whole_page(
    connection: sqlite3.Connection, *, sql: str, parameters: tuple[Any, ...]
) -> tuple[list[_Row], bool]:
    """A page of one session; `Unavailable` when there is more than is found.

    Damage that SQLite does not see makes it pass over rows. Going on without them would rewrite
    what happened.
    """
    rows, more = _page(connection, sql=sql, parameters=parameters)
    session, upto, after, _ = parameters
    first = max(0, after) + 1
    last = rows[-1][1] if rows else first - 1
    newest = connection.execute(_NEWEST, (session, upto)).fetchone()[0] or 0
    if last - first + 1 != len(rows) or (not more and last < newest):
        raise Unavailable(
            f"events of session {session} after {after} are missing", code="log_corrupt"
        )
    return rows, more


async def _parsed(rows: Sequence[_Row]) -> list[Recorded]:
    found: list[Recorded] = []
    size = 0
    for session, seq, pos, at_ms, payload in rows:
        size += len(payload)
        if size > PARSE_BYTES:
            size = 0
            await asyncio.sleep(0)
        try:
            event = EVENTS.validate_json(payload)
        except ValidationError as cause:
            message = f"event {seq} of session {session} cannot be read: {cause}"
            raise Unavailable(message, code="log_corrupt") from cause
        found.append(Recorded(session, seq, pos, at_ms, event))
    return found


def _session_row(row: tuple[Any, ...]) -> SessionRow:
    session, created_ms, updated_ms, title, head_seq, busy = row
    return SessionRow(session, created_ms, updated_ms, title, head_seq, bool(busy))
