"""SSE: one open stream from the authoritative state frame to its end.

    state frame -> replay after the cursor -> chunks of open texts -> tasks, state -> live frames

The cursor is looked for in the ring first: a reader that was away for a moment goes on in the very
order it would have seen. Otherwise the log is read in pages up to the head of the ring, and between
the moment the reader stands there and the moment it takes its position in the ring there is no
await: no gap, no duplicate.

The stream is raw ASGI, because two things are needed that a response object can not do: to notice a
client that went away while there is nothing to send, and to end a stream whose task is parked in a
send to a client that does not read. The latter also aborts the connection where the server program
lends us the means (`state["abort"]`): closing would wait for that client.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Final, Literal

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from brainpilot_rt.aiokit.broadcast import Lagged
from brainpilot_rt.domain.errors import NotFound, RuntimeFault
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.server.cursors import Cursor, all_key, session_key
from brainpilot_rt.server.hub import AllRing, Hub, SessionRing
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.rings import Subscriber
from brainpilot_rt.server.tracks import (
    BRAINPILOT,
    AllTrack,
    Frame,
    Track,
    place,
    sse,
    texts_open_at,
)
from brainpilot_rt.server.wires.brainpilot import reset_frame
from brainpilot_rt.server.wires.brainpilot_views import (
    daemon_frame,
    liveness_json,
    state_frame,
    tasks_frame,
)
from brainpilot_rt.sessions.views import OpenText

_PAGE: Final = 200
_BATCH_BYTES: Final = 32 * 1024
_READS_AT_ONCE: Final = 4
"""Pages read from the log at one time: commits wait behind them on the one connection."""

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
]

_log = logging.getLogger(__name__)

Source = Callable[[Subscriber], AsyncGenerator[bytes, None]]


def batches(frames: Iterable[Frame]) -> Iterator[bytes]:
    """Join frames into sends of a bounded size."""
    parts: list[bytes] = []
    size = 0
    for frame in frames:
        parts.append(frame.data)
        size += len(frame.data)
        if size >= _BATCH_BYTES:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


class EventStream(Response):
    """The answer to one SSE request."""

    def __init__(
        self, hub: Hub, source: Source, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.raw_headers = [*HEADERS, *headers]
        self._hub = hub
        self._source = source

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client leaves, falls behind, or the daemon stops."""
        subscriber = await self._run(receive, send)
        if subscriber.reason == "gone":
            return
        if not subscriber.parked:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        abort = scope.get("state", {}).get("abort")
        if abort is not None:
            abort()
            await _until_gone(receive)

    async def _run(self, receive: Receive, send: Send) -> Subscriber:
        """Send all there is. To stop is to let the time limit pass."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)
        subscriber = self._hub.open(lambda: limit.reschedule(loop.time()))
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(receive, subscriber))
            try:
                async with limit:
                    try:
                        await self._send_all(send, subscriber)
                    finally:
                        self._hub.close_stream(subscriber)
            except TimeoutError:
                if not subscriber.reason:
                    raise
            finally:
                watcher.cancel()
        return subscriber

    async def _send_all(self, send: Send, subscriber: Subscriber) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._source(subscriber)) as chunks:
                async for body in chunks:
                    subscriber.parked = True
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    subscriber.parked = False
        except Lagged:
            subscriber.stop("lag")
        except RuntimeFault as fault:
            _log.warning("a stream ended early: %s", fault.message)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _watch(receive: Receive, subscriber: Subscriber) -> None:
    await _until_gone(receive)
    subscriber.stop("gone")


class Streams:
    """Opens streams: for one session, and for all."""

    def __init__(self, backend: Backend, hub: Hub) -> None:
        self.hub = hub
        self._backend = backend
        self._log = backend.log
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    @property
    def count(self) -> int:
        """Open streams."""
        return self.hub.count

    def close(self) -> None:
        """End every stream and admit no other; each ends within a turn of the loop or two."""
        self.hub.close()

    def of_session(self, session: SessionId, cursor: Cursor) -> EventStream:
        """A stream of one session, which is in memory."""
        return EventStream(self.hub, lambda subscriber: self._session(subscriber, session, cursor))

    def of_all(self, cursor: Cursor) -> EventStream:
        """The stream of all sessions."""
        return EventStream(self.hub, lambda subscriber: self._all(subscriber, cursor))

    # --- one session ------------------------------------------------------------------------

    async def _session(
        self, subscriber: Subscriber, session: SessionId, cursor: Cursor
    ) -> AsyncGenerator[bytes, None]:
        try:
            view, _ = self._backend.snapshot(session)
        except NotFound:
            view = await self._backend.view(session)
        ring = self.hub.join(subscriber, session)
        ring.stand_at_the_end(subscriber)
        yield sse("", state_frame(view)).data
        reset = self._void(cursor, ring.track.seq)
        key = session_key(self._log.epoch, cursor.place, cursor.part, cursor.sent)
        position = None if reset else ring.find(key)
        if position is not None:
            standing = ring.follow(subscriber, position)
            while data := ring.take(standing):
                yield data
        else:
            track = None if reset else await self._track(ring, cursor)
            if track is None:
                reason = reset or "unknown_texts"
                head = ring.track.seq
                yield sse("", reset_frame(session, reason, self._log.epoch, head)).data
                cursor, track = Cursor(), Track(BRAINPILOT, self._log.epoch, 0)
            async with aclosing(self._replay(ring, subscriber, track, cursor.part)) as replay:
                async for data in replay:
                    yield data
            if subscriber.reason:
                return
        yield await self._state(session)
        async with aclosing(_follow(subscriber)) as live:
            async for data in live:
                yield data

    def _void(self, cursor: Cursor, head: int) -> Literal["unknown_epoch", "future", ""]:
        if cursor.epoch is not None and cursor.epoch != self._log.epoch:
            return "unknown_epoch"
        return "future" if cursor.place > head else ""

    async def _track(self, ring: SessionRing, cursor: Cursor) -> Track | None:
        if not cursor.place:
            return place(BRAINPILOT, self._log.epoch, cursor, [])
        head = ring.track.seq
        texts = self._open_now(ring.session)
        open_texts = await texts_open_at(self._log, ring.session, cursor.place, head, texts)
        return place(BRAINPILOT, self._log.epoch, cursor, open_texts)

    async def _replay(
        self, ring: SessionRing, subscriber: Subscriber, track: Track, part: int
    ) -> AsyncGenerator[bytes, None]:
        """Everything up to now from the log, until the reader's place is the end of the ring."""
        session = ring.session
        if part:
            async with self._reads:
                page = await self._log.read(session, after=track.seq - 1, upto=track.seq)
            for data in batches(chain.from_iterable(track.rest(one, part) for one in page)):
                ring.stand_at_the_end(subscriber)
                yield data
        while track.seq < ring.track.seq:
            async with self._reads:
                page = await self._log.read(
                    session, after=track.seq, upto=ring.track.seq, limit=_PAGE
                )
            if not page:
                subscriber.stop("deleted")
                return
            for data in batches(chain.from_iterable(map(track.event, page))):
                ring.stand_at_the_end(subscriber)
                yield data
                await asyncio.sleep(0)
        # One step: nothing may be awaited between reading what is open and taking the place.
        texts = self._open_now(session)
        said = dict(ring.track.sent)
        ring.stand_at_the_end(subscriber)
        missing = (track.catch_up(session, text, said.get(text.message_id, 0)) for text in texts)
        for data in batches(chain.from_iterable(missing)):
            yield data
            await asyncio.sleep(0)

    def _open_now(self, session: SessionId) -> tuple[OpenText, ...]:
        try:
            return self._backend.snapshot(session)[1]
        except NotFound:  # it left memory, and whatever was open in it was closed before that
            return ()

    async def _state(self, session: SessionId) -> bytes:
        try:
            view, _ = self._backend.snapshot(session)
        except NotFound:
            view = await self._backend.view(session)
        return sse("", tasks_frame(view)).data + sse("", state_frame(view)).data

    # --- all sessions -----------------------------------------------------------------------

    async def _all(self, subscriber: Subscriber, cursor: Cursor) -> AsyncGenerator[bytes, None]:
        ring = self.hub.join_all(subscriber)
        ring.stand_at_the_end(subscriber)
        backend, epoch = self._backend, self._log.epoch
        busy = liveness_json(backend.liveness())
        head = daemon_frame(backend.version, backend.instance_id, ring.track.pos, busy)
        yield sse("", head).data
        reason = self._void(cursor, ring.track.pos)
        position = None if reason else ring.find(all_key(epoch, cursor.place, cursor.part))
        if position is not None:
            ring.follow(subscriber, position)
        else:
            if reason:
                yield sse("", reset_frame(None, reason, epoch, ring.track.pos)).data
                cursor = Cursor()
            async with aclosing(self._replay_all(ring, subscriber, cursor)) as replay:
                async for data in replay:
                    yield data
        async with aclosing(_follow(subscriber)) as live:
            async for data in live:
                yield data

    async def _replay_all(
        self, ring: AllRing, subscriber: Subscriber, cursor: Cursor
    ) -> AsyncGenerator[bytes, None]:
        track = AllTrack(self._log.epoch, cursor.place)
        part = cursor.part
        if part:
            track.pos -= 1
        while track.pos < ring.track.pos:
            target = ring.track.pos
            async with self._reads:
                page = await self._log.read_all(after_pos=track.pos, limit=_PAGE)
            page = [recorded for recorded in page if recorded.pos <= target]
            frames = (
                frame
                for one in page
                for frame in track.event(one, part if one.pos == cursor.place else 0)
            )
            for data in batches(frames):
                ring.stand_at_the_end(subscriber)
                yield data
                await asyncio.sleep(0)
            if not page:
                track.pos = target  # a deleted session leaves holes in `pos`
        ring.stand_at_the_end(subscriber)


async def _follow(subscriber: Subscriber) -> AsyncGenerator[bytes, None]:
    ring, place = subscriber.ring, subscriber.place
    if ring is None or place is None:
        raise Lagged(0, 0)  # it fell behind before it began
    while await place.ready():
        yield ring.take(place)
