"""Streams of agent runs: the frames of one session from its log, then as they are committed.

A projection is a fold, so every stream folds the log from the session's first event and shows what
lies after its reader's cursor. What is committed meanwhile is heard within a bound: a reader that
does not read is dropped, one that is merely behind goes on from the log.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from brainpilot_rt.aiokit.broadcast import Lagged
from brainpilot_rt.domain.events import Recorded, SessionDeleted
from brainpilot_rt.domain.ids import HostRunId, SessionId
from brainpilot_rt.server.cursors import Cursor, session_key
from brainpilot_rt.server.hearing import ALIVE, KEEPALIVE_S, beats, hearing, of_session
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.rings import Subscriber
from brainpilot_rt.server.stream import EventStream, batches
from brainpilot_rt.server.tracks import Frame, encode
from brainpilot_rt.server.wires.agent_runs import Projector, RunFrame

_PAGE: Final = 200
_HEARD_MAX: Final = 1024
_ALL: Final = 10**9
_READS_AT_ONCE: Final = 4
"""Pages read from the log at one time: commits wait behind them on the one connection."""


class RunStreams:
    """Opens streams of runs and of sessions, and reads pages of the same frames."""

    def __init__(self, backend: Backend, hub: Hub) -> None:
        self._backend = backend
        self._log = backend.log
        self._hub = hub
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    def admit(self) -> None:
        """Refuse a stream more than there may be, before anything is begun for it."""
        self._hub.admit()

    def of_run(
        self, session: SessionId, run: HostRunId, headers: Mapping[str, str] | None = None
    ) -> EventStream:
        """One run from its beginning to its end, as SSE."""

        async def source(subscriber: Subscriber) -> AsyncGenerator[bytes, None]:
            wanted = _OfRun(run)
            async with aclosing(self._follow(session, subscriber)) as pages:
                async for page in pages:
                    kept = None if page is None else [one for one in page if wanted(one)]
                    for data in self._sent(kept):
                        yield data
                    if wanted.over:
                        return

        return EventStream(self._hub, source, _raw(headers or {}))

    def of_session(self, session: SessionId, cursor: Cursor, *, ends: bool = False) -> EventStream:
        """All runs of a session after a cursor, as SSE, until the session is deleted.

        `ends`: or until the end of a run, with which who comes back to a run has what it came for.
        """

        async def source(subscriber: Subscriber) -> AsyncGenerator[bytes, None]:
            after = self._known(cursor, await self._log.head(session))
            if ends and (await self._backend.view(session)).host_run_id is None:
                for data in self._sent((await self.page(session, after, _ALL))[0]):
                    yield data
                return
            async with aclosing(self._follow(session, subscriber)) as pages:
                async for page in pages:
                    kept = None if page is None else [one for one in page if is_after(one, after)]
                    for data in self._sent(kept):
                        yield data
                    if ends and kept and kept[-1].event == "session.status_ended":
                        return

        return EventStream(self._hub, source)

    def at_end(
        self, session: SessionId, run: HostRunId, headers: Mapping[str, str] | None = None
    ) -> EventStream:
        """One run as one JSON object once it has ended; until then now and then a blank."""

        async def source(subscriber: Subscriber) -> AsyncGenerator[bytes, None]:
            wanted = _OfRun(run)
            seen: list[dict[str, Any]] = []
            async with aclosing(self._follow(session, subscriber)) as pages:
                async for page in pages:
                    if page is None:
                        yield b" "
                    seen += [one.data for one in page or () if wanted(one)]
                    if wanted.over:
                        break
            yield encode(summary(seen))

        stream = EventStream(self._hub, source)
        stream.raw_headers = [(b"content-type", b"application/json"), *_raw(headers or {})]
        return stream

    async def page(
        self, session: SessionId, cursor: Cursor, limit: int
    ) -> tuple[list[RunFrame], str | None]:
        """The first `limit` frames after a cursor, and the cursor of the last if more follow."""
        projector = Projector(session)
        after = self._known(cursor, await self._log.head(session))
        found: list[RunFrame] = []
        seq = 0
        while len(found) <= limit and (page := await self._read(session, seq)):
            seq = page[-1].seq
            made = (frame for one in page for frame in projector.feed(one))
            found += [frame for frame in made if is_after(frame, after)]
        more = self.key(found[limit - 1]) if len(found) > limit else None
        return found[:limit], more

    def key(self, frame: RunFrame) -> str:
        """The cursor of a frame."""
        return session_key(self._log.epoch, frame.seq, frame.part, ())

    # --- the engine -------------------------------------------------------------------------

    async def _follow(
        self, session: SessionId, subscriber: Subscriber
    ) -> AsyncGenerator[list[RunFrame] | None, None]:
        """Frames of a session from its first event on, without end; None is a sign of life."""
        projector = Projector(session)
        wanted = of_session(session)
        seq = 0
        while True:
            with hearing(
                self._backend,
                lambda item: isinstance(item, Recorded) and wanted(item),
                subscriber,
                items_max=_HEARD_MAX,
            ) as heard:
                while page := await self._read(session, seq):
                    seq = page[-1].seq
                    yield [frame for one in page for frame in projector.feed(one)]
                with suppress(Lagged):  # what was missed is read
                    async with aclosing(beats(heard, KEEPALIVE_S)) as batches_heard:
                        async for items in batches_heard:
                            if items is None:
                                yield None
                                continue
                            news = [one for one in items if isinstance(one, Recorded)]
                            ours = [one for one in news if one.session == session and one.seq > seq]
                            if ours:
                                seq = ours[-1].seq
                                yield [frame for one in ours for frame in projector.feed(one)]
                            if any(isinstance(one.event, SessionDeleted) for one in news):
                                return

    async def _read(self, session: SessionId, after: int) -> list[Recorded]:
        async with self._reads:
            return await self._log.read(session, after=after, limit=_PAGE)

    def _known(self, cursor: Cursor, head: int) -> Cursor:
        """The cursor; the beginning for one of another log, or of a place this one has not."""
        foreign = cursor.epoch is not None and cursor.epoch != self._log.epoch
        return Cursor() if foreign or cursor.place > head else cursor

    def _sent(self, page: list[RunFrame] | None) -> Iterable[bytes]:
        return [ALIVE] if page is None else batches(map(self._frame, page))

    def _frame(self, frame: RunFrame) -> Frame:
        key = self.key(frame)
        head, last = f"event: {frame.event}\ndata: ".encode(), f"\nid: {key}\n\n".encode()
        return Frame(key, head + encode(frame.data) + last)


class _OfRun:
    """Whether a frame belongs to a run; `over` after its last."""

    def __init__(self, run: HostRunId) -> None:
        self._run = run
        self._within = self.over = False

    def __call__(self, frame: RunFrame) -> bool:
        ours = frame.data.get("runId") == self._run
        if frame.event == "session.status_running":
            self._within = ours
        self.over = self.over or (ours and frame.event == "session.status_ended")
        return self._within


def is_after(frame: RunFrame, cursor: Cursor) -> bool:
    """Whether a reader at the cursor has not got this frame."""
    if frame.seq != cursor.place:
        return frame.seq > cursor.place
    return cursor.part > 0 and (frame.part == 0 or frame.part > cursor.part)


def summary(seen: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A run that has ended as one object; without its end it says that it goes on."""
    events = list(seen)
    said = [one["text"] for one in events if one["type"] == "agent.message"]
    ended = [one for one in events if one["type"] == "session.status_ended"]
    last: dict[str, Any] = ended[-1] if ended else {"reason": None}
    own = {key: value for key, value in last.items() if key not in ("type", "id", "processed_at")}
    return {**own, "text": said[-1] if said else "", "events": events}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
