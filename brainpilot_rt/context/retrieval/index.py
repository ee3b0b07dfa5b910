"""Keeps the index up to date with the work trees, and answers.

A search wants to see the tree as it is, and must not wait for a walk through a large one. So each
tree has **rounds**: a named task walks the tree, compares size and modification time with what is
indexed, and reads what changed, some files at a time, each time on a thread and in one transaction.
A search asks for a round that begins after it and waits for it a little (`wait_s`). A small tree is
then up to date; of a large one the answer is what is indexed so far, and says how far that is. A
round is waited for in vain only once, and a walk that took long is not repeated at once. What tools
wrote is found in any case: the work tree remembers those paths (`Workspace.written`), and they are
read before the search.

A crash or a stop loses at most the batch that was being stored; the next round goes on from there.
"""

import asyncio
import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit.tasks import TaskSet, finish_shielded
from brainpilot_rt.context.retrieval.store import Document, Stamp, Store, delete
from brainpilot_rt.context.retrieval.text import passages, query_words, title
from brainpilot_rt.domain.errors import CommandRejected, RuntimeFault, Unavailable
from brainpilot_rt.domain.passages import Passage, Passages
from brainpilot_rt.settings import SearchSettings
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.walk import SKIPPED, Found, is_binary, walk

CLOSE_S: Final = 5.0
_BATCH_FILES: Final = 32
_BATCH_BYTES: Final = 256 * 1024
_SHORT_S: Final = 0.1
_DROPPED: Final = 32
_SKIPPED: Final = SKIPPED | {".agents", ".claude"}
"""Folders that are not indexed: skills are instructions and no evidence."""

_log = logging.getLogger(__name__)

_Redact = Callable[[str], str]


@dataclass(slots=True)
class _Tree:
    """One work tree and how far its index is."""

    begun: int = 0
    """Rounds that have begun; the number of the last one."""
    ended: int = 0
    """The number of the last round that came to its end, well or not."""
    task: asyncio.Task[int] | None = None
    slow: int = 0
    """The round that somebody waited for in vain."""
    rest_until: float = 0.0
    """Loop time before which no further round begins."""
    walking: bool = False
    changed: int = 0
    """Files this round has to read."""
    read: int = 0
    """Those it has read."""
    left_out: int = 0
    """Files beyond the limits."""
    problem: str = ""
    """Why the last round failed."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Retrieval:
    """The index of all work trees. One per data directory; `open` it, `close` it."""

    def __init__(self, path: Path, store: Store, settings: SearchSettings, redact: _Redact) -> None:
        """Use `open`."""
        self._path = path
        self._store = store
        self._settings = settings
        self._redact = redact
        self._trees: dict[str, _Tree] = {}
        self._tasks = TaskSet(on_crash=lambda name, _: _log.warning("%s ended", name))
        self._rebuilding = asyncio.Lock()

    @classmethod
    async def open(
        cls, path: Path, settings: SearchSettings | None = None, redact: _Redact = str
    ) -> "Retrieval":
        """Open the index, made anew when it is missing, damaged or of another version.

        `redact`: what of a file's text may be kept; it keeps the lines.
        """
        made = cls(path, await Store.open(path), settings or SearchSettings(), redact)
        made.sweep_soon()
        return made

    async def close(self) -> None:
        """End the rounds and close the database."""
        await self._tasks.close(CLOSE_S)
        await self._store.close()

    def gauges(self) -> Mapping[str, float]:
        """Numbers for metrics, of the trees searched since the start."""
        trees = self._trees.values()
        return {
            "search_trees": len(trees),
            "search_trees_indexing": sum(tree.begun > tree.ended for tree in trees),
            "search_files_waiting": sum(tree.changed - tree.read for tree in trees),
            "search_files_left_out": sum(tree.left_out for tree in trees),
        }

    async def search_fresh(
        self, session: str, workspace: Workspace, query: str, top_k: int
    ) -> Passages:
        """Search a work tree as it is now, as far as that is quick; `notice` says what is not."""
        del session  # sessions that share a folder share its index
        key = str(workspace.root)
        tree = self._trees.setdefault(key, _Tree())
        await self._catch_up(key, tree, workspace)
        found = await self.search(key, query, top_k)
        return Passages(found, self._notice(tree))

    async def search(self, key: str, query: str, top_k: int) -> list[Passage]:
        """The best passages of a tree, best first; none for a tree that was never refreshed.

        Unavailable when the index can not answer; a damaged one is made anew and filled by the next
        refresh.
        """
        words = query_words(query)
        if not words:
            return []
        store = self._store
        try:
            tree = await store.tree(key)
            return [] if tree is None else await store.best(tree, words, top_k)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the search index can not answer: {error}") from error
        except sqlite3.DatabaseError as error:
            await self._rebuild_after(error, store)
            raise Unavailable(
                "the search index was damaged and is made anew; search again"
            ) from error

    async def refresh(self, key: str, workspace: Workspace) -> int:
        """Bring the index of one work tree up to date; the number of files read.

        `key` names the tree; searches use the same. Rounds of one tree run one after the other.
        """
        tree = self._trees.setdefault(key, _Tree())
        async with tree.lock:
            tree.begun += 1
            number = tree.begun
            try:
                read = await self._round(key, tree, workspace)
                tree.problem = ""
            except (sqlite3.Error, OSError, RuntimeFault) as error:
                tree.problem = _why(error)
                raise
            finally:
                tree.ended, tree.changed, tree.read, tree.walking = number, 0, 0, False
        return read

    async def forget(self, key: str) -> None:
        """Drop all that is known of a tree, as when its session is deleted."""
        tree = self._trees.setdefault(key, _Tree())
        if tree.task is not None:
            await self._tasks.cancel(tree.task)
        async with tree.lock:
            await finish_shielded(self._store.forget(key))
        self._trees.pop(key, None)

    def sweep_soon(self) -> asyncio.Task[None]:
        """Forget the trees whose folder is gone; nobody has to wait for it."""
        return self._tasks.spawn(self._sweep(), name="sweep of the search index")

    async def _sweep(self) -> None:
        try:
            for key in await self._store.keys():
                if not await asyncio.to_thread(os.path.isdir, key):
                    await self.forget(key)
        except (sqlite3.Error, Unavailable) as error:  # a damage is repaired by who asks something
            _log.warning("the search index was not swept: %s", error)

    # --- freshness ------------------------------------------------------------------------

    async def _catch_up(self, key: str, tree: _Tree, workspace: Workspace) -> None:
        """Wait for a round that begins now, but not for long; then read what tools wrote."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._settings.wait_s
        wanted = tree.begun + 1
        written: dict[str, None] = {}
        while workspace.written:  # others append on threads: it can not be iterated
            written[workspace.written.popleft()] = None
        while tree.ended < wanted:
            if tree.task is None or tree.task.done():
                if loop.time() < tree.rest_until:
                    break
                name = f"index of {workspace.root.name}"
                tree.task = self._tasks.spawn(self._quiet_round(key, workspace), name=name)
                tree.slow = 0
            left = ends_at - loop.time()
            if left <= 0:
                tree.slow = tree.begun
            if left <= 0 or 0 < tree.slow == tree.begun:
                break
            await asyncio.wait([tree.task], timeout=left)
        if tree.ended < wanted or tree.problem:
            try:
                await self._read_written(key, workspace, written)
            except (sqlite3.Error, OSError) as error:
                tree.problem = _why(error)

    async def _quiet_round(self, key: str, workspace: Workspace) -> int:
        try:
            return await self.refresh(key, workspace)
        except (sqlite3.Error, OSError, RuntimeFault) as error:
            _log.warning("the index of a work tree is not up to date: %s", error)
            return 0

    async def _read_written(self, key: str, workspace: Workspace, paths: Iterable[str]) -> None:
        store = self._store
        tree = await store.make_tree(key)
        for path in paths:
            found = await asyncio.to_thread(_look, workspace, path, self._settings.file_bytes_max)
            if found is None:
                await store.drop(tree, await store.below(tree, path.removeprefix("/workspace/")))
            else:
                read = await asyncio.to_thread(self._read_batch, workspace, [found])
                await store.put(tree, read)

    def _notice(self, tree: _Tree) -> str:
        said: list[str] = []
        if tree.walking:
            said.append("The index is being brought up to date; the files are still being listed.")
        elif tree.changed > tree.read:
            said.append(
                f"The index is being brought up to date: {tree.read:,} of {tree.changed:,} new or"
                " changed files are read."
            )
        elif tree.problem:
            said.append(f"The index could not be brought up to date: {tree.problem}.")
        if said:
            said.append("Other passages may match; search again later, or use grep.")
        if tree.left_out:
            said.append(
                f"{tree.left_out:,} files or more are beyond the limits of the index; use grep."
            )
        return " ".join(said)

    # --- a round --------------------------------------------------------------------------

    async def _round(self, key: str, tree: _Tree, workspace: Workspace) -> int:
        store = self._store
        try:
            return await self._update(store, key, tree, workspace)
        except sqlite3.DatabaseError as error:
            await self._rebuild_after(error, store)
            return await self._update(self._store, key, tree, workspace)

    async def _update(self, store: Store, key: str, tree: _Tree, workspace: Workspace) -> int:
        number = await store.make_tree(key)
        tree.walking = True
        # What is known is asked first: what is indexed during the walk is not taken for gone.
        known = await store.known(number)
        loop = asyncio.get_running_loop()
        started = loop.time()
        found, tree.left_out = await asyncio.to_thread(_text_files, workspace, self._settings)
        took = loop.time() - started
        tree.rest_until = loop.time() + self._settings.rest * took if took > _SHORT_S else 0.0
        if not found and known:
            await finish_shielded(store.forget(key))
            number, known = await store.make_tree(key), {}
        changed = [one for one in found if known.get(one.path.short, (0, None))[1] != _stamp(one)]
        paths = {one.path.short for one in found}
        gone = [file for path, (file, _) in known.items() if path not in paths]
        del known, found, paths
        tree.changed, tree.read, tree.walking = len(changed), 0, False
        for at in range(0, len(gone), _DROPPED):
            await store.drop(number, gone[at : at + _DROPPED])
        for batch in _batches(changed):
            read = await asyncio.to_thread(self._read_batch, workspace, batch)
            await store.put(number, read)
            tree.read += len(batch)
        return len(changed)

    def _read_batch(self, workspace: Workspace, batch: Sequence[Found]) -> list[Document]:
        """Each file with its passages: none for a binary, so that it is not read again."""
        read: list[Document] = []
        for one in batch:
            try:
                data = workspace.read_bytes(str(one.path), self._settings.file_bytes_max)
            except CommandRejected:
                continue  # gone or not readable: looked at again by the next round
            text = "" if is_binary(data) else self._redact(data.decode("utf-8", "replace"))
            path = one.path.short
            about = f"{path} {title(text)}"
            read.append(Document(path, _stamp(one), about, list(passages(text))))
        return read

    async def _rebuild_after(self, error: sqlite3.DatabaseError, damaged: Store) -> None:
        """Begin anew after damage; anything else (a full disk, a closed database) is raised."""
        if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
            raise error
        async with self._rebuilding:
            if damaged is self._store:
                await finish_shielded(self._reopen())

    async def _reopen(self) -> None:
        await self._store.close()
        await asyncio.to_thread(delete, self._path)
        self._store = await Store.open(self._path)


def _why(error: Exception) -> str:
    # What the system says of a file names where it is on this machine.
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _stamp(found: Found) -> Stamp:
    return Stamp(found.size, found.modified_ns)


def _text_files(workspace: Workspace, settings: SearchSettings) -> tuple[list[Found], int]:
    """The files to index, and how many are beyond the limits."""
    chosen: list[Found] = []
    room = settings.tree_bytes_max
    left_out = 0
    try:
        for one in walk(
            workspace,
            LogicalPath("workspace"),
            entries_max=settings.files_max * 3 + 1_000,
            enter=lambda name: name not in _SKIPPED,
        ):
            if one.is_folder or not 0 < one.size <= settings.file_bytes_max:
                continue
            if one.size > room or len(chosen) == settings.files_max:
                left_out += 1
                continue
            room -= one.size
            chosen.append(one)
    except CommandRejected:
        return [], 0  # there is no work tree (yet)
    return chosen, left_out


def _look(workspace: Workspace, path: str, bytes_max: int) -> Found | None:
    """One file as a walk would find it; None when a walk would not, or it is too large."""
    try:
        logical = workspace.resolve(path)
        if logical.root != "workspace" or not _SKIPPED.isdisjoint(logical.parts[:-1]):
            return None
        with workspace.folder(logical.parent) as folder:
            found = os.stat(logical.name, dir_fd=folder, follow_symlinks=False)
    except (CommandRejected, OSError):
        return None
    if not stat.S_ISREG(found.st_mode) or not 0 < found.st_size <= bytes_max:
        return None
    return Found(logical, is_folder=False, size=found.st_size, modified_ns=found.st_mtime_ns)


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
