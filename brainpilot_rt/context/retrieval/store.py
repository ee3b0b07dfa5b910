"""The index in its database: SQLite FTS5 and `bm25`, on one connection of its own (D17).

It holds nothing that cannot be made again: damaged, or of another version, it is deleted.

Each tree has a table of words of its own: how rare a word is, which decides the rank, is a matter
of its tree, so that what else is indexed never changes an answer. That table keeps words only;
the text lies in `passages` once. FTS5 then wants to be told again what a passage said when it is
taken out, so `terms` may not change its mind within one version of the index; the version of
Unicode is a part of it.

Writes go in small steps, each one call to the database's thread, so that a search is never behind
more than one of them. A search in the middle of a transaction sees a part of a file at worst.
"""

import asyncio
import contextlib
import json
import sqlite3
import unicodedata
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import aiosqlite

from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.context.retrieval.text import ROWS_WANTED, Piece, expression, terms
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.passages import Passage

ROWS_MAX: Final = 10_000
"""Passages that are ranked at most: the first ones, when every word of a query is that common."""

_VERSION: Final = 4 * 10_000 + int(unicodedata.unidata_version.replace(".", ""))
_STEP: Final = 64
_SCHEMA: Final = f"""
CREATE TABLE trees (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE);
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tree INTEGER NOT NULL, path TEXT NOT NULL,
    size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, about TEXT NOT NULL, UNIQUE (tree, path)
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL,
    start_line INTEGER NOT NULL, end_line INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE INDEX passages_by_file ON passages (file);
PRAGMA user_version = {_VERSION};
"""
# `?` can not stand for a table: {tree} is the number of a tree.
_WORDS: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS words_{tree}
USING fts5 (body, about, content = '', tokenize = 'porter unicode61')
"""
_INSERT: Final = "INSERT INTO words_{tree} (rowid, body, about) VALUES (?, ?, ?)"
_REMOVE: Final = (
    "INSERT INTO words_{tree} (words_{tree}, rowid, body, about) VALUES ('delete', ?, ?, ?)"
)
_COUNT: Final = """
(SELECT count(*) FROM (SELECT 1 FROM words_{tree} WHERE words_{tree} MATCH ? LIMIT {limit}))
"""
# Weights below 1 let a repeated word count for more than FTS5's k1 = 1.2 would (docs/retrieval.md).
_SEARCH: Final = """
SELECT files.path, passages.start_line, passages.end_line, passages.text, best.rank
FROM (
    SELECT id, rank FROM (
        SELECT rowid AS id, bm25(words_{tree}, 0.5, 1.0) AS rank
        FROM words_{tree} WHERE words_{tree} MATCH ? LIMIT {limit}
    ) ORDER BY rank, id LIMIT ?
) AS best JOIN passages ON passages.id = best.id JOIN files ON files.id = passages.file
ORDER BY best.rank, files.path, passages.start_line
"""


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a change of a file is noticed."""

    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Document:
    """A file as it was read. No pieces: nothing to find, but it need not be read again."""

    path: str
    stamp: Stamp
    about: str
    pieces: Sequence[Piece]


class Store:
    """One open index. `open` it, `close` it; closed, every call is Unavailable."""

    def __init__(self, database: aiosqlite.Connection, last: int) -> None:
        """Use `open`."""
        self._database = database
        self._writing = asyncio.Lock()
        self._trees: dict[str, int] = {}
        self._last = last
        """The last number a passage got: there are not more of them."""

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """Open the index, made anew when it is missing, damaged or of another version."""
        try:
            database, last = await _connected(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            await asyncio.to_thread(delete, path)
            database, last = await _connected(path)
        return cls(database, last)

    async def close(self) -> None:
        """Close the database, after the transaction that is going on."""
        async with self._writing:
            await finish_shielded(self._database.close())

    async def tree(self, key: str) -> int | None:
        """The number of a tree."""
        if key not in self._trees:
            async with self._writing:  # a tree that is just being made has no table of words yet
                rows = await self._rows("SELECT id FROM trees WHERE key = ?", (key,))
                if not rows:
                    return None
                self._trees[key] = rows[0][0]
        return self._trees[key]

    async def make_tree(self, key: str) -> int:
        """The number of a tree, known from now on."""
        known = await self.tree(key)
        if known is not None:
            return known
        async with self._transaction():
            await self._run("INSERT OR IGNORE INTO trees (key) VALUES (?)", (key,))
            rows = await self._rows("SELECT id FROM trees WHERE key = ?", (key,))
            tree: int = rows[0][0]
            await self._run(_WORDS.format(tree=tree))
        self._trees[key] = tree
        return tree

    async def keys(self) -> list[str]:
        """Of all trees."""
        return [row[0] for row in await self._rows("SELECT key FROM trees")]

    async def known(self, tree: int) -> dict[str, tuple[int, Stamp]]:
        """Path -> number and stamp of each file."""
        sql = "SELECT path, id, size, modified_ns FROM files WHERE tree = ?"
        return {
            path: (file, Stamp(size, modified_ns))
            for path, file, size, modified_ns in await self._rows(sql, (tree,))
        }

    async def below(self, tree: int, path: str) -> list[int]:
        """Numbers of the file of that path, or of the files of that folder."""
        sql = "SELECT id FROM files WHERE tree = ? AND (path = ? OR substr(path, 1, ?) = ?)"
        values = (tree, path, len(path) + 1, f"{path}/")
        return [row[0] for row in await self._rows(sql, values)]

    async def put(self, tree: int, documents: Sequence[Document]) -> None:
        """Replace what is known of some files, all or none."""
        async with self._transaction():
            paths = json.dumps([one.path for one in documents])
            sql = """SELECT id FROM files
            WHERE tree = ? AND path IN (SELECT value FROM json_each(?))"""
            for (file,) in await self._rows(sql, (tree, paths)):
                await self._remove(tree, file)
            await self._add(tree, documents)

    async def drop(self, tree: int, files: Sequence[int]) -> None:
        """Forget some files by their numbers, all or none."""
        async with self._transaction():
            for file in files:
                await self._remove(tree, file)

    async def forget(self, key: str) -> None:
        """Forget a tree. A crash in the middle leaves a tree of no folder, to be forgotten."""
        tree = await self.tree(key)
        if tree is None:
            return
        self._trees.pop(key)
        async with self._transaction():
            await self._run("UPDATE trees SET key = ? WHERE id = ?", (f"forgotten {tree}", tree))
            await self._run(f"DROP TABLE IF EXISTS words_{tree}")
        files = iter([file for file, _ in (await self.known(tree)).values()])
        while some := list(islice(files, _STEP)):
            async with self._transaction():
                for file in some:
                    await self._run("DELETE FROM passages WHERE file = ?", (file,))
                    await self._run("DELETE FROM files WHERE id = ?", (file,))
        await self._run("DELETE FROM trees WHERE id = ?", (tree,))

    async def best(self, tree: int, words: Sequence[str], top_k: int) -> list[Passage]:
        """The passages that rank first for any of these FTS5 phrases."""
        counts = [0] * len(words)
        if len(words) > 1 and self._last > ROWS_WANTED:
            count = _COUNT.format(tree=tree, limit=ROWS_MAX)
            rows = await self._rows(f"SELECT {','.join([count] * len(words))}", words)
            counts = list(rows[0])
        asked = _SEARCH.format(tree=tree, limit=ROWS_MAX)
        return [
            Passage(path=path, start_line=start, end_line=end, text=text, score=-rank)
            for path, start, end, text, rank in await self._rows(
                asked, (expression(words, counts), top_k)
            )
        ]

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[None]:
        async with self._writing:
            try:  # also what is cancelled while it waits in the queue is done, and then undone
                await self._run("BEGIN IMMEDIATE")
                yield
                await finish_shielded(self._run("COMMIT"))
            except BaseException:
                self._trees.clear()
                with contextlib.suppress(sqlite3.Error, Unavailable):
                    await finish_shielded(self._run("ROLLBACK"))
                raise

    async def _add(self, tree: int, documents: Sequence[Document]) -> None:
        rows = await self._rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")
        files = list(enumerate(documents, start=rows[0][0] + 1))
        await self._database.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)",
            [
                (file, tree, one.path, one.stamp.size, one.stamp.modified_ns, one.about)
                for file, one in files
            ],
        )
        pieces = ((file, piece, one.about) for file, one in files for piece in one.pieces)
        numbered = enumerate(pieces, start=self._last + 1)
        self._last += sum(len(one.pieces) for one in documents)
        while some := list(islice(numbered, _STEP)):
            await self._database.executemany(
                "INSERT INTO passages VALUES (?, ?, ?, ?, ?)",
                [(number, file, *piece) for number, (file, piece, _) in some],
            )
            await self._database.executemany(
                _INSERT.format(tree=tree),
                [(number, terms(text), terms(about)) for number, (_, (_, _, text), about) in some],
            )

    async def _remove(self, tree: int, file: int) -> None:
        sql = """SELECT passages.id, text, about FROM passages JOIN files ON files.id = file
        WHERE file = ? LIMIT ?"""
        while rows := await self._rows(sql, (file, _STEP)):
            await self._database.executemany(
                _REMOVE.format(tree=tree),
                [(number, terms(text), terms(about)) for number, text, about in rows],
            )
            await self._database.executemany(
                "DELETE FROM passages WHERE id = ?", [(row[0],) for row in rows]
            )
        await self._run("DELETE FROM files WHERE id = ?", (file,))

    async def _run(self, sql: str, values: Iterable[Any] = ()) -> aiosqlite.Cursor:
        try:
            return await self._database.execute(sql, values)
        except ValueError as error:  # aiosqlite's word for a closed connection
            raise Unavailable("the search index is closed") from error

    async def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        try:
            return list(await self._database.execute_fetchall(sql, values))
        except ValueError as error:
            raise Unavailable("the search index is closed") from error


def delete(path: Path) -> None:
    """Delete the files of a database."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


async def _connected(path: Path) -> tuple[aiosqlite.Connection, int]:
    database = await aiosqlite.connect(path, isolation_level=None)
    try:
        # Before anything is written, so that the files SQLite makes beside it inherit the mode.
        await asyncio.to_thread(path.chmod, 0o600)
        # Losing the newest part of this file in a power cut costs reading some files again.
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute("PRAGMA synchronous = NORMAL")
        rows = await database.execute_fetchall("PRAGMA user_version")
        version = next(iter(rows))[0]
        rows = await database.execute_fetchall("SELECT count(*) FROM sqlite_master")
        _refuse_other(version, next(iter(rows))[0])
        if version != _VERSION:
            await database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        rows = await database.execute_fetchall("SELECT coalesce(max(id), 0) FROM passages")
        last: int = next(iter(rows))[0]
    except BaseException:
        await database.close()
        raise
    return database, last


def _refuse_other(version: int, tables: int) -> None:
    if tables and version != _VERSION:
        raise sqlite3.DatabaseError(f"an index of version {version}")
