"""A disk that forgets what was not synced: data, and the names of files as well.

`Recorder` stands in for `os` in the modules that work on files. Every step is done on a real
scratch directory and noted down. `Disk` plays a part of the notes again and says what a crash at
that point may leave: of each directory any legal subset of the names changed since it was synced,
of each file any prefix of what was written since it was synced, or NULs of the right length.

What no file system does is not modelled: a rename never loses the file (the old name goes only when
the new one is there, and within a directory both change at once), and what fsync has returned for
stays. What some do is: names in any order, an empty file under its final name, the file of a rename
between directories under both names (as two files here: the images know no hard links).
"""

import contextlib
import itertools
import os
import random
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from brainpilot_rt.aiokit import files

EXHAUSTIVE_BITS: Final = 12
"""Up to so many open decisions every combination is tried; above, some are drawn."""

Image: TypeAlias = Mapping[str, bytes | None]
"""What lies below the root after a crash: path -> content, None for a directory."""


@dataclass(frozen=True, slots=True)
class Made:
    """A name came to be: of a new file or directory, or a second one of an old file."""

    folder: int
    name: str
    node: int
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes at the end of a file."""

    node: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Synced:
    """Fsync of a file or directory returned."""

    node: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A rename."""

    old_folder: int
    old: str
    new_folder: int
    new: str
    node: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A name was removed."""

    folder: int
    name: str
    node: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Something else that happened then: a commit, a promise."""

    what: Any


Step: TypeAlias = Made | Wrote | Synced | Moved | Gone | Mark


class Recorder:
    """Stands in for the module `os`: does everything, and notes what changes files below `root`.

    Files are told apart by their inode while they have a name or are open, so it does not matter
    who opened them. `blind` makes fsync count for nothing: what the model must notice.
    """

    def __init__(self, root: Path, *, blind: bool = False) -> None:
        self.steps: list[Step] = []
        self._nodes: dict[tuple[int, int], int] = {}
        self._count = itertools.count()
        self._blind = blind
        self._lock = threading.RLock()
        self._name(root.stat())

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def mark(self, what: Any) -> None:
        """Note something beside the files."""
        with self._lock:
            self.steps.append(Mark(what))

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """As `os.open`."""
        with self._lock:
            fd = os.open(path, flags, mode, dir_fd=dir_fd)
            folder = self._folder(path, dir_fd)
            if flags & os.O_CREAT and flags & os.O_EXCL and folder is not None:
                node = self._name(os.fstat(fd))
                self.steps.append(Made(folder, Path(path).name, node))
            return fd

    def write(self, fd: int, data: Any) -> int:
        """As `os.write`; files are only ever written from their start to their end."""
        with self._lock:
            taken = os.write(fd, data)
            node = self._node(os.fstat(fd))
            if node is not None:
                self.steps.append(Wrote(node, bytes(data[:taken])))
            return taken

    def fsync(self, fd: int) -> None:
        """As `os.fsync`, without the wait: the real disk has nothing to do with it."""
        with self._lock:
            node = self._node(os.fstat(fd))
            if node is not None and not self._blind:
                self.steps.append(Synced(node))

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        """As `os.mkdir`."""
        with self._lock:
            os.mkdir(path, mode, dir_fd=dir_fd)
            folder = self._folder(path, dir_fd)
            if folder is not None:
                node = self._name(os.stat(path, dir_fd=dir_fd))
                self.steps.append(Made(folder, Path(path).name, node, is_folder=True))

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        """As `os.unlink`."""
        self._remove(os.unlink, path, dir_fd)

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        """As `os.rmdir`."""
        self._remove(os.rmdir, path, dir_fd)

    def link(self, old: Any, new: Any, **where: Any) -> None:
        """As `os.link`."""
        with self._lock:
            os.link(old, new, **where)
            folder = self._folder(new, where["dst_dir_fd"])
            node = self._node(os.stat(new, dir_fd=where["dst_dir_fd"], follow_symlinks=False))
            if folder is not None and node is not None:
                self.steps.append(Made(folder, new, node))

    def rename(self, old: Any, new: Any, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """As `os.rename`."""
        with self._lock:
            found = os.stat(old, dir_fd=src_dir_fd, follow_symlinks=False)
            os.rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            self._moved(found, (src_dir_fd, old), (dst_dir_fd, new))

    def native_rename(self, from_fd: int, old: str, to_fd: int, new: str) -> bool:
        """As `files._native_rename`."""
        with self._lock:
            try:
                found = os.stat(old, dir_fd=from_fd, follow_symlinks=False)
            except FileNotFoundError:
                found = None
            done = _NATIVE(from_fd, old, to_fd, new)
            if done and found is not None:
                self._moved(found, (from_fd, old), (to_fd, new))
            return done

    def _moved(self, found: os.stat_result, old: tuple[int, str], new: tuple[int, str]) -> None:
        node = self._node(found)
        before, after = self._folder(old[1], old[0]), self._folder(new[1], new[0])
        if node is not None and before is not None and after is not None:
            self.steps.append(Moved(before, old[1], after, new[1], node))

    def _remove(self, how: Any, path: Any, dir_fd: int | None) -> None:
        with self._lock:
            found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            how(path, dir_fd=dir_fd)
            folder, node = self._folder(path, dir_fd), self._node(found)
            if folder is not None and node is not None:
                self.steps.append(Gone(folder, Path(path).name, node))

    def _folder(self, path: Any, dir_fd: int | None) -> int | None:
        parent = Path(path).parent
        if dir_fd is not None and parent == Path():
            return self._node(os.fstat(dir_fd))
        return self._node(os.stat(parent, dir_fd=dir_fd))

    def _name(self, found: os.stat_result) -> int:
        node = self._nodes[found.st_dev, found.st_ino] = next(self._count)
        return node

    def _node(self, found: os.stat_result) -> int | None:
        return self._nodes.get((found.st_dev, found.st_ino))


_NATIVE: Final[Any] = getattr(files, "_native_rename")  # noqa: B009 - the seam of the recorder


@contextlib.contextmanager
def recording(root: Path, *modules: ModuleType, blind: bool = False) -> Generator[Recorder]:
    """Within the block the file module, and these, work through a recorder."""
    recorder = Recorder(root, blind=blind)
    seams: list[tuple[ModuleType, str, object]] = [
        (module, "os", recorder) for module in (files, *modules)
    ]
    seams.append((files, "_native_rename", recorder.native_rename))
    before = [(module, name, getattr(module, name)) for module, name, _ in seams]
    try:
        for module, name, stand_in in seams:
            setattr(module, name, stand_in)
        yield recorder
    finally:
        for module, name, real in before:
            setattr(module, name, real)


@dataclass(eq=False, slots=True)
class _Change:
    """One change of a directory that is not durable yet."""

    folder: int
    name: str
    node: int
    there: bool
    """Whether the name is there afterwards."""
    needs: "_Change | None" = None
    """The new name of the rename whose old name goes here."""


@dataclass(slots=True)
class Disk:
    """What a crash may leave, as the steps are played one after the other."""

    _entries: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    _changes: list[_Change] = field(default_factory=list[_Change])
    _content: dict[int, bytes] = field(default_factory=dict[int, bytes])
    _safe: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def play(self, step: Step) -> None:
        """The next step happened."""
        match step:
            case Made():
                if step.is_folder:
                    self._entries[step.node] = {}
                else:
                    self._content.setdefault(step.node, b"")
                    self._safe.setdefault(step.node, b"")
                self._changes.append(_Change(step.folder, step.name, step.node, there=True))
            case Moved():
                there = _Change(step.new_folder, step.new, step.node, there=True)
                self._changes.append(there)
                self._changes.append(
                    _Change(step.old_folder, step.old, step.node, there=False, needs=there)
                )
            case Gone():
                self._changes.append(_Change(step.folder, step.name, step.node, there=False))
            case Wrote():
                self._content[step.node] += step.data
            case Synced(node) if node in self._content:
                self._safe[node] = self._content[node]
            case Synced(node):
                self._sync_folder(node)
            case Mark():
                pass

    def images(self, chance: random.Random, draws: int) -> Iterator[Image]:
        """What may be left: everything that can be, or so many drawn from it."""
        torn = [node for node, data in self._content.items() if data != self._safe[node]]
        bits = len(self._changes) + 2 * len(torn)
        if bits <= EXHAUSTIVE_BITS and 1 << bits <= draws:
            for bitmap in range(1 << bits):
                keep = [bool(bitmap >> n & 1) for n in range(len(self._changes))]
                cuts = {node: bitmap >> (len(keep) + 2 * n) & 3 for n, node in enumerate(torn)}
                yield self._image(keep, cuts)
            return
        for how in (0, 2, 3)[:draws]:  # what is met most: all names, and of the data nothing
            yield self._image([True] * len(self._changes), dict.fromkeys(torn, how))
        for _ in range(draws - 3):
            if chance.random() < 0.5:  # most file systems keep the order of names
                reached = chance.randint(0, len(self._changes))
                keep = [n < reached for n in range(len(self._changes))]
            else:
                share = chance.choice((0.1, 0.5, 0.9))
                keep = [chance.random() < share for _ in self._changes]
            yield self._image(keep, {node: chance.randrange(4) for node in torn})

    def _image(self, keep: Sequence[bool], cuts: Mapping[int, int]) -> Image:
        entries = {folder: dict(names) for folder, names in self._entries.items()}
        kept = {id(one) for one, yes in zip(self._changes, keep, strict=True) if yes}
        for change in self._changes:
            if change.needs is None:
                happened = id(change) in kept
            elif change.needs.folder == change.folder:
                happened = id(change.needs) in kept
            else:
                happened = id(change) in kept and id(change.needs) in kept
            if happened:
                _apply(entries, change)
        found: dict[str, bytes | None] = {}
        todo = [("", 0)]
        while todo:
            path, folder = todo.pop()
            for name, node in entries[folder].items():
                where = f"{path}{name}"
                if node in entries:
                    found[where] = None
                    todo.append((where + "/", node))
                else:
                    found[where] = self._cut(node, cuts.get(node, 3))
        return found

    def _cut(self, node: int, how: int) -> bytes:
        whole, safe = self._content[node], self._safe[node]
        match how:
            case 0:
                return safe
            case 1:
                return whole[: (len(safe) + len(whole)) // 2]
            case 2:
                return safe + b"\0" * (len(whole) - len(safe))
            case _:
                return whole

    def _sync_folder(self, folder: int) -> None:
        needed = {id(one.needs) for one in self._changes if one.folder == folder}
        rest: list[_Change] = []
        for change in self._changes:
            if change.folder == folder or id(change) in needed:
                _apply(self._entries, change)
            else:
                rest.append(change)
        for change in rest:
            if change.needs is not None and change.needs not in rest:
                change.needs = None
        self._changes = rest


def _apply(entries: dict[int, dict[str, int]], change: _Change) -> None:
    names = entries[change.folder]
    if change.there:
        names[change.name] = change.node
    elif names.get(change.name) == change.node:
        del names[change.name]


def lay_out(image: Image, root: Path) -> None:
    """Make the image real in an empty directory."""
    for path in sorted(image):
        content = image[path]
        if content is None:
            (root / path).mkdir(mode=0o700)
        else:
            (root / path).write_bytes(content)
