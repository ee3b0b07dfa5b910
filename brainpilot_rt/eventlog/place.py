"""Whether the log lies where SQLite's locks and syncs mean what they say."""

from pathlib import Path
from typing import Final

REMOTE: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3",
     "smbfs", "sshfs", "virtiofs"}
)  # fmt: skip
"""File systems of other machines: locks may not hold there, and a write-ahead log needs them."""
_MOUNTS: Final = Path("/proc/self/mounts")


def doubt(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Why a log below `path` is not safe; None when nothing speaks against it, or nobody knows.

    By the file system it lies on: of another machine, or of a program in user space (FUSE).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None  # No such list on this system.
    kind, found = "", -1
    at = path.resolve()
    for line in lines:
        _, where, one, *_ = line.split(" ")
        mount = Path(where.encode("utf-8", "surrogateescape").decode("unicode_escape"))
        if at.is_relative_to(mount) and len(mount.parts) >= found:
            kind, found = one, len(mount.parts)
    if kind in REMOTE or kind.startswith("fuse"):
        return f"it lies on {kind}, where locks and syncs may not hold; use a local disk"
    return None
