"""Which process a number means: the one it was written down for, or another that got it since."""

import os
from pathlib import Path


def started(pid: int) -> int | None:
    """When the process began, in clock ticks since the machine did; None if there is none.

    0 where the system does not tell (no /proc): then there is one, and no more is known.
    """
    try:
        # proc(5): the name in brackets may hold anything; the start is field 22.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except ProcessLookupError:
        return None
    except OSError:
        return None if _has_proc() or not _exists(pid) else 0
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def is_same(pid: int, began: int | None) -> bool:
    """Whether the process that had this number and began then still lives."""
    now = started(pid)
    return now is not None and (not began or not now or now == began)


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
