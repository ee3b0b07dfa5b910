"""Reading a file that anyone may have put there, and telling one file from the next.

The mailbox judges what was opened, never what a name said before: `aiokit.files` opens without
following a link and without blocking; here its findings become the words of the protocol.
"""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from brainpilot_rt.aiokit.files import DirHandle, UnsafeFile, UnsafeReason, read_safely
from brainpilot_rt.mailbox.codec import BadLetter, Reason

_UNSAFE: Final[Mapping[UnsafeReason, Reason]] = {
    "symlink": Reason.SYMLINK,
    "not_regular": Reason.NOT_A_FILE,
    "not_directory": Reason.NOT_A_FILE,
    "hard_linked": Reason.HARD_LINK,
    "foreign_owner": Reason.NOT_OURS,
    "writable_by_others": Reason.NOT_OURS,
    "too_large": Reason.TOO_LARGE,
}


class FileIdentity(NamedTuple):
    """What tells a file from another one put under the same name later."""

    inode: int
    size: int
    mtime_ns: int


def identity_of(where: DirHandle, name: str) -> FileIdentity | None:
    """What stands under this name, itself if it is a link; None when nothing does."""
    try:
        found = os.stat(name, dir_fd=where.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return FileIdentity(found.st_ino, found.st_size, found.st_mtime_ns)


def read_untrusted(where: DirHandle, name: str, bytes_max: int) -> bytes:
    """Read a regular file of ours with one name; `BadLetter` for any other, never following it.

    FileNotFoundError when nothing is there.
    """
    try:
        return read_safely(where, name, bytes_max)
    except UnsafeFile as unsafe:
        raise BadLetter(_UNSAFE[unsafe.reason], f"{unsafe.reason}: not read") from None
    except PermissionError as denied:
        raise BadLetter(Reason.UNREADABLE, str(denied.strerror)) from None
