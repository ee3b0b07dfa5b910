"""The BrainPilot wire: events as flat snake_case AG-UI frames.

`project` gives the lasting frames of one event, `chunk_frame` a live piece of a text, and `pieces`
the pieces of a finished one. A frame depends on nothing but the fact behind it, so history, replay
and the live stream show the very same ones (D31).

Two things that are not obvious. The chunks of a text carry the time its message id was made, the
one time that both the live frame and its replay know. And reasoning is a message of its own,
because a client that gets both under one id pours the reasoning into the answer.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from brainpilot_rt.domain.events import Chunk, Recorded, TextFinished
from brainpilot_rt.domain.ids import MessageId, SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.wires.brainpilot_bodies import BODIES, Frame, by_name, custom

_ULID_DIGITS: Final = {digit: n for n, digit in enumerate("0123456789abcdefghjkmnpqrstvwxyz")}


@lru_cache(maxsize=256)
def said_at(message_id: MessageId) -> str | None:
    """The time in the id of a text; None for an id the daemon did not make."""
    stamp = message_id.rsplit("_", 1)[-1]
    if len(stamp) != 26 or not all(digit in _ULID_DIGITS for digit in stamp):  # noqa: PLR2004 - ULID
        return None
    at_ms = 0
    for digit in stamp[:10]:
        at_ms = at_ms * 32 + _ULID_DIGITS[digit]
    return iso(at_ms) if at_ms < 253_402_300_800_000 else None  # noqa: PLR2004 - year 10000


def project(recorded: Recorded) -> list[Frame]:
    """Every lasting frame of an event, in order; never empty."""
    event = recorded.event
    bodies = BODIES.get(type(event), by_name)(event)
    at = iso(recorded.at_ms)
    stem = f"{recorded.session}:{recorded.seq}"
    for n, body in enumerate(bodies):
        body["session_id"] = recorded.session
        if body["type"] == "system_message":
            body["timestamp"] = at
        else:
            body["_ts"] = at
        body["_event_id"] = f"{stem}.{n}" if n else stem
    return bodies


def chunk_frame(chunk: Chunk) -> Frame:
    """One piece of a text."""
    kind = "TEXT" if chunk.kind == "text" else "REASONING"
    frame: Frame = {
        "type": f"{kind}_MESSAGE_CONTENT",
        "message_id": chunk.message_id,
        "delta": chunk.text,
        "agent_name": chunk.agent,
        "run_id": chunk.run_id,
        "session_id": chunk.session,
        "_event_id": f"{chunk.message_id}:{chunk.offset}",
    }
    at = said_at(chunk.message_id)
    if at is not None:
        frame["_ts"] = at
    return frame


def pieces(recorded: Recorded, event: TextFinished, first: int = 0) -> Iterator[Chunk]:
    """The chunks a finished text was shown in, from chunk `first` on.

    Lengths that do not add up to the text (a log written by hand) never lose a character: what is
    left over is one more piece.
    """
    lengths = list(event.chunks)
    left = len(event.text) - sum(lengths)
    if left > 0:
        lengths.append(left)
    offset = 0
    for index, length in enumerate(lengths):
        if index >= first:
            yield Chunk(
                session=recorded.session,
                message_id=event.message_id,
                index=index,
                offset=offset,
                text=event.text[offset : offset + length],
                kind=event.kind,
                agent=event.agent,
                run_id=event.run_id,
                at_ms=recorded.at_ms,
            )
        offset += length


def history(recorded: Recorded) -> list[Frame]:
    """Every frame of an event as a reader of finished things sees it: chunks, then lasting ones."""
    event = recorded.event
    if not isinstance(event, TextFinished):
        return project(recorded)
    return [*(chunk_frame(piece) for piece in pieces(recorded, event)), *project(recorded)]


def reset_frame(session: SessionId | None, reason: str, epoch: str, place: int) -> Frame:
    """The cursor meant nothing here; everything follows from the start."""
    value = {"reason": reason, "epoch": epoch, "seq": place}
    return _stamped(session, "stream_reset", value)


def heartbeat_frame(session: SessionId | None, place: int, read_only: str | None) -> Frame:
    """A sign of life that a parser can see. `place`: the head of the log."""
    trouble = {"read_only": read_only} if read_only else {}
    return _stamped(session, "session_heartbeat", {"seq": place, **trouble})


def _stamped(session: SessionId | None, name: str, value: Frame) -> Frame:
    frame = custom(name, value)
    if session is not None:
        frame["session_id"] = session
    return frame
