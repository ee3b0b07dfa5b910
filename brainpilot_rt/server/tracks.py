"""Tracks: what a reader of a stream has been sent, and the frames that come next.

Live publishing and replay run the same code, and each frame names the place after it. That is why a
stream cut between any two frames goes on exactly there: the cursor says which events were sent, how
much of the last one, and how many chunks of each text that was open; the rest of a text comes from
the ring or from the open text while it is being said, and from its durable event afterwards.

The order within a text, and of lasting frames, is always that of the log. Chunks of one text may
come earlier or later between other agents' frames than they did live: a replay from the log sends
what is missing of a finished text right before its end.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from brainpilot_rt.domain.events import Chunk, Recorded, TextFinished, TextStarted
from brainpilot_rt.domain.ids import MessageId, SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.server.cursors import Cursor, all_key, session_key
from brainpilot_rt.server.wires import brainpilot
from brainpilot_rt.sessions.views import OpenText

_PAGE: Final = 500
_FINISHED: Final = frozenset({"text_finished"})


@dataclass(frozen=True, slots=True)
class Wire:
    """A projection of the log: pure functions to JSON objects."""

    project: Callable[[Recorded], list[dict[str, Any]]]
    chunk: Callable[[Chunk], dict[str, Any]]


BRAINPILOT: Final = Wire(brainpilot.project, brainpilot.chunk_frame)


class Frame(NamedTuple):
    """One frame as it goes over the socket. `key`: its cursor; empty when it has no place."""

    key: str
    data: bytes


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON on one line; what JSON can not say (NaN) becomes null."""
    return to_json(value, inf_nan_mode="null")


def sse(key: str, value: Mapping[str, Any]) -> Frame:
    """A JSON object as an SSE frame."""
    body = b"data: " + encode(value) + b"\n\n"
    return Frame(key, b"id: " + key.encode() + b"\n" + body if key else body)


class Track:
    """The place of a reader of one session: `seq`, and `sent` chunks per open text.

    Frames are made as they are iterated, and the place moves with them.
    """

    def __init__(
        self, wire: Wire, epoch: str, seq: int, sent: Mapping[MessageId, int] | None = None
    ) -> None:
        self._wire = wire
        self._epoch = epoch
        self.seq = seq
        self.sent: dict[MessageId, int] = dict(sent or {})
        """In the order of the starts of the texts."""

    def key(self, part: int = 0) -> str:
        """The cursor of this place."""
        return session_key(self._epoch, self.seq, part, self.sent.values())

    def event(self, recorded: Recorded) -> Iterator[Frame]:
        """Move past the next event: what is missing of a text it ends, then its lasting frames."""
        event = recorded.event
        if isinstance(event, TextStarted):
            self.sent[event.message_id] = 0
        elif isinstance(event, TextFinished):
            first = self.sent.setdefault(event.message_id, 0)
            for piece in brainpilot.pieces(recorded, event, first):
                yield from self.chunk(piece)
            del self.sent[event.message_id]
        self.seq = recorded.seq
        yield from self.rest(recorded, 0)

    def rest(self, recorded: Recorded, part: int) -> Iterator[Frame]:
        """The lasting frames of the event at this place after the first `part`."""
        bodies = self._wire.project(recorded)
        last = len(bodies)
        for n, body in enumerate(bodies[part:], part + 1):
            yield sse(self.key(n if n < last else 0), body)

    def chunk(self, chunk: Chunk) -> Iterator[Frame]:
        """Move past a chunk; nothing if it is not the next one of an open text."""
        if self.sent.get(chunk.message_id) == chunk.index:
            self.sent[chunk.message_id] = chunk.index + 1
            yield sse(self.key(), self._wire.chunk(chunk))

    def catch_up(self, session: SessionId, text: OpenText, upto: int) -> Iterator[Frame]:
        """Move past the first `upto` chunks of an open text, said before the reader came."""
        offset = 0
        for index, piece in enumerate(text.chunks[:upto]):
            chunk = Chunk(
                session=session,
                message_id=text.message_id,
                index=index,
                offset=offset,
                text=piece,
                kind="text" if text.kind == "text" else "reasoning",
                agent=text.agent,
                run_id=text.run_id,
                at_ms=0,
            )
            yield from self.chunk(chunk)
            offset += len(piece)


class AllTrack:
    """The place of a reader of all sessions: texts come whole, when they are finished."""

    def __init__(self, epoch: str, pos: int) -> None:
        self._epoch = epoch
        self.pos = pos

    def event(self, recorded: Recorded, part: int = 0) -> Iterator[Frame]:
        """Move past an event: its frames after the first `part`."""
        self.pos = recorded.pos
        bodies = brainpilot.history(recorded)
        last = len(bodies)
        for n, body in enumerate(bodies[part:], part + 1):
            yield sse(all_key(self._epoch, self.pos, n if n < last else 0), body)


async def texts_open_at(
    log: EventLog, session: SessionId, seq: int, head: int, open_now: tuple[OpenText, ...]
) -> list[MessageId]:
    """The texts that were open after event `seq`, in the order of their starts.

    `head` and `open_now` are of one instant. A text open at `seq` is still open then, or its end
    lies between the two: only ends are looked at, newest first.
    """
    found = {text.started_seq: text.message_id for text in open_now if text.started_seq <= seq}
    before = head + 1
    while before > seq + 1:
        page = await log.read_back(session, before=before, limit=_PAGE, types=_FINISHED)
        for recorded in page:
            event = recorded.event
            if recorded.seq > seq and isinstance(event, TextFinished) and event.started_seq <= seq:
                found[event.started_seq] = event.message_id
        before = page[0].seq if page else 0
    return [found[started] for started in sorted(found)]


def place(wire: Wire, epoch: str, cursor: Cursor, open_texts: list[MessageId]) -> Track | None:
    """The track a cursor points at; None when it counts texts that were not open there."""
    if cursor.sent and len(cursor.sent) != len(open_texts):
        return None
    counts = cursor.sent or (0,) * len(open_texts)
    return Track(wire, epoch, cursor.place, dict(zip(open_texts, counts, strict=True)))
