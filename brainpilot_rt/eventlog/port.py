"""What a log must do, whatever it is made of.

The log is the one commit point: a thing happened when its append was acknowledged. `append` queues
synchronously, so the order of calls is the order of commits; the commit itself happens on the log's
own writer. Listeners hear of a commit after it is durable and before its caller does
(commit -> evolve -> publish -> acknowledge).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import Event, Recorded
from brainpilot_rt.domain.ids import SessionId


@dataclass(frozen=True, slots=True)
class Receipt:
    """The durable answer to a request that carried an `Idempotency-Key`."""

    key: str
    fingerprint: str
    status: int
    body: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What is known of a session without replaying it. `busy`: a restart must look at it."""

    session: SessionId
    created_ms: int
    updated_ms: int
    title: str
    head_seq: int
    busy: bool


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it lies in the log; `payload` is the event's JSON."""

    seq: int
    pos: int
    at_ms: int
    payload: bytes


class EventLog(Protocol):
    """An append-only, gap-free, numbered store of events."""

    @property
    def epoch(self) -> str:
        """Lineage of the database, `[a-z0-9]{4,32}`; cursors of another lineage are void."""
        ...

    @property
    def head_pos(self) -> int:
        """`pos` of the newest commit over all sessions."""
        ...

    def append(
        self,
        session: SessionId,
        events: Sequence[Event],
        *,
        title: str | None = None,
        busy: bool | None = None,
        receipt: Receipt | None = None,
    ) -> Awaitable[list[Recorded]]:
        """Queue a commit now; the awaitable ends when it is durable.

        `title` and `busy` update the session's row and `receipt` is stored in the same transaction.
        Fails with `Unavailable`, together with everything queued behind it, when the commit fails.
        """
        ...

    def on_commit(self, listener: Callable[[Sequence[Recorded]], None]) -> None:
        """Call on the loop after each commit, before the appends it acknowledges return."""
        ...

    def on_failure(self, listener: Callable[[Unavailable], None]) -> None:
        """Call on the loop after a failed commit, before the appends it fails return."""
        ...

    async def read(
        self, session: SessionId, *, after: int = 0, upto: int | None = None, limit: int = 500
    ) -> list[Recorded]:
        """Events with `after < seq <= upto`, ascending."""
        ...

    async def read_back(
        self,
        session: SessionId,
        *,
        before: int | None = None,
        limit: int = 500,
        types: frozenset[str] | None = None,
    ) -> list[Recorded]:
        """The newest `limit` events with `seq < before` (of these types), ascending."""
        ...

    async def read_raw(
        self, session: SessionId, *, after: int = 0, limit: int = 500
    ) -> list[RawRow]:
        """Rows with `seq > after`, ascending, without parsing them."""
        ...

    async def read_all(self, *, after_pos: int = 0, limit: int = 500) -> list[Recorded]:
        """Events of all sessions in the order of their commits."""
        ...

    async def head(self, session: SessionId) -> int:
        """`seq` of the newest event of a session; 0 if there is none."""
        ...

    async def sessions(self) -> list[SessionRow]:
        """All sessions, in the order of their creation, without the daemon's own stream."""
        ...

    async def session(self, session: SessionId) -> SessionRow | None:
        """One session's row."""
        ...

    async def receipt(self, key: str) -> Receipt | None:
        """The stored answer for a key."""
        ...

    async def prune_receipts(self, before_ms: int) -> int:
        """Forget answers older than that; returns how many."""
        ...

    async def delete_session(self, session: SessionId) -> None:
        """Remove every row of a session, after all appends queued before."""
        ...

    async def close(self) -> None:
        """Commit what is queued, then close."""
        ...
