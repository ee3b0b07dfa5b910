"""The hub: listens to the daemon once, and feeds the rings of those who follow.

Commits and chunks arrive in order and synchronously. Each becomes frames once; a session nobody
follows costs one look-up per commit. After an event that changes what a client shows as state, one
state frame follows in the next turn of the loop, however many events came together.

Silence: every stream gets a comment every 15 s, and where nothing else was sent an event a parser
can see after at most 10 s.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from brainpilot_rt.domain.errors import Busy, NotFound, Unavailable
from brainpilot_rt.domain.events import Chunk, Recorded, SessionDeleted, TextStarted
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.server.cursors import all_key
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.rings import FrameRing, Subscriber
from brainpilot_rt.server.tracks import BRAINPILOT, AllTrack, Frame, Track, sse
from brainpilot_rt.server.wires.brainpilot import heartbeat_frame
from brainpilot_rt.server.wires.brainpilot_views import state_frame
from brainpilot_rt.settings import HttpSettings

PING: Final = Frame("", b": ping\n\n")

_STATELESS: Final = frozenset(
    {"letter_placed", "model_attempt_failed", "model_stalled", "notice_posted", "text_finished"}
    | {"text_started", "tool_planned", "trace_node_saved"}
    | {"budget_exhausted", "budget_warned", "guardrail_fired", "model_selected", "spend_reserved"}
    | {"tool_judged", "turn_rated"}
)
"""Events after which no client needs a new state frame."""


class SessionRing(FrameRing):
    """A ring, with the place of its newest frame."""

    def __init__(self, bytes_max: int, session: SessionId, track: Track) -> None:
        super().__init__(bytes_max, track.key())
        self.session = session
        self.track = track


class AllRing(FrameRing):
    """The ring of the stream of all sessions."""

    def __init__(self, bytes_max: int, epoch: str, pos: int) -> None:
        super().__init__(bytes_max, all_key(epoch, pos, 0))
        self.track = AllTrack(epoch, pos)


class Beat(Protocol):
    """What a heart does."""

    def __call__(self, *, comment: bool) -> None:
        """Once per tick; `comment`: the time of the comments has come too."""
        ...


class Heart:
    """A timer while there are streams. Half the longest silence is a tick."""

    def __init__(self, http: HttpSettings, beat: Beat) -> None:
        self._tick_s = http.state_heartbeat_s / 2
        self._comment_ticks = max(1, int(http.heartbeat_s / self._tick_s))
        self._beat = beat
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat from now on, if it does not yet."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self.start()
        self._ticks += 1
        self._beat(comment=self._ticks % self._comment_ticks == 0)


class Hub:
    """All rings of the BrainPilot wire."""

    def __init__(self, backend: Backend, http: HttpSettings) -> None:
        self._backend = backend
        self._ring_bytes_max = http.lag_bytes_max
        self._streams_max = http.streams_max
        self._rings: dict[SessionId, SessionRing] = {}
        self._all: AllRing | None = None
        self._streams: set[Subscriber] = set()
        self._changed: set[SessionId] = set()
        self._heart = Heart(http, self._beat_all)
        self._closed = False
        self.lagged = 0
        """Streams that were disconnected because they were too slow."""
        self._stop_listening = backend.listen(self.on_item)

    # --- streams ----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Open streams."""
        return len(self._streams)

    @property
    def ring_count(self) -> int:
        """Rings in memory."""
        return len(self._rings) + (self._all is not None)

    def admit(self) -> None:
        """Refuse a stream more than there may be, and any while the daemon stops."""
        if self._closed:
            raise Unavailable("the daemon is stopping")
        if len(self._streams) >= self._streams_max:
            raise Busy(f"{self._streams_max} streams are open", retry_after_s=5.0)

    def open(self, stop: Callable[[], None]) -> Subscriber:
        """A new stream; `close` it in the end."""
        self.admit()
        subscriber = Subscriber(stop)
        self._streams.add(subscriber)
        self._heart.start()
        return subscriber

    def join(self, subscriber: Subscriber, session: SessionId) -> SessionRing:
        """The ring of a session that is in memory; it stays while the subscriber is open."""
        ring = self._rings.get(session)
        if ring is None:
            view, texts = self._backend.snapshot(session)
            sent = {text.message_id: len(text.chunks) for text in texts}
            ring = self._ring(session, Track(BRAINPILOT, self._backend.log.epoch, view.seq, sent))
        ring.subscribers.add(subscriber)
        subscriber.ring = ring
        return ring

    def join_all(self, subscriber: Subscriber) -> AllRing:
        """The ring of all sessions."""
        if self._all is None:
            log = self._backend.log
            self._all = AllRing(self._ring_bytes_max, log.epoch, log.head_pos)
        self._all.subscribers.add(subscriber)
        subscriber.ring = self._all
        return self._all

    def close_stream(self, subscriber: Subscriber) -> None:
        """The stream has ended."""
        self._streams.discard(subscriber)
        if subscriber.reason == "lag":
            self.lagged += 1
        if subscriber.place is not None:
            subscriber.place.close()
        ring = subscriber.ring
        if ring is not None:
            ring.subscribers.discard(subscriber)
        if isinstance(ring, SessionRing):
            self._drop_if_idle(ring)
        elif ring is not None and not ring.subscribers:
            self._all = None
        if not self._streams:
            self._heart.stop()

    def close(self) -> None:
        """End every stream and admit no other."""
        self._closed = True
        self._stop_listening()
        for subscriber in list(self._streams):
            subscriber.stop("closed")

    def _ring(self, session: SessionId, track: Track) -> SessionRing:
        ring = self._rings[session] = SessionRing(self._ring_bytes_max, session, track)
        return ring

    def _drop_if_idle(self, ring: SessionRing) -> None:
        if ring.subscribers or ring.track.sent or self._rings.get(ring.session) is not ring:
            return
        del self._rings[ring.session]

    # --- what happens -----------------------------------------------------------------------

    def on_item(self, item: Recorded | Chunk) -> None:
        """A commit or a chunk, in order."""
        ring = self._rings.get(item.session)
        if isinstance(item, Chunk):
            if ring is not None:
                for frame in ring.track.chunk(item):
                    ring.push(frame)
            return
        if self._all is not None and item.pos > self._all.track.pos:
            for frame in self._all.track.event(item):
                self._all.push(frame)
        if ring is None and isinstance(item.event, TextStarted):
            track = Track(BRAINPILOT, self._backend.log.epoch, item.seq - 1)
            ring = self._ring(item.session, track)
        if ring is not None and item.seq > ring.track.seq:
            self._feed(ring, item)
        if isinstance(item.event, SessionDeleted):
            self._end_session(item.event.deleted)

    def _feed(self, ring: SessionRing, item: Recorded) -> None:
        for frame in ring.track.event(item):
            ring.push(frame)
        if ring.subscribers and item.event.type not in _STATELESS:
            if not self._changed:
                asyncio.get_running_loop().call_soon(self._tell_state)
            self._changed.add(ring.session)
        self._drop_if_idle(ring)

    def _end_session(self, session: SessionId) -> None:
        ring = self._rings.pop(session, None)
        if ring is not None:
            for subscriber in list(ring.subscribers):
                subscriber.stop("deleted")

    def _tell_state(self) -> None:
        changed, self._changed = self._changed, set()
        for session in changed:
            ring = self._rings.get(session)
            if ring is None or not ring.subscribers:
                continue
            try:
                view, _ = self._backend.snapshot(session)
            except NotFound:
                continue  # it left memory meanwhile, which was an event of its own
            ring.push(sse("", state_frame(view)))

    def _beat_all(self, *, comment: bool) -> None:
        for ring in list(self._rings.values()):
            self._beat(ring, ring.session, ring.track.seq, comment=comment)
        if self._all is not None:
            self._beat(self._all, None, self._all.track.pos, comment=comment)

    def _beat(
        self, ring: FrameRing, session: SessionId | None, place: int, *, comment: bool
    ) -> None:
        if not ring.subscribers:
            return
        read_only = self._backend.read_only
        if ring.quiet or read_only:
            ring.push(sse("", heartbeat_frame(session, place, read_only)))
        if comment:
            ring.push(PING)
        ring.quiet = True
