"""Cursors: where on a stream a reader stands, as the opaque `id:` of SSE.

    <epoch>.<seq>              every frame of events 1..seq was sent, nothing of the texts then open
    <epoch>.<seq>~<k1>.<k2>    the same, and k chunks of each text open at that point, in the order
                               of their starts; all of them are listed as soon as one is not zero
    <epoch>.<seq>-<n>[~...]    of event seq only its first n frames were sent
    <epoch>.g<pos>[-<n>]       on the stream of all sessions

A lasting frame carries the `~` part too when it was sent in the middle of a text: without it the
next reader would get again what this one has. The epoch is the lineage of the log: a cursor of
another lineage, or of a place this log has not reached, means nothing here and is reset.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.errors import BadRequest

_SESSION: Final = re.compile(
    r"(?:(?P<epoch>[a-z0-9]{4,32})\.)?(?P<seq>[0-9]{1,18})"
    r"(?:-(?P<part>[0-9]{1,6}))?(?:~(?P<sent>[0-9]{1,9}(?:\.[0-9]{1,9}){0,255}))?"
)
_ALL: Final = re.compile(
    r"(?:(?P<epoch>[a-z0-9]{4,32})\.g)?(?P<pos>[0-9]{1,18})(?:-(?P<part>[0-9]{1,6}))?"
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A parsed cursor. `place` is a `seq` or a `pos`; `epoch` is None when only a number was given.

    `part` 0: all frames of the event at `place` were sent; else how many.
    `sent`: chunks sent per open text; empty means none of any.
    """

    place: int = 0
    part: int = 0
    sent: tuple[int, ...] = ()
    epoch: str | None = None


def parse_session_cursor(text: str) -> Cursor:
    """Read a cursor of a session's stream; `BadRequest` when it is not one."""
    match = _SESSION.fullmatch(text)
    if match is None:
        raise BadRequest(f"{text[:80]!r} is not a cursor of this stream", code="bad_cursor")
    sent = tuple(int(number) for number in match["sent"].split(".")) if match["sent"] else ()
    return Cursor(int(match["seq"]), int(match["part"] or 0), sent, match["epoch"])


def parse_all_cursor(text: str) -> Cursor:
    """Read a cursor of the stream of all sessions; `BadRequest` when it is not one."""
    match = _ALL.fullmatch(text)
    if match is None:
        raise BadRequest(f"{text[:80]!r} is not a cursor of this stream", code="bad_cursor")
    return Cursor(int(match["pos"]), int(match["part"] or 0), (), match["epoch"])


def session_key(epoch: str, seq: int, part: int, sent: Iterable[int]) -> str:
    """Write a cursor of a session's stream."""
    counts = tuple(sent)
    head = f"{epoch}.{seq}-{part}" if part else f"{epoch}.{seq}"
    return f"{head}~{'.'.join(map(str, counts))}" if any(counts) else head


def all_key(epoch: str, pos: int, part: int) -> str:
    """Write a cursor of the stream of all sessions."""
    return f"{epoch}.g{pos}-{part}" if part else f"{epoch}.g{pos}"
