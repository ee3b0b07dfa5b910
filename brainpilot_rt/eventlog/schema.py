"""The log's tables, how they come to be, and when a file is refused.

A database is opened in this order: refuse a newer one, check its pages if it is small or the last
stop was not clean, migrate in one transaction per step, mark it as in use. Each step is safe to be
killed in and to be repeated. A damaged file is never repaired here and never written to: it is
refused, with the way out in the message.

`events` is clustered by session, so a session is read from neighbouring pages; `pos` has an index
of its own for reads over all sessions. `sessions` holds only what no event row tells: title and
busy. The newest event of a session gives `head_seq` and `updated_ms`, so a plain append writes no
second row.
"""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.eventlog import ledger

APPLICATION_ID: Final = 0x42505254
"""Marks the file as ours (`BPRT`)."""

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE events (
            session TEXT NOT NULL, seq INTEGER NOT NULL, pos INTEGER NOT NULL,
            at_ms INTEGER NOT NULL, type TEXT NOT NULL, payload BLOB NOT NULL,
            PRIMARY KEY (session, seq)
        ) WITHOUT ROWID
        """,
        "CREATE UNIQUE INDEX events_pos ON events (pos)",
        """
        CREATE TABLE sessions (
            session TEXT PRIMARY KEY, created_ms INTEGER NOT NULL,
            title TEXT NOT NULL, busy INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE receipts (
            key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL,
            body BLOB NOT NULL, at_ms INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX receipts_at ON receipts (at_ms)",
    ),
    ledger.TABLES,
)
"""Step n takes a database from `user_version` n to n + 1. Steps are appended, never edited."""

_SETTINGS: Final = (
    # FULL: with NORMAL a power loss takes back what was acknowledged (D2).
    "PRAGMA synchronous = FULL",
    # macOS: fsync alone does not reach the platter. Elsewhere these two do nothing.
    "PRAGMA fullfsync = 1",
    "PRAGMA checkpoint_fullfsync = 1",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
)
_CHECKED_BYTES: Final = 32 * 1024 * 1024
"""Up to this size the pages are checked at every start: it takes a moment."""
_BUSY_MS: Final = 5000
"""How long a commit waits for a person who has the file open in another program."""

_CODES: Final = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_BUSY: "log_locked",
    sqlite3.SQLITE_CORRUPT: "log_corrupt",
    sqlite3.SQLITE_NOTADB: "log_corrupt",
}


def trouble(cause: sqlite3.Error | OSError) -> Unavailable:
    """The one translation of what SQLite or the system said."""
    extended = getattr(cause, "sqlite_errorcode", None)
    code = "unavailable" if extended is None else _CODES.get(extended & 0xFF, "unavailable")
    return Unavailable(f"the log cannot be used: {cause}", code=code)


@contextmanager
def transaction(connection: sqlite3.Connection, *, before: str, after: str) -> Generator[None]:
    """All or nothing; the failpoints `before` and `after` its commit."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        failpoints.hit(before)
        connection.execute("COMMIT")
    except BaseException:
        # Some errors (a full disk) have rolled back already; the first error is the one to tell.
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
    failpoints.hit(after)


def prepare(
    connection: sqlite3.Connection,
    *,
    new_epoch: str,
    whole: bool = True,
    migrations: Sequence[Sequence[str]] = MIGRATIONS,
) -> str:
    """Make the database ready for use and return its epoch.

    That is `new_epoch` if it is made now, or if it is not `whole` (`lineage`).

    Raises `Unavailable` with the code `log_newer`, `log_foreign` or `log_corrupt` when it must not
    be used. The connection must be in autocommit mode.
    """
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    version: int = _one(connection, "PRAGMA user_version")
    _refuse_foreign(connection, version, len(migrations))
    if version and (get_meta(connection, "clean") != "1" or _is_small(connection)):
        failpoints.hit("boot.integrity.before")
        _refuse_damaged(connection)
        failpoints.hit("boot.integrity.after")
    if _one(connection, "PRAGMA journal_mode = WAL") != "wal":
        raise Unavailable("the log needs a file system on which SQLite can use a write-ahead log")
    for setting in _SETTINGS:
        connection.execute(setting)
    for step in range(version, len(migrations)):
        with transaction(connection, before="log.migrate.before", after="log.migrate.after"):
            for statement in migrations[step]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step + 1}")
            set_meta(connection, "epoch", get_meta(connection, "epoch") or new_epoch)
    if not whole:
        set_meta(connection, "epoch", new_epoch)
    set_meta(connection, "clean", "0")
    return get_meta(connection, "epoch") or new_epoch


def get_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """Read one value about the database as a whole."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Write one value about the database as a whole."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def last_pos(connection: sqlite3.Connection) -> int:
    """The highest `pos` ever given, also when its session is deleted."""
    newest: int | None = _one(connection, "SELECT max(pos) FROM events")
    return max(newest or 0, int(get_meta(connection, "pos_floor") or 0))


def _refuse_foreign(connection: sqlite3.Connection, version: int, known: int) -> None:
    if version > known:
        raise Unavailable(
            f"the log was written by a newer version (format {version}, this one knows {known}); "
            "install that version again, or point the data directory elsewhere",
            code="log_newer",
        )
    ours = _one(connection, "PRAGMA application_id") == APPLICATION_ID
    if not ours and _one(connection, "SELECT count(*) FROM sqlite_master"):
        raise Unavailable("the file is a database of another program", code="log_foreign")


def _is_small(connection: sqlite3.Connection) -> bool:
    size = _one(connection, "PRAGMA page_count") * _one(connection, "PRAGMA page_size")
    return size <= _CHECKED_BYTES


def _refuse_damaged(connection: sqlite3.Connection) -> None:
    finding = _one(connection, "PRAGMA quick_check(1)")
    if finding != "ok":
        raise Unavailable(
            f"the log is damaged and was not touched ({finding}); restore it from a backup, "
            "or move it away to begin a new one",
            code="log_corrupt",
        )


def _one(connection: sqlite3.Connection, sql: str) -> Any:
    return connection.execute(sql).fetchone()[0]
