"""What is kept for all sessions: registered agents, limits, policies, servers, as named records.

A record is a JSON object with a kind and a key; its truth is the daemon's stream of the log, and
what is here is the fold of that. A change counts once it is committed (D3). Bodies hold no secrets:
those are in `supervision/vault.py`, and the log would replace them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Busy, TooLarge
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.manager import SessionManager

RECORDS_MAX: Final = 1_000
"""Of one kind."""
BODY_CHARS_MAX: Final = 256 * 1024
_TYPES: Final = frozenset({"record_saved", "record_deleted"})
_PAGE: Final = 500

Listener = Callable[[str, str, Mapping[str, Any] | None], None]


class Records:
    """The records as they are now."""

    def __init__(self, log: EventLog, manager: SessionManager) -> None:
        self._log = log
        self._manager = manager
        self._kept: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self._listeners: list[Listener] = []

    async def load(self) -> None:
        """Read what the log knows, then follow it."""
        pages: list[list[ev.Recorded]] = []
        before: int | None = None
        while page := await self._log.read_back(
            DAEMON_STREAM, before=before, limit=_PAGE, types=_TYPES
        ):
            pages.append(page)
            before = page[0].seq
        for page in reversed(pages):
            self._fold(page)
        self._log.on_commit(self._fold)

    def listen(self, listener: Listener) -> None:
        """Call `listener(kind, key, body)` after each change; body None: deleted."""
        self._listeners.append(listener)

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """One record, or None."""
        return self._kept[kind].get(key)

    def of(self, kind: str) -> Mapping[str, dict[str, Any]]:
        """All of a kind, by key, oldest first."""
        return self._kept[kind]

    async def put(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        """Keep a record; durable when it returns. `Busy` when there are too many of its kind."""
        known = self._kept[kind]
        if key not in known and len(known) >= RECORDS_MAX:
            raise Busy(f"at most {RECORDS_MAX:,} records of kind {kind!r} are kept")
        saved = ev.RecordSaved(kind=kind, key=key, body=dict(body))
        if len(saved.model_dump_json()) > BODY_CHARS_MAX:
            raise TooLarge(f"{kind} {key!r} is larger than {BODY_CHARS_MAX:,} characters")
        await self._manager.record(DAEMON_STREAM, saved)

    async def delete(self, kind: str, key: str) -> bool:
        """Keep it no more; False when it was not there."""
        if key not in self._kept[kind]:
            return False
        await self._manager.record(DAEMON_STREAM, ev.RecordDeleted(kind=kind, key=key))
        return True

    def _fold(self, committed: Sequence[ev.Recorded]) -> None:
        for recorded in committed:
            match recorded.event:
                case ev.RecordSaved(kind=kind, key=key, body=body):
                    self._kept[kind][key] = body
                    self._tell(kind, key, body)
                case ev.RecordDeleted(kind=kind, key=key):
                    self._kept[kind].pop(key, None)
                    self._tell(kind, key, None)
                case _:
                    pass

    def _tell(self, kind: str, key: str, body: Mapping[str, Any] | None) -> None:
        for listener in self._listeners:
            listener(kind, key, body)
