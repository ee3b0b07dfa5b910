"""What the rest of the runtime may know of the log.

One append is one atomic fact: its events, what they change in the session's row, and the durable
answer to the request that caused them are committed together or not at all. The order is commit,
then `on_commit`, then the waiters (D3), so nothing is shown before it is durable.

Two stores keep this contract: `sqlite` for real use and `memory` for tests on virtual time. The
suite in `brainpilot_rt.testing.contracts.eventlog` holds both to it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import Event, Recorded
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.ledger import Ledger

PAGE: Final = 500
"""Rows of one read. The store has one connection, so this bounds what a read adds to a commit."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The durable answer of a request that carried an Idempotency-Key."""

    key: str
    fingerprint: str
    """Of the request's body: the same key with another body is another request."""
    status: int
    body: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What a list of sessions shows without reading their events."""

    session: SessionId
    created_ms: int
    """Commit time of the first append."""
    updated_ms: int
    """Commit time of the newest event."""
    title: str
    head_seq: int
    busy: bool


class RawRow(NamedTuple):
    """An event as stored, not parsed."""

    seq: int
    pos: int
    at_ms: int
    payload: bytes
    """The event as UTF-8 JSON."""


class EventLog(Protocol):
    """The log. Called on the event loop only; every read raises `Unavailable` on trouble."""

    @property
    def epoch(self) -> str:
        """The lineage of this log, `[a-z0-9]{4,32}`: a cursor of another lineage means nothing."""
        ...

    @property
    def head_pos(self) -> int:
        """`pos` of the newest commit, 0 when there is none. Never goes back."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What was spent, call by call: always as the committed events say."""
        ...

    def append(
        self,
        session: SessionId,
        events: Sequence[Event],
        *,
        title: str | None = None,
        busy: bool | None = None,
        receipt: Receipt | None = None,
        at_ms: int | None = None,
    ) -> Awaitable[list[Recorded]]:
        """Queue the events at once; the awaitable gives their places after the commit.

        The order of calls is the order of commits. The commit happens whether or not anybody waits.
        `at_ms` is the time the events carry (default: that of the commit); order is `seq` alone.
        `title` and `busy` change the session's row, which the session's first event creates.
        `events` may be empty when there is something else to store.

        Awaiting raises `Unavailable` when the commit failed (for this append and for all queued
        behind it), `Busy` when the queue is full, `Conflict` when the receipt's key is taken; the
        latter two disturb no other append. The call itself raises only for an event that is not
        JSON (a lone surrogate).
        """
        ...

    def on_commit(self, listener: Callable[[Sequence[Recorded]], None]) -> Callable[[], None]:
        """Call `listener` on the loop after each commit, in commit order, before its waiters wake.

        Returns a function that ends this. A listener that raises ends the log: every later append
        is refused, because memory and disk no longer agree.
        """
        ...

    def on_failure(self, listener: Callable[[Unavailable], None]) -> None:
        """Call `listener` on the loop when a commit failed, before its waiters are told."""
        ...

    async def read(
        self, session: SessionId, *, after: int = 0, upto: int | None = None, limit: int = PAGE
    ) -> list[Recorded]:
        """The first `limit` events with `after < seq <= upto`, ascending."""
        ...

    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = PAGE,
        types: frozenset[str] | None = None,
    ) -> list[Recorded]:
        """The newest `limit` events (of these types) with `seq < before`, ascending."""
        ...

    async def read_raw(
        self, session: SessionId, *, after: int = 0, limit: int = PAGE
    ) -> list[RawRow]:
        """As `read`, as stored: for export, which must also work on what no longer parses."""
        ...

    async def read_all(self, *, after_pos: int = 0, limit: int = PAGE) -> list[Recorded]:
        """Events of all sessions in commit order."""
        ...

    async def head(self, session: SessionId) -> int:
        """`seq` of the session's newest event, 0 when it has none."""
        ...

    async def sessions(self) -> list[SessionRow]:
        """Every session, newest first; the daemon's own stream is not one."""
        ...

    async def session(self, session: SessionId) -> SessionRow | None:
        """One session's row."""
        ...

    async def receipt(self, key: str) -> Receipt | None:
        """The answer stored under an Idempotency-Key."""
        ...

    async def prune_receipts(self, before_ms: int) -> int:
        """Forget receipts older than this; returns how many."""
        ...

    async def delete_session(self, session: SessionId) -> None:
        """Remove the session's events and row, after every append already queued.

        `pos` stays, and so does what was spent.
        """
        ...

    async def close(self) -> None:
        """Commit what is queued and close. Later appends and reads raise `Unavailable`."""
        ...
