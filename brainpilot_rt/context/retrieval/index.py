"""Retrieval: which passages of a work tree answer a few words (SQLite FTS5, `bm25`).

The index is a database of its own with one connection, so that indexing never delays a commit of
the log (D17). It holds nothing that cannot be made again: when it is damaged, or of another
version, it is deleted and the next refresh fills it anew.

A file is cut into passages of whole lines that overlap a little, so that what is found can be cited
as path and line numbers. `refresh` compares size and modification time with what is indexed and
reads only what changed, some files at a time, each time on a thread and in one transaction.

Each tree has a table of words of its own: how rare a word is, which decides the rank, is a matter
of its tree, so that what else is indexed never changes an answer.

Words are taken from the query and each is quoted, so no query is ever a syntax error. English is
stemmed (porter). Chinese, Japanese and Korean are written without spaces: their runs are indexed as
pairs of characters in a column of their own.
"""

import asyncio
import contextlib
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import aiosqlite

from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.errors import CommandRejected, Unavailable
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.walk import Found, is_binary, split_lines, walk

PASSAGE_LINES: Final = 16
OVERLAP_LINES: Final = 4
PASSAGE_CHARS_MAX: Final = 2_000
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
FILES_MAX: Final = 20_000
TREE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of one work tree; files beyond it, in the order of their paths, are not indexed (and logged)."""
QUERY_WORDS_MAX: Final = 64

_VERSION: Final = 3
_BATCH_FILES: Final = 32
_BATCH_BYTES: Final = 1024 * 1024
_SCHEMA: Final = f"""
CREATE TABLE trees (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, tree INTEGER NOT NULL, path TEXT NOT NULL,
    size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, UNIQUE (tree, path)
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL,
    start_line INTEGER NOT NULL, end_line INTEGER NOT NULL
);
CREATE INDEX passages_by_file ON passages (file);
PRAGMA user_version = {_VERSION};
"""
# `?` can not stand for a table: {tree} is the number of a tree.
_WORDS: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS words_{tree}
USING fts5 (body, pairs, path, tokenize = 'porter unicode61')
"""
_INSERT: Final = "INSERT INTO words_{tree} (rowid, body, pairs, path) VALUES (?, ?, ?, ?)"
_DROP: Final = (
    """DELETE FROM words_{tree} WHERE rowid IN (SELECT passages.id FROM passages
    JOIN files ON files.id = passages.file WHERE files.tree = ? AND files.path = ?)""",
    """DELETE FROM passages
    WHERE file = (SELECT id FROM files WHERE files.tree = ? AND files.path = ?)""",
    "DELETE FROM files WHERE tree = ? AND path = ?",
)
_SEARCH: Final = """
SELECT files.path, passages.start_line, passages.end_line, words_{tree}.body,
       bm25(words_{tree}, 1.0, 1.0, 0.3) AS rank
FROM words_{tree} JOIN passages ON passages.id = words_{tree}.rowid
JOIN files ON files.id = passages.file
WHERE words_{tree} MATCH ? ORDER BY rank, files.path, passages.start_line LIMIT ?
"""
# Han, kana, hangul and their extensions: scripts whose words are not separated.
_CJK: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_WORD: Final = re.compile(r"\w+")

_log = logging.getLogger(__name__)

_Piece = tuple[int, int, str]
_Read = tuple[Found, list[_Piece]]
_Redact = Callable[[str], str]


class Retrieval:
    """The index of all work trees. One per data directory; `open` it, `close` it."""

    def __init__(self, path: Path, database: aiosqlite.Connection, redact: _Redact) -> None:
        """Use `open`."""
        self._path = path
        self._redact = redact
        self._database = database
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, redact: _Redact = str) -> "Retrieval":
        """Open the index, made anew when it is missing, damaged or of another version.

        `redact`: what of a file's text may be kept; it keeps the lines.
        """
        return cls(path, await _opened(path), redact)

    async def close(self) -> None:
        """Close the database."""
        await finish_shielded(self._database.close())

    async def refresh(self, key: str, workspace: Workspace) -> int:
        """Bring the index of one work tree up to date; the number of files read.

        `key` names the tree; searches use the same. Refreshes run one after the other.
        """
        async with self._lock:
            files = await asyncio.to_thread(_text_files, workspace)
            found = {one.path.short: one for one in files}
            try:
                return await self._refresh(key, workspace, found)
            except sqlite3.DatabaseError as error:
                await self._rebuild_after(error)
                return await self._refresh(key, workspace, found)

    async def forget(self, key: str) -> None:
        """Drop all that is known of a tree, as when its session is deleted."""
        async with self._lock:
            tree = await self._tree(key)
            if tree is None:
                return
            rows = await self._database.execute_fetchall(
                "SELECT path FROM files WHERE tree = ?", (tree,)
            )
            await finish_shielded(self._store(tree, [row[0] for row in rows], []))
            await self._database.execute(f"DROP TABLE words_{tree}")
            await self._database.execute("DELETE FROM trees WHERE id = ?", (tree,))

    async def search(self, key: str, query: str, top_k: int) -> list[Passage]:
        """The best passages of a tree, best first; none for a tree that was never refreshed.

        Unavailable when the index turns out to be damaged; the next refresh fills it anew.
        """
        expression = _expression(query)
        if not expression:
            return []
        try:
            tree = await self._tree(key)
            if tree is None:
                return []
            search = _SEARCH.format(tree=tree)
            rows = await self._database.execute_fetchall(search, (expression, top_k))
        except sqlite3.DatabaseError as error:
            async with self._lock:
                await self._rebuild_after(error)
            raise Unavailable(
                "the search index was damaged and is made anew; search again"
            ) from error
        return [
            Passage(path=path, start_line=start, end_line=end, text=text, score=-rank)
            for path, start, end, text, rank in rows
        ]

    async def search_fresh(
        self, session: str, workspace: Workspace, query: str, top_k: int
    ) -> list[Passage]:
        """Bring the index up to date with the files of a work tree, then search it."""
        del session  # sessions that share a folder share its index
        key = str(workspace.root)
        await self.refresh(key, workspace)
        return await self.search(key, query, top_k)

    async def _tree(self, key: str) -> int | None:
        rows = await self._database.execute_fetchall("SELECT id FROM trees WHERE key = ?", (key,))
        return next((row[0] for row in rows), None)

    async def _refresh(self, key: str, workspace: Workspace, found: dict[str, Found]) -> int:
        await self._database.execute("INSERT OR IGNORE INTO trees (key) VALUES (?)", (key,))
        tree = await self._tree(key)
        assert tree is not None
        await self._database.execute(_WORDS.format(tree=tree))
        rows = await self._database.execute_fetchall(
            "SELECT path, size, modified_ns FROM files WHERE tree = ?", (tree,)
        )
        known = {path: (size, modified_ns) for path, size, modified_ns in rows}
        changed = [
            one for path, one in found.items() if known.get(path) != (one.size, one.modified_ns)
        ]
        gone = [path for path in known if path not in found]
        if gone:
            await finish_shielded(self._store(tree, gone, []))
        for batch in _batches(changed):
            read = await asyncio.to_thread(_read_batch, workspace, batch, self._redact)
            dropped = [one.path.short for one in batch if one.path.short in known]
            await finish_shielded(self._store(tree, dropped, read))
        return len(changed)

    async def _store(self, tree: int, dropped: Sequence[str], read: Sequence[_Read]) -> None:
        """Replace what is known of some files, in one transaction."""
        run = self._database.execute
        await run("BEGIN IMMEDIATE")
        try:
            for path in dropped:
                for statement in _DROP:
                    await run(statement.format(tree=tree), (tree, path))
            for found, pieces in read:
                await self._store_file(tree, found, pieces)
            await run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                await run("ROLLBACK")
            raise

    async def _store_file(self, tree: int, found: Found, pieces: list[_Piece]) -> None:
        run = self._database.execute
        path = found.path.short
        cursor = await run(
            "INSERT INTO files (tree, path, size, modified_ns) VALUES (?, ?, ?, ?)",
            (tree, path, found.size, found.modified_ns),
        )
        file = cursor.lastrowid
        last = await self._database.execute_fetchall("SELECT coalesce(max(id), 0) FROM passages")
        first = next(iter(last))[0] + 1
        await self._database.executemany(
            "INSERT INTO passages (id, file, start_line, end_line) VALUES (?, ?, ?, ?)",
            [(first + at, file, start, end) for at, (start, end, _) in enumerate(pieces)],
        )
        await self._database.executemany(
            _INSERT.format(tree=tree),
            [(first + at, text, _pairs(text), path) for at, (_, _, text) in enumerate(pieces)],
        )

    async def _rebuild_after(self, error: sqlite3.DatabaseError) -> None:
        """Begin anew after damage; anything else (a full disk, a closed database) is raised."""
        if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
            raise error
        await finish_shielded(self._reopen())

    async def _reopen(self) -> None:
        await self._database.close()
        await asyncio.to_thread(_delete, self._path)
        self._database = await _opened(self._path)


async def _opened(path: Path) -> aiosqlite.Connection:
    try:
        database = await _connected(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        await asyncio.to_thread(_delete, path)
        database = await _connected(path)
    return database


async def _connected(path: Path) -> aiosqlite.Connection:
    database = await aiosqlite.connect(path, isolation_level=None)
    try:
        # Losing the newest part of this file in a power cut costs reading some files again.
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute("PRAGMA synchronous = NORMAL")
        rows = await database.execute_fetchall("PRAGMA user_version")
        version = next(iter(rows))[0]
        rows = await database.execute_fetchall("SELECT count(*) FROM sqlite_master")
        _refuse_other(version, next(iter(rows))[0])
        if version != _VERSION:
            await database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    except BaseException:
        await database.close()
        raise
    return database


def _refuse_other(version: int, tables: int) -> None:
    if tables and version != _VERSION:
        raise sqlite3.DatabaseError(f"an index of version {version}")


def _delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _text_files(workspace: Workspace) -> list[Found]:
    chosen: list[Found] = []
    room = TREE_BYTES_MAX
    try:
        for one in walk(workspace, LogicalPath("workspace")):
            if one.is_folder or not 0 < one.size <= FILE_BYTES_MAX:
                continue
            room -= one.size
            if room < 0 or len(chosen) == FILES_MAX:
                _log.warning("only the first %d files of a work tree are indexed", len(chosen))
                break
            chosen.append(one)
    except CommandRejected:
        return []  # there is no work tree (yet)
    return chosen


def _batches(files: Sequence[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size = 0
    for one in files:
        batch.append(one)
        size += one.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_batch(workspace: Workspace, batch: Sequence[Found], redact: _Redact) -> list[_Read]:
    """Each file with its passages: none for a binary, so that it is not read again unchanged."""
    read: list[_Read] = []
    for one in batch:
        try:
            data = workspace.read_bytes(str(one.path), FILE_BYTES_MAX)
        except CommandRejected:
            continue  # gone or not readable: looked at again by the next refresh
        text = "" if is_binary(data) else redact(data.decode("utf-8", "replace"))
        pieces = list(passages(text))
        read.append((one, pieces))
    return read


def passages(text: str) -> Iterator[_Piece]:
    """(first line, last line, text) of each passage; a line too long for one gets several."""
    lines = split_lines(text)
    start = 0
    while start < len(lines):
        end, chars = start, 0
        while end < len(lines) and end - start < PASSAGE_LINES:
            chars += len(lines[end]) + 1
            if chars > PASSAGE_CHARS_MAX and end > start:
                break
            end += 1
        body = "\n".join(lines[start:end])
        if body.strip():
            for at in range(0, len(body), PASSAGE_CHARS_MAX) if end - start == 1 else (0,):
                whole = end - start > 1
                yield start + 1, end, body if whole else body[at : at + PASSAGE_CHARS_MAX]
        if end == len(lines):
            return
        start = max(start + 1, end - min(OVERLAP_LINES, (end - start) // 4))


def _pairs(text: str) -> str:
    """Runs of CJK characters as overlapping pairs; a character on its own stays one."""
    return " ".join(pair for run in _CJK.findall(text) for pair in _pairs_of(run))


def _pairs_of(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]


def _expression(query: str) -> str:
    """Any of the query's words, each quoted: nothing in it is an operator."""
    words: dict[str, None] = {}
    for run in _CJK.findall(query):
        words.update(dict.fromkeys(_pairs_of(run)))
    for word in _WORD.findall(_CJK.sub(" ", query).casefold()):
        words[word] = None
    return " OR ".join(f'"{word}"' for word in list(words)[:QUERY_WORDS_MAX])
