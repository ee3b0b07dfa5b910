"""The live feed: every commit and every chunk, in order, to whoever listens.

Publishing is synchronous and happens right after the commit, so all listeners see one order. The
hub also remembers the texts that are being said right now, chunk by chunk, so that a client that
connects in the middle of an answer gets its beginning: a snapshot and a subscription taken without
an await in between have neither a gap nor an overlap.
"""

import logging
from collections.abc import Callable
from typing import TypeAlias

from brainpilot_rt.domain.events import Chunk, Recorded, TextFinished, TextStarted
from brainpilot_rt.domain.ids import MessageId, SessionId
from brainpilot_rt.sessions.views import OpenText

Item: TypeAlias = Recorded | Chunk
Listener: TypeAlias = Callable[[Item], None]

_log = logging.getLogger(__name__)


class _Speaking:
    """A text between its start and its end."""

    __slots__ = ("chunks", "event", "length", "started_seq")

    def __init__(self, event: TextStarted, started_seq: int) -> None:
        self.event = event
        self.started_seq = started_seq
        self.chunks: list[str] = []
        self.length = 0


class Hub:
    """Fan-out of the feed to listeners of the same process."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._listeners: list[Listener] = []
        self._speaking: dict[SessionId, dict[MessageId, _Speaking]] = {}

    def listen(self, on_item: Listener) -> Callable[[], None]:
        """Call `on_item` for every item from now on; returns the undo."""
        self._listeners.append(on_item)

        def undo() -> None:
            if on_item in self._listeners:
                self._listeners.remove(on_item)

        return undo

    def publish(self, recorded: Recorded) -> None:
        """A commit happened."""
        event = recorded.event
        if isinstance(event, TextStarted):
            texts = self._speaking.setdefault(recorded.session, {})
            texts[event.message_id] = _Speaking(event, recorded.seq)
        self._tell(recorded)
        if isinstance(event, TextFinished):
            texts = self._speaking.get(recorded.session, {})
            texts.pop(event.message_id, None)
            if not texts:
                self._speaking.pop(recorded.session, None)

    def show(self, session: SessionId, message_id: MessageId, text: str) -> None:
        """A live chunk of an open text; a chunk of a text that is not open is dropped."""
        speaking = self._speaking.get(session, {}).get(message_id)
        if speaking is None or not text:
            return
        chunk = Chunk(
            session=session,
            message_id=message_id,
            index=len(speaking.chunks),
            offset=speaking.length,
            text=text,
            kind=speaking.event.kind,
            agent=speaking.event.agent,
            run_id=speaking.event.run_id,
            at_ms=self._now_ms(),
        )
        speaking.chunks.append(text)
        speaking.length += len(text)
        self._tell(chunk)

    def open_texts(self, session: SessionId) -> tuple[OpenText, ...]:
        """Texts being said right now, in the order of their starts."""
        return tuple(
            OpenText(
                message_id=message_id,
                kind=one.event.kind,
                agent=one.event.agent,
                run_id=one.event.run_id,
                started_seq=one.started_seq,
                chunks=tuple(one.chunks),
            )
            for message_id, one in self._speaking.get(session, {}).items()
        )

    def _tell(self, item: Item) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(item)
            except Exception:  # noqa: BLE001 - a broken listener must not undo a commit or starve the others
                _log.exception("a listener of the feed failed")
