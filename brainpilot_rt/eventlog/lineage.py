"""Whether the log found is the log that was left: one restored or replaced gets a new epoch.

A cursor names an epoch and a place. In an older copy of the database the same places will hold
other events, so a client that goes on from its cursor there would miss some without a word; a new
epoch makes every client begin anew. Three signs tell:

* the last stop was not clean, as neither the database nor `<log>.seen` says that it was, and there
  is no write-ahead log: it was deleted, or the database was copied without it (a crash always
  leaves it; a stop on a full disk may find room for one of the two marks only);
* the database does not bear the mark that `<log>.seen` says: each opening puts a new one into both
  (the file says old and new until it is in the database, so that a crash there is no sign);
* it ends before the place that `<log>.seen` says, which every clean stop writes.

A folder restored as a whole, to a clean stop before this one, shows none of them.
"""

import json
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit.files import DirHandle, read_safely, replace_atomic
from brainpilot_rt.eventlog.schema import get_meta, set_meta

_SUFFIX: Final = ".seen"
_BYTES_MAX: Final = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    marks: Sequence[str]
    pos: int
    left: bool = False
    """Whether the log was closed in order after that."""


def left_whole(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether its write-ahead log is where it must be; asked before anything is written."""
    try:
        has_log = path.with_name(path.name + "-wal").stat().st_size > 0
    except FileNotFoundError:
        has_log = False
    with suppress(sqlite3.DatabaseError):  # new, damaged, or none of ours: not for us to say
        return has_log or get_meta(connection, "clean") != "0" or _said_left(connection, path)
    return True


def _said_left(connection: sqlite3.Connection, path: Path) -> bool:
    seen = _read(path)
    return seen is not None and seen.left and get_meta(connection, "opened") in seen.marks


def settle(connection: sqlite3.Connection, path: Path, *, pos: int, new: str) -> str:
    """Mark this opening with `new`, and make that the epoch if this is another log; the epoch.

    `pos`: where the log ends. OSError when the mark can not be kept.
    """
    mark, seen = get_meta(connection, "opened"), _read(path)
    if mark is not None and (seen is None or mark not in seen.marks or pos < seen.pos):
        set_meta(connection, "epoch", new)
    _write(path, _Seen([mark or new, new], pos))
    set_meta(connection, "opened", new)
    _write(path, _Seen([new], pos))
    epoch = get_meta(connection, "epoch") or new
    if mark is not None and epoch == new:
        _log.warning("%s was restored or replaced, or its -wal is gone: a new epoch begins", path)
    return epoch


def leave(path: Path, mark: str, pos: int) -> None:
    """A clean stop: the log ends here. Not into a folder that has taken the place of ours."""
    seen = _read(path)
    if seen is not None and mark in seen.marks:
        _write(path, _Seen([mark], pos, left=True))


def _read(path: Path) -> _Seen | None:
    try:
        with DirHandle.open(path.parent) as folder:
            said = json.loads(read_safely(folder, path.name + _SUFFIX, _BYTES_MAX))
        marks = [str(one) for one in said["marks"]]
        return _Seen(marks, int(said["pos"]), said.get("left") is True)
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _write(path: Path, seen: _Seen) -> None:
    with DirHandle.open(path.parent) as folder:
        replace_atomic(folder, path.name + _SUFFIX, json.dumps(asdict(seen)).encode() + b"\n")
