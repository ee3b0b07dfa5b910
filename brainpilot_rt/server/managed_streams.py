"""The stream of a managed session: what happens from now on, named events, open while it is idle.

Nothing is replayed: a client lists what was before, and knows by their ids what it has seen. The
stream ends with the session.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from brainpilot_rt.aiokit.broadcast import Lagged
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.server.hearing import ALIVE, Item, beats, hearing, of_session
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.rings import Subscriber
from brainpilot_rt.server.stream import EventStream
from brainpilot_rt.server.tracks import encode
from brainpilot_rt.server.wires.managed_bodies import Json
from brainpilot_rt.server.wires.managed_events import ManagedFold

_PAGE: Final = 500


class ManagedStreams:
    """Opens streams of managed sessions, and reads all their events."""

    def __init__(self, backend: Backend, hub: Hub, keepalive_s: float) -> None:
        self._backend = backend
        self._hub = hub
        self._keepalive_s = keepalive_s

    async def events(self, session: SessionId) -> list[Json]:
        """All there are, in order."""
        fold = ManagedFold(session)
        return [event async for event in _folded(fold, self._backend.log, session)]

    def open(self, session: SessionId, *, deltas: bool) -> EventStream:
        """What happens from the first byte on; `deltas`: texts while they are said, too."""
        self._hub.admit()

        async def source(subscriber: Subscriber) -> AsyncGenerator[bytes, None]:
            fold = ManagedFold(session)
            log = self._backend.log
            with hearing(self._backend, of_session(session), subscriber) as heard:
                # Read into the fold, not sent. What is committed meanwhile is heard twice.
                head = await log.head(session)
                async for _ in _folded(fold, log, session, head):
                    pass
                yield ALIVE
                try:
                    async with aclosing(beats(heard, self._keepalive_s)) as batches:
                        async for items in batches:
                            if items is None:
                                yield ALIVE
                            for item in items or ():
                                if sent := _sent(fold, item, head, deltas=deltas):
                                    yield sent
                                if isinstance(item, ev.Recorded) and _is_end(item.event):
                                    return
                except Lagged:
                    subscriber.stop("lag")

        return EventStream(self._hub, source)


async def _folded(
    fold: ManagedFold, log: EventLog, session: SessionId, upto: int | None = None
) -> AsyncGenerator[Json, None]:
    seq = 0
    while page := await log.read(session, after=seq, upto=upto, limit=_PAGE):
        seq = page[-1].seq
        for recorded in page:
            for event in fold.feed(recorded):
                yield event
        await asyncio.sleep(0)


def _sent(fold: ManagedFold, item: Item, head: int, *, deltas: bool) -> bytes:
    if isinstance(item, ev.Chunk):
        return _frames(fold.piece(item)) if deltas else b""
    ended = isinstance(item.event, ev.SessionDeleted)
    if item.seq <= head and not ended:
        return b""
    previews = fold.previews(item) if deltas else []
    return _frames([*previews, *fold.feed(item)])


def _is_end(event: ev.Event) -> bool:
    return isinstance(event, ev.SessionDeleted)


def _frames(events: Iterable[Json]) -> bytes:
    """Frames with the name of each event: without it the client skips them."""
    return b"".join(
        b"event: " + one["type"].encode() + b"\ndata: " + encode(one) + b"\n\n" for one in events
    )
