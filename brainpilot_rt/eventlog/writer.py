"""The one writer: a queue, and a task that commits whatever is pending.

Natural batching: while a commit runs, appends queue up; the next commit takes them together. There
is no time window, because one only adds its own length. The task exists while there is work, so an
idle log costs nothing.

Relied upon: a waiter that is cancelled cancels its own future and nothing else. The commit is not
undone by that, and the other waiters of the batch do not notice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.tasks import spawn
from brainpilot_rt.domain.errors import Busy, CommandRejected, Conflict, Unavailable
from brainpilot_rt.domain.events import EVENTS, Event, Recorded
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import Receipt

BATCH_EVENTS: Final = 512
"""Events of one commit; a single larger append is still one commit."""
QUEUE_APPENDS: Final = 50_000
QUEUE_BYTES: Final = 256 * 1024 * 1024
"""Bound of what waits for the disk. Reached only when the disk has stopped answering."""

_log = logging.getLogger(__name__)

Outcome: TypeAlias = list[Recorded] | CommandRejected


@dataclass(eq=False, slots=True)
class Append:
    """A queued append and the future of its outcome."""

    session: SessionId
    events: Sequence[Event]
    title: str | None
    busy: bool | None
    receipt: Receipt | None
    at_ms: int | None
    payloads: list[bytes] = field(init=False)
    size: int = field(init=False)
    done: asyncio.Future[list[Recorded]] = field(init=False)

    def __post_init__(self) -> None:
        self.payloads = [EVENTS.dump_json(event) for event in self.events]
        self.size = sum(map(len, self.payloads))
        if self.receipt is not None:
            self.size += len(self.receipt.body)
        self.done = asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class Delete:
    """A queued removal of a session."""

    session: SessionId
    done: asyncio.Future[list[Recorded]] = field(init=False)
    size: int = 0

    def __post_init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()


class Store(Protocol):
    """Where batches go. Both raise `Unavailable` when nothing was stored."""

    async def commit(self, batch: Sequence[Append]) -> list[Outcome]:
        """Store the batch in one transaction; an outcome for each append, in order."""
        ...

    async def remove(self, session: SessionId) -> None:
        """Remove a session's events and row."""
        ...


class Numbering:
    """Gives a batch its places. Pure bookkeeping: the store tells the heads and the taken keys."""

    def __init__(
        self, *, pos: int, head: Callable[[SessionId], int], key_taken: Callable[[str], bool]
    ) -> None:
        self.pos = pos
        self.heads: dict[SessionId, int] = {}
        """Heads after this batch, of the sessions in it."""
        self._head = head
        self._key_taken = key_taken
        self._keys: set[str] = set()

    def place(self, append: Append, now_ms: int) -> Outcome:
        """The places of one append, or why it is refused."""
        if append.receipt is not None:
            key = append.receipt.key
            if key in self._keys or self._key_taken(key):
                return Conflict(f"a request with the key {key[:80]!r} was answered already")
            self._keys.add(key)
        session, pos = append.session, self.pos
        seq = self.heads[session] if session in self.heads else self._head(session)
        at_ms = now_ms if append.at_ms is None else append.at_ms
        placed = [
            Recorded(session, seq + n, pos + n, at_ms, event)
            for n, event in enumerate(append.events, 1)
        ]
        self.pos = pos + len(placed)
        self.heads[session] = seq + len(placed)
        return placed


class Writer:
    """Commits queued work in order, tells the listeners, then the waiters."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: deque[Append | Delete] = deque()
        self._bytes = 0
        self._batch: Sequence[Append | Delete] = ()
        self._task: asyncio.Task[None] | None = None
        self._refusal: str | None = None
        self._on_commit: list[Callable[[Sequence[Recorded]], None]] = []
        self._on_failure: list[Callable[[Unavailable], None]] = []

    def on_commit(self, listener: Callable[[Sequence[Recorded]], None]) -> Callable[[], None]:
        """Add a listener; the function returned removes it."""
        # A copy each time: a commit in progress goes on over the list it started with.
        self._on_commit = [*self._on_commit, listener]

        def remove() -> None:
            self._on_commit = [other for other in self._on_commit if other is not listener]

        return remove

    def on_failure(self, listener: Callable[[Unavailable], None]) -> None:
        """Add a listener."""
        self._on_failure.append(listener)

    def put(self, job: Append | Delete) -> asyncio.Future[list[Recorded]]:
        """Queue a job; its future is returned, already failed when the queue is closed or full."""
        if self._refusal is not None:
            _fail(job.done, Unavailable(self._refusal))
        elif self._queue and (
            len(self._queue) >= QUEUE_APPENDS or self._bytes + job.size > QUEUE_BYTES
        ):
            _fail(job.done, Busy("the log is behind: too much is waiting for the disk"))
        else:
            self._queue.append(job)
            self._bytes += job.size
            if self._task is None:
                self._start()
        return job.done

    async def close(self) -> None:
        """Refuse new work and return when everything queued is committed or has failed."""
        self._refusal = self._refusal or "the log is closed"
        while self._task is not None:
            await asyncio.wait([self._task])

    def _start(self) -> None:
        self._task = spawn(
            self._run(), name="log writer", on_crash=lambda _, cause: self._end(repr(cause))
        )
        # A task cancelled before its first step never runs a line, so it cannot say so itself.
        self._task.add_done_callback(lambda done: self._end("cancelled") if done.cancelled() else 0)

    async def _run(self) -> None:
        while self._queue:
            self._batch = self._take()
            try:
                outcomes = await self._write(self._batch)
            except Unavailable as failure:
                self._fail_all(failure)
            else:
                self._announce(self._batch, outcomes)
        self._batch = ()
        self._task = None

    def _end(self, cause: str) -> None:
        """A listener raised, the store has a bug, or the task was cancelled.

        Going on could only widen the gap between memory and disk; saying nothing would leave the
        waiters hanging.
        """
        self._task = None
        self._refusal = f"the log writer ended: {cause}"
        _log.critical("%s; no append is accepted any more", self._refusal)
        self._fail_all(Unavailable(self._refusal))

    def _take(self) -> Sequence[Append | Delete]:
        first = self._queue.popleft()
        self._bytes -= first.size
        if isinstance(first, Delete):
            return [first]
        batch: list[Append] = [first]
        room = BATCH_EVENTS - len(first.events)
        while self._queue:
            job = self._queue[0]
            if isinstance(job, Delete) or len(job.events) > room:
                break
            self._queue.popleft()
            self._bytes -= job.size
            batch.append(job)
            room -= max(1, len(job.events))
        return batch

    async def _write(self, batch: Sequence[Append | Delete]) -> list[Outcome]:
        appends = [job for job in batch if isinstance(job, Append)]
        if appends:
            return await self._store.commit(appends)
        await self._store.remove(batch[0].session)
        return [[]]

    def _announce(self, batch: Sequence[Append | Delete], outcomes: list[Outcome]) -> None:
        recorded = [item for outcome in outcomes if isinstance(outcome, list) for item in outcome]
        if recorded:
            for listener in self._on_commit:
                listener(recorded)
        hit("log.acknowledge.before")
        for job, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, CommandRejected):
                _fail(job.done, outcome)
            elif not job.done.done():
                job.done.set_result(outcome)
        hit("log.acknowledge.after")

    def _fail_all(self, failure: Unavailable) -> None:
        failed = [*self._batch, *self._queue]
        self._queue.clear()
        self._bytes = 0
        try:
            for listener in self._on_failure:
                listener(failure)
        finally:
            for job in failed:
                _fail(job.done, failure)


def _fail(done: asyncio.Future[list[Recorded]], failure: Exception) -> None:
    if not done.done():
        done.set_exception(failure)
        # Looked at: a waiter that was abandoned must not make asyncio complain about the failure.
        done.exception()
