"""Opening a file below a directory so that no link, at any moment, leads out of it.

Linux does this in one call: `openat2` with RESOLVE_BENEATH, NO_SYMLINKS and NO_MAGICLINKS resolves
the whole path or fails. Elsewhere, and where a container forbids the call, each component is
opened on its own, relative to the one before it, with O_NOFOLLOW. Neither way checks first and
opens later, so swapping a directory for a link between two steps gains nothing.

A link is always an error (ELOOP), also one that stays inside: whether it does can change any time.
"""

import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Final

_OPENAT2: Final = 437  # the same number on every architecture, asm-generic/unistd.h
_RESOLVE: Final = 0x08 | 0x04 | 0x02  # BENEATH | NO_SYMLINKS | NO_MAGICLINKS, linux/openat2.h
_AGAIN_MAX: Final = 16
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO nobody writes to must not hang us. O_NOCTTY: nor may a terminal become ours.
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(directory: int, parts: Sequence[str], flags: int) -> int:
    """Open an existing file or directory below `directory` (a descriptor); the caller closes it.

    OSError: ELOOP when a component is a link, ENOENT, ENOTDIR, EACCES and so on as they come.
    """
    if not parts:
        return os.open(".", flags, dir_fd=directory)
    openat2 = _openat2()
    if openat2 is not None:
        number = errno.EAGAIN
        for _ in range(_AGAIN_MAX):  # a rename elsewhere in the tree makes the kernel ask again
            fd, number = openat2(directory, "/".join(parts), flags)
            if number == 0:
                return fd
            if number not in {errno.EAGAIN, errno.EINTR}:
                break
        # EPERM: what a seccomp profile answers that does not know the call. ENOTDIR: also said of
        # a link where a directory was wanted. The walk tells which it is.
        if number not in {errno.ENOSYS, errno.EPERM, errno.ENOTDIR}:
            raise OSError(number, os.strerror(number), "/".join(parts))
    return open_stepwise(directory, parts, flags)


def open_stepwise(directory: int, parts: Sequence[str], flags: int) -> int:
    """`open_beneath` for systems without `openat2`: one component at a time."""
    current = os.dup(directory)
    try:
        for part in parts[:-1]:
            following = _open_one(current, part, DIRECTORY)
            os.close(current)
            current = following
        return _open_one(current, parts[-1], flags | os.O_NOFOLLOW)
    finally:
        os.close(current)


def _open_one(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except NotADirectoryError:
        # O_DIRECTORY wins over O_NOFOLLOW on a link: say what it really is.
        if not _is_link(directory, name):
            raise
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None


def _is_link(directory: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


@functools.cache
def _openat2() -> Callable[[int, str, int], tuple[int, int]] | None:
    """A function giving (descriptor, error number), or None where the system has no such call."""
    if not sys.platform.startswith("linux"):
        return None
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    size = ctypes.c_size_t(ctypes.sizeof(_OpenHow))

    def call(directory: int, path: str, flags: int) -> tuple[int, int]:
        how = _OpenHow(flags=flags, mode=0, resolve=_RESOLVE)
        fd = syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(directory),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            size,
        )
        return int(fd), 0 if fd >= 0 else ctypes.get_errno()

    return call
