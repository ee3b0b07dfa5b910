"""Every durable step on files, and reading files that someone else wrote.

This is the only module that creates, renames, syncs or removes files on which a promise rests.
Each function is one step of the write protocol or one safe read; the order of steps belongs to the
caller. Everything is relative to an open directory (`DirHandle`), so that a directory or a link put
in the place of a path component after it was checked cannot redirect a later step.

All functions are plain blocking calls: on the event loop, put them on a thread. Each step has a
failpoint before and after it (`files.<step>.before`, `.after`).

Rules kept here, each because breaking it loses data silently:

* a write is repeated until all bytes are taken (a disk may take fewer than asked);
* a failed fsync is final: the kernel may have dropped the dirty pages, and a second fsync on the
  same descriptor would report success. The file is removed and the error raised;
* close is never retried: after EINTR the descriptor is already gone and may be someone else's;
* a rename never overwrites, unless overwriting is what was asked for;
* a file of unknown origin is opened without following a link and without blocking, and is judged by
  what was opened, not by what its name said before.

Names are single path components; ValueError for anything else. OSError is raised as it comes.
"""

import contextlib
import ctypes
import errno
import functools
import os
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

from brainpilot_rt.aiokit.failpoints import hit

UnsafeReason: TypeAlias = Literal[
    "symlink",
    "not_regular",
    "not_directory",
    "hard_linked",
    "foreign_owner",
    "writable_by_others",
    "too_large",
]

_PRIVATE_DIR: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_WRITABLE_BY_OTHERS: Final = 0o022
_OPEN_DIR: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that nobody writes to must not hang. O_NOCTTY: nor may a terminal
# device become ours.
_OPEN_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READ_CHUNK: Final = 1 << 20
_RENAME_NOREPLACE: Final = 1  # linux/fs.h
_RENAME_EXCL: Final = 4  # sys/stdio.h on macOS
# What a kernel or file system answers that cannot rename without replacing.
_NO_SUCH_RENAME: Final = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}

_NO_SUCH_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


class UnsafeFile(Exception):
    """A file or directory that must not be used; `reason` says which rule it breaks."""

    def __init__(self, name: str, reason: UnsafeReason) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason: UnsafeReason = reason


class DirHandle:
    """An open directory; what the functions below work in. Close it, or use it in a `with`."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path
        """Where the directory was when it was opened; for messages."""

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Self:
        """Open a directory that is itself no symlink; with `create`, make it (0700) if missing.

        FileNotFoundError, or NotADirectoryError also for a symlink.
        """
        if create:
            _make_dir(path)
        return cls(os.open(path, _OPEN_DIR), path)

    def child(self, name: str, *, create: bool = False) -> "DirHandle":
        """Open a directory in this one; with `create`, make it (0700) if missing."""
        _check(name)
        if create:
            _make_dir(name, dir_fd=self.fd)
        return DirHandle(os.open(name, _OPEN_DIR, dir_fd=self.fd), self.path / name)

    @property
    def fd(self) -> int:
        """The descriptor; ValueError once closed."""
        if self._fd < 0:
            msg = f"directory {self.path} is closed"
            raise ValueError(msg)
        return self._fd

    def close(self) -> None:
        """Give the descriptor back; closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_dirs(path: Path) -> None:
    """Make a directory and its missing parents, 0700; what was made is on the disk on return."""
    for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
        _make_dir(missing)
        # Where we may add names but not read them, nothing can be synced.
        with (
            contextlib.suppress(PermissionError),
            DirHandle.open(missing.parent.resolve()) as parent,
        ):
            sync_dir(parent)


def ensure_private_dir(path: Path) -> None:
    """`make_dirs`, 0700 whatever the umask; check a directory that exists.

    UnsafeFile when it is a link, no directory, not ours, or writable by group or others.
    """
    make_dirs(path)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise UnsafeFile(str(path), "symlink")
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFile(str(path), "not_directory")
    if found.st_uid != os.geteuid():
        raise UnsafeFile(str(path), "foreign_owner")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise UnsafeFile(str(path), "writable_by_others")


def write_new(
    where: DirHandle, name: str, data: bytes, *, sync: bool, mode: int = _PRIVATE_FILE
) -> None:
    """Create a file with this content; FileExistsError when the name is taken.

    With `sync`, the content is on the disk on return (the name is only after `sync_dir`). After any
    other error the name does not exist.
    """
    _check(name)
    hit("files.create.before")
    fd = os.open(name, _OPEN_NEW, mode, dir_fd=where.fd)
    try:
        try:
            hit("files.create.after")
            os.fchmod(fd, mode)
            _write_all(fd, data)
            if sync:
                hit("files.fsync.before")
                os.fsync(fd)
                hit("files.fsync.after")
        finally:
            # In an error this hides nothing: the error under way stays the context.
            os.close(fd)
    except BaseException:
        # The first error is the one that matters; a name that stays is swept by age.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=where.fd)
        raise


def rename_noreplace(from_dir: DirHandle, old: str, to_dir: DirHandle, new: str) -> None:
    """Move a name in one step; FileExistsError when the new one is taken.

    Where the system cannot do that it links the new name and then removes the old one. A crash
    between the two, here or in another program that delivers this way, leaves one file under both
    names; a repeated call finishes that.
    """
    _check(old)
    _check(new)
    hit("files.rename.before")
    try:
        if not _native_rename(from_dir.fd, old, to_dir.fd, new):
            _link_and_unlink(from_dir.fd, old, to_dir.fd, new)
    except FileExistsError:
        if not _are_one_file(from_dir.fd, old, to_dir.fd, new):
            raise
        os.unlink(old, dir_fd=from_dir.fd)
    hit("files.rename.after")


def replace_atomic(
    where: DirHandle, name: str, data: bytes, *, mode: int = _PRIVATE_FILE, sync: bool = True
) -> None:
    """Give a file this content: a reader, or a crash, meets the old content or the new, whole.

    With `sync` content and name are on the disk on return.
    """
    _check(name)
    temporary = f".{name}.{secrets.token_hex(8)}.tmp"
    write_new(where, temporary, data, sync=sync, mode=mode)
    try:
        hit("files.replace.before")
        os.rename(temporary, name, src_dir_fd=where.fd, dst_dir_fd=where.fd)
        hit("files.replace.after")
    except OSError:
        with contextlib.suppress(OSError):  # Gone when the error came after the rename.
            os.unlink(temporary, dir_fd=where.fd)
        raise
    if sync:
        sync_dir(where)


def sync_dir(where: DirHandle) -> None:
    """Put on the disk which names the directory holds, where the file system can be told to."""
    hit("files.dirsync.before")
    try:
        os.fsync(where.fd)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
    hit("files.dirsync.after")


def remove(where: DirHandle, name: str, *, missing_ok: bool = False) -> None:
    """Remove a file; FileNotFoundError unless `missing_ok`."""
    _check(name)
    hit("files.remove.before")
    try:
        os.unlink(name, dir_fd=where.fd)
    except FileNotFoundError:
        if not missing_ok:
            raise
    hit("files.remove.after")


def list_names(where: DirHandle) -> list[str]:
    """The names in a directory, sorted. Undecodable bytes come as surrogates (PEP 383)."""
    # A descriptor of its own: two threads listing through one would share its read position.
    fd = os.open(".", _OPEN_DIR, dir_fd=where.fd)
    try:
        with os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries)
    finally:
        os.close(fd)


def read_safely(where: DirHandle, name: str, bytes_max: int) -> bytes:
    """Read a file that anyone may have put there.

    UnsafeFile unless it is a regular file of ours with one name and at most `bytes_max` bytes, also
    when it grows while it is read. FileNotFoundError, PermissionError and so on as they come.
    """
    _check(name)
    try:
        fd = os.open(name, _OPEN_READ, dir_fd=where.fd)
    except OSError as error:
        # EMLINK: what FreeBSD says for a link. ENXIO: a socket, or a device without a driver.
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise UnsafeFile(name, "symlink") from None
        if error.errno == errno.ENXIO:
            raise UnsafeFile(name, "not_regular") from None
        raise
    try:
        _refuse_unsafe(name, os.fstat(fd), bytes_max)
        return _read_at_most(fd, name, bytes_max)
    finally:
        os.close(fd)


def _refuse_unsafe(name: str, found: os.stat_result, bytes_max: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFile(name, "not_regular")
    if found.st_nlink != 1:
        raise UnsafeFile(name, "hard_linked")
    if found.st_uid != os.geteuid():
        raise UnsafeFile(name, "foreign_owner")
    if found.st_size > bytes_max:
        raise UnsafeFile(name, "too_large")


def _read_at_most(fd: int, name: str, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max + 1
    while room > 0:
        part = os.read(fd, min(room, _READ_CHUNK))
        if not part:
            return b"".join(parts)
        parts.append(part)
        room -= len(part)
    raise UnsafeFile(name, "too_large")


def _write_all(fd: int, data: bytes) -> None:
    hit("files.write.before")
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    hit("files.write.after")


def _make_dir(path: Path | str, *, dir_fd: int | None = None) -> None:
    hit("files.mkdir.before")
    try:
        os.mkdir(path, _PRIVATE_DIR, dir_fd=dir_fd)
    except FileExistsError:
        return
    # The umask may have taken away bits of the owner.
    os.chmod(path, _PRIVATE_DIR, dir_fd=dir_fd)
    hit("files.mkdir.after")


def _check(name: str) -> None:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        msg = f"not a file name: {name!r}"
        raise ValueError(msg)


def _native_rename(from_fd: int, old: str, to_fd: int, new: str) -> bool:
    """Rename through the system's own call; False where there is none."""
    call = _rename_call()
    if call is None:
        return False
    flag = _RENAME_EXCL if sys.platform == "darwin" else _RENAME_NOREPLACE
    if call(from_fd, os.fsencode(old), to_fd, os.fsencode(new), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_SUCH_RENAME:
        return False
    raise OSError(number, os.strerror(number), old, None, new)


@functools.cache
def _rename_call() -> Callable[[int, bytes, int, bytes, int], int] | None:
    name = "renameatx_np" if sys.platform == "darwin" else "renameat2"
    try:
        call = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError, TypeError):
        return None
    call.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    call.restype = ctypes.c_int
    return call


def _link_and_unlink(from_fd: int, old: str, to_fd: int, new: str) -> None:
    os.link(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
    hit("files.rename.linked")
    os.unlink(old, dir_fd=from_fd)


def _are_one_file(from_fd: int, old: str, to_fd: int, new: str) -> bool:
    """Whether two different names are the same file."""
    if old == new and os.path.samestat(os.fstat(from_fd), os.fstat(to_fd)):
        return False
    here = os.stat(old, dir_fd=from_fd, follow_symlinks=False)
    there = os.stat(new, dir_fd=to_fd, follow_symlinks=False)
    return os.path.samestat(here, there)
