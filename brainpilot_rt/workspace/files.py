"""The files of one session: every access by tools, routes and indexing goes through here.

A `Workspace` names directories and holds no descriptor: each operation opens the root anew and
works below it (`beneath.py`), so that nothing leaks and a work tree that was deleted and made again
is found. All operations block; on the event loop, put them on a thread.

Errors are those of `domain/errors.py` and speak of logical paths only. A missing directory lists as
empty; nothing else does (lesson 45): a directory that cannot be read is an error.

`hidden` directories (the daemon's own data, mailboxes) do not exist for anyone here, also when the
work tree is a folder that contains them (reliability.md I-21).

A root given by a user is never deleted or changed in its own permissions.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from brainpilot_rt.aiokit.files import DirHandle, make_dirs, rename_noreplace, sync_dir, write_new
from brainpilot_rt.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    TooLarge,
    Unavailable,
)
from brainpilot_rt.workspace.beneath import DIRECTORY, READ, open_beneath
from brainpilot_rt.workspace.faults import told
from brainpilot_rt.workspace.paths import LogicalPath, Root, parse

READ_BYTES_MAX: Final = 20 * 1024 * 1024
WRITE_BYTES_MAX: Final = 1024 * 1024 * 1024
TRUNCATED: Final = ".truncated"
"""Where whole tool outputs are kept."""

_CHUNK: Final = 1 << 20
_WRITTEN_MAX: Final = 1_000
_MODES: Final = {True: (0o600, 0o700), False: (0o644, 0o755)}
"""Of new files and folders: the daemon's own trees are private, a user's folder stays usual."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a directory, as the file routes show it."""

    name: str
    type: Literal["file", "folder", "symlink"]
    size: int
    modified: int
    """Seconds since the Unix epoch."""
    permissions: str
    """Octal, as in `755`."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """An open regular file. Whoever asked for it closes `fd`."""

    fd: int
    size: int
    modified: int


class Workspace:
    """Path-safe access to a work tree and, where there are such, to `/data` and `/shared`."""

    def __init__(
        self,
        root: Path,
        *,
        data: Path | None = None,
        shared: Path | None = None,
        hidden: Iterable[Path] = (),
        owned: bool = True,
    ) -> None:
        """`root`, `data` and `shared` are trusted paths; `hidden` are cut out wherever they lie.

        `owned`: the daemon makes the root and may delete it; False for a user's folder. That may
        go and come back: while it is not there nothing in it is found.
        """
        self.owned = owned
        self.written: Final[deque[str]] = deque(maxlen=_WRITTEN_MAX)
        """Paths written or deleted through this value, for who keeps an index of the tree."""
        named: dict[Root, Path | None] = {"workspace": root, "data": data, "shared": shared}
        self.roots = {name: _real(path) for name, path in named.items() if path is not None}
        self.hidden = tuple(_real(path) for path in hidden)
        self._hidden = {
            (name, _folded(hide.relative_to(real).parts))
            for name, real in self.roots.items()
            for hide in self.hidden
            if hide.is_relative_to(real)
        }
        if not owned and (
            self.root == self.root.parent or any(map(self.root.is_relative_to, self.hidden))
        ):
            raise BadRequest(
                "this folder belongs to the daemon or the system and cannot be a workspace"
            )

    @property
    def root(self) -> Path:
        """Where the work tree is on this machine. For sandboxes and indexes, never for messages."""
        return self.roots["workspace"]

    def create(self) -> None:
        """Make the work tree if it is missing (0700)."""
        with told(LogicalPath("workspace")):
            make_dirs(self.root)

    def destroy(self) -> bool:
        """Delete the whole work tree if the daemon made it; False when there was nothing to do."""
        if not self.owned or not self.root.exists():
            return False
        with told(LogicalPath("workspace")):
            shutil.rmtree(self.root)
        return True

    def resolve(self, text: str) -> LogicalPath:
        """Read a path as it was written; NotFound for a root that is not there or is hidden."""
        path = parse(text, host_root=self.root.parts[1:])
        if path.root not in self.roots:
            raise NotFound(f"there is no /{path.root} here")
        if self.is_hidden(path):
            raise NotFound(f"{path}: no such file or folder")
        return path

    def is_hidden(self, path: LogicalPath) -> bool:
        """Whether the path is, or is inside, a directory that does not exist for anyone here."""
        folded = _folded(path.parts)
        return any((path.root, folded[:end]) in self._hidden for end in range(len(folded) + 1))

    # --- reading ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def folder(self, path: LogicalPath) -> Generator[int]:
        """A directory, open for the block."""
        with told(path):
            root = os.open(self.roots[path.root], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = open_beneath(root, path.parts, DIRECTORY)
            finally:
                os.close(root)
        try:
            yield fd
        finally:
            os.close(fd)

    def list_folder(self, text: str) -> list[Entry]:
        """The names in one directory, folders first; empty when there is no such directory."""
        path = self.resolve(text)
        try:
            with self.folder(path) as fd, told(path), os.scandir(fd) as found:
                entries = [
                    _entry(one.name, one.stat(follow_symlinks=False))
                    for one in found
                    if not self.is_hidden(path.child(one.name))
                ]
        except NotFound:
            return []
        return sorted(entries, key=lambda entry: (entry.type != "folder", entry.name))

    def stat(self, text: str) -> Entry:
        """One file, folder or link; NotFound when it is not there."""
        path = self.resolve(text)
        with self.folder(path.parent) as fd, told(path):
            if not path.parts:
                return _entry(path.name, os.fstat(fd))
            return _entry(path.name, os.stat(path.name, dir_fd=fd, follow_symlinks=False))

    def open_raw(self, text: str) -> RawFile:
        """Open a regular file for reading in parts; the caller closes the descriptor."""
        path = self.resolve(text)
        if not path.parts:
            raise BadRequest(f"{path} is a folder")
        with self.folder(path.parent) as parent, told(path):
            fd = open_beneath(parent, (path.name,), READ)
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode):
            return RawFile(fd, found.st_size, int(found.st_mtime))
        os.close(fd)
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise BadRequest(f"{path} is {kind}")

    def read_bytes(self, text: str, bytes_max: int = READ_BYTES_MAX) -> bytes:
        """The content of a file; TooLarge above `bytes_max`, also when it grows meanwhile."""
        raw = self.open_raw(text)
        path = self.resolve(text)
        try:
            with told(path):
                data = _read(raw.fd, bytes_max)
        finally:
            os.close(raw.fd)
        if data is None:
            raise TooLarge(f"{path} is larger than {bytes_max:,} bytes")
        return data

    def read_text(self, text: str, bytes_max: int = READ_BYTES_MAX) -> str:
        """The content as UTF-8; what is not UTF-8 shows as replacement characters."""
        return self.read_bytes(text, bytes_max).decode("utf-8", "replace")

    # --- writing ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def parent(self, path: LogicalPath) -> Generator[DirHandle]:
        """The directory of `path` for writing, made with its parents where missing."""
        if path.root == "shared":
            raise Forbidden(f"{path}: /shared is read-only")
        if not path.parts:
            raise BadRequest(f"{path} is a folder")
        real = self.roots[path.root]
        with told(path):
            if self.owned or path.root == "data":
                make_dirs(real)
            current = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for part in path.parts[:-1]:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, _MODES[self.owned][1], dir_fd=current)
                        sync_dir(DirHandle(current, real))
                    following = open_beneath(current, (part,), DIRECTORY)
                    os.close(current)
                    current = following
            except BaseException:
                os.close(current)
                raise
        with DirHandle(current, real) as handle, told(path):
            yield handle

    def write(
        self, text: str, data: bytes, *, expected: str | None = None, exclusive: bool = False
    ) -> LogicalPath:
        """Give a file this content in one step, making its parents; an existing mode is kept.

        A crash, of the machine too, leaves the old content or the new; on return it is the new.

        `expected`: the `digest` of the content this one replaces, Conflict if it is another by now.
        `exclusive`: Conflict when the name is taken.
        """
        path = self.resolve(text)
        if len(data) > WRITE_BYTES_MAX:
            raise TooLarge(f"{path}: more than {WRITE_BYTES_MAX:,} bytes")
        with (
            self.parent(path) as parent,
            _written(parent, data, _MODES[self.owned][0]) as temporary,
        ):
            # Compare and swap is two steps: one writer per directory at a time makes it one.
            fcntl.flock(parent.fd, fcntl.LOCK_EX)
            found = _mode_and_digest(parent, path, digested=expected is not None)
            if expected is not None and (found is None or found[1] != expected):
                raise Conflict(f"{path} has changed since it was read; read it again")
            if exclusive:
                rename_noreplace(parent, temporary, parent, path.name)
            else:
                if found is not None:
                    os.chmod(temporary, found[0], dir_fd=parent.fd)
                os.rename(temporary, path.name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
            sync_dir(parent)
        self.written.append(str(path))
        return path

    def delete(self, text: str) -> bool:
        """Delete a file, a link or a folder with all it holds; False when it is not there."""
        path = self.resolve(text)
        if path.root == "shared":
            raise Forbidden(f"{path}: /shared is read-only")
        if not path.parts:
            raise BadRequest(f"{path} itself cannot be deleted")
        inside = _folded(path.parts)
        if any(root == path.root and at[: len(inside)] == inside for root, at in self._hidden):
            raise Forbidden(f"{path} holds files of the daemon")
        try:
            with self.folder(path.parent) as parent, told(path):
                found = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    shutil.rmtree(path.name, dir_fd=parent)
                else:
                    os.unlink(path.name, dir_fd=parent)
        except NotFound:
            return False
        self.written.append(str(path))
        return True

    def spill(self, tool: str, stamp: str, data: bytes) -> str:
        """Keep a whole tool output; returns its logical path."""
        for attempt in range(100):
            suffix = f"-{attempt}" if attempt else ""
            name = f"/workspace/{TRUNCATED}/{tool}_{stamp}{suffix}.txt"
            with contextlib.suppress(Conflict):
                return str(self.write(name, data, exclusive=True))
        raise Unavailable(f"no free name for the output of {tool}")


def digest(data: bytes) -> str:
    """What `write` compares with `expected`."""
    return hashlib.sha256(data).hexdigest()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _folded(parts: tuple[str, ...]) -> tuple[str, ...]:
    # Some file systems do not tell cases apart; hiding too much there is the safe side.
    return tuple(part.casefold() for part in parts)


def _entry(name: str, found: os.stat_result) -> Entry:
    is_link, is_folder = stat.S_ISLNK(found.st_mode), stat.S_ISDIR(found.st_mode)
    return Entry(
        name=os.fsencode(name).decode("utf-8", "replace"),
        type="symlink" if is_link else "folder" if is_folder else "file",
        size=found.st_size,
        modified=int(found.st_mtime),
        permissions=f"{stat.S_IMODE(found.st_mode) & 0o777:03o}",
    )


def _read(fd: int, bytes_max: int) -> bytes | None:
    parts: list[bytes] = []
    room = bytes_max + 1
    while room > 0:
        part = os.read(fd, min(room, _CHUNK))
        if not part:
            return b"".join(parts)
        parts.append(part)
        room -= len(part)
    return None


@contextlib.contextmanager
def _written(parent: DirHandle, data: bytes, mode: int) -> Generator[str]:
    """The name of a new file with this content; gone after the block unless it was renamed."""
    temporary = f".bp-{secrets.token_hex(8)}.tmp"
    write_new(parent, temporary, data, sync=True, mode=mode)
    try:
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent.fd)


def _mode_and_digest(
    parent: DirHandle, path: LogicalPath, *, digested: bool
) -> tuple[int, str] | None:
    """Permission bits and digest of the file about to be replaced; None if there is none."""
    try:
        fd = open_beneath(parent.fd, (path.name,), READ)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BadRequest(f"{path} is not a regular file")
        content = _read(fd, WRITE_BYTES_MAX) if digested else None
        return stat.S_IMODE(found.st_mode) & 0o777, digest(content or b"")
    finally:
        os.close(fd)
