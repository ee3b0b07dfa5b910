"""Errors of the file system in our words: which class, and what a model or a client is told.

The text names the logical path and the system's reason, never a path of this machine.
"""

import contextlib
import errno
from collections.abc import Generator
from typing import Final

from brainpilot_rt.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    RuntimeFault,
    Unavailable,
)
from brainpilot_rt.workspace.paths import LogicalPath

_TOLD: Final[dict[int, tuple[type[RuntimeFault], str]]] = {
    errno.ENOENT: (NotFound, "no such file or folder"),
    errno.ENOTDIR: (BadRequest, "a part of the path is not a folder"),
    errno.EISDIR: (BadRequest, "is a folder"),
    errno.ENAMETOOLONG: (BadRequest, "the name is too long"),
    errno.EINVAL: (BadRequest, "the file system does not take this name"),
    errno.EILSEQ: (BadRequest, "the file system does not take this name"),
    errno.ENXIO: (BadRequest, "is not a regular file"),
    errno.EEXIST: (Conflict, "the name is taken"),
    errno.ENOTEMPTY: (Conflict, "changed while it was worked on"),
    errno.ELOOP: (Forbidden, "is or passes through a symbolic link; links are not followed"),
    errno.EXDEV: (Forbidden, "leads out of the folder"),
    errno.EACCES: (Forbidden, "permission denied"),
    errno.EPERM: (Forbidden, "permission denied"),
    errno.EROFS: (Forbidden, "is on a read-only file system"),
}


@contextlib.contextmanager
def told(path: LogicalPath) -> Generator[None]:
    """Raise an OSError of the block as what it means for `path`; storage trouble is Unavailable."""
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        kind, reason = _TOLD.get(number, (Unavailable, error.strerror or "input/output error"))
        raise kind(f"{path}: {reason}") from error
