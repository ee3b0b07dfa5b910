"""SessionManager: the one authority on the state of every session.

Each command is decided and put into the log's queue in one synchronous step, against the *pending*
state (what will be true once everything queued is committed). The *committed* state follows the
log's commits and is the only one anybody else can see: commit -> evolve -> publish -> acknowledge.
When the log refuses a commit, everything decided on top of it is refused too, and the pending
state falls back to the committed one. No lock is held over an await, so independent agents of one
session share a commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.commands import Command, Evict, FinishRun, Interrupt
from brainpilot_rt.domain.errors import CommandRejected, Unavailable, unknown_session
from brainpilot_rt.domain.events import (
    Event,
    Recorded,
    SessionCreated,
    SessionUpdated,
    TextFinished,
)
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, SessionId
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.sessions.decide import decide
from brainpilot_rt.sessions.evolve import evolve
from brainpilot_rt.sessions.fence import admit
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.moment import Moment, RefusedLoudly
from brainpilot_rt.sessions.schedule import follow_ups
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import SessionLimits

_T = TypeVar("_T")

FOLLOW_UPS_MAX = 10_000
"""More follow-ups than this in one commit is a defect in `schedule`, not a busy session."""


class Redact(Protocol):
    """Takes the secrets out of a command or an event."""

    def __call__(self, value: _T, /) -> _T:
        """The value without secrets; the very same one when it holds none."""
        ...


def _as_it_is(value: _T, /) -> _T:
    return value


class _Slot:
    """One session in memory.

    `coming`: every event that is on its way to the log, with the state after it.
    """

    __slots__ = ("busy", "coming", "committed", "pending")

    def __init__(self, state: SessionState) -> None:
        self.committed = state
        self.pending = state
        self.coming: deque[tuple[Event, SessionState]] = deque()
        self.busy: bool | None = None

    def arrive(self, recorded: Recorded) -> None:
        """An event was committed: the state that was computed for it becomes the truth."""
        while self.coming and self.coming[0][0] is not recorded.event:
            self.coming.popleft()  # refused by the log; `refused` computes the rest anew
        expected = self.coming.popleft()[1] if self.coming else None
        if expected is not None and expected.seq == recorded.seq:
            self.committed = expected
        else:
            self.committed = evolve(self.committed, recorded)
        if not self.coming:
            self.pending = self.committed

    def refused(self, events: Sequence[Event]) -> None:
        """The log refused one append and nothing else: what was decided on top of it stays."""
        gone = {id(event) for event in events}
        still = [event for event, _ in self.coming if id(event) not in gone]
        self.fall_back()
        for event in still:
            seq = self.pending.seq + 1
            place = Recorded(self.pending.session, seq, 0, self.pending.last_ms, event)
            self.pending = evolve(self.pending, place)
            self.coming.append((event, self.pending))

    def fall_back(self) -> None:
        """What was on its way will not come."""
        self.coming.clear()
        self.pending = self.committed
        self.busy = None


class SessionManager:
    """Serialises decisions, appends, evolves, publishes. Nothing else changes a session."""

    def __init__(  # noqa: PLR0913 - all a decision may depend on
        self,
        log: EventLog,
        hub: Hub,
        *,
        clock: Clock,
        new_id: NewId,
        limits: SessionLimits,
        redact: Redact = _as_it_is,
        members: Mapping[AgentName, str] | None = None,
    ) -> None:
        """`redact`: what commands and reported facts become before anything is made of them.

        `members`: agents known in every session beside the seven, with their descriptions.
        """
        self._log = log
        self._hub = hub
        self._clock = clock
        self._new_id = new_id
        self._limits = limits
        self.redact = redact
        nobody: Mapping[AgentName, str] = {}
        self._members = nobody if members is None else members  # an empty one may fill
        self._slots: dict[SessionId, _Slot] = {}
        self._loading: dict[SessionId, asyncio.Event] = {}
        self._deleting: set[SessionId] = set()
        log.on_commit(self._committed)
        log.on_failure(self._failed)

    # --- reading --------------------------------------------------------------------------

    def find(self, session: SessionId) -> SessionState | None:
        """The committed state of a session, if it is in memory."""
        slot = self._slots.get(session)
        return slot.committed if slot is not None and slot.committed.exists else None

    def __len__(self) -> int:
        """Sessions in memory."""
        return len(self._slots) - (DAEMON_STREAM in self._slots)

    def resident(self) -> list[SessionState]:
        """Committed states of the sessions in memory."""
        return [slot.committed for slot in self._slots.values() if slot.committed.exists]

    def state(self, session: SessionId) -> SessionState:
        """The committed state of a session in memory; `NotFound` otherwise."""
        state = self.find(session)
        if state is None:
            raise unknown_session(session)
        return state

    def moment(self) -> Moment:
        """Now, as decisions see it."""
        return Moment(
            now_ms=self._clock.now_ms(),
            new_id=self._new_id,
            limits=self._limits,
            members=self._members,
        )

    async def load(self, session: SessionId) -> SessionState:
        """The committed state, read from the log if it is not in memory; `NotFound` if unknown."""
        await self._slot(session)
        return self.state(session)

    # --- changing -------------------------------------------------------------------------

    def begin(self, session: SessionId) -> None:
        """A session whose id was made a moment ago: the log can hold nothing of it to be read."""
        self._slots[session] = _Slot(SessionState(session=session))

    async def dispatch(
        self,
        session: SessionId,
        command: Command,
        receipt: Callable[[Sequence[Event], int], Receipt | None] | None = None,
    ) -> list[Recorded]:
        """Decide a command and return its committed events, what followed from them included.

        `receipt` builds the durable answer stored in the same commit, from the events and the time
        (Unix milliseconds) they carry. A caller cancelled while it waits is cancelled after the
        commit: accepted is accepted.
        """
        if session in self._deleting and not isinstance(command, _ENDING):
            raise unknown_session(session)
        slot = await self._slot(session)
        moment = self.moment()
        try:
            events = decide(slot.pending, self.redact(command), moment)
        except RefusedLoudly as refused:
            if refused.events:
                await finish_shielded(self._append(slot, refused.events, moment, None))
            raise refused.error from None
        answer = receipt(events, moment.now_ms) if receipt is not None else None
        return await finish_shielded(self._append(slot, events, moment, answer))

    async def record(self, session: SessionId, *events: Event) -> list[Recorded]:
        """Append facts our own workers report; `Conflict(fenced)` from a run that has ended.

        What says again that a call or a question has ended is left out.
        """
        slot = await self._slot(session)
        facts = [self.redact(event) for event in admit(slot.pending, events)]
        if not facts:
            return []
        return await finish_shielded(self._append(slot, facts, self.moment(), None))

    async def amend(
        self,
        session: SessionId,
        change: Callable[[SessionState, Moment], list[Event]],
        *,
        follow: bool = True,
    ) -> list[Recorded]:
        """Append what a pure function makes of the pending state (recovery, the end of a stop).

        `follow` False: and nothing else, as long as there are no workers.
        """
        slot = await self._slot(session)
        moment = self.moment()
        events = change(slot.pending, moment)
        if not events:
            return []
        return await finish_shielded(self._append(slot, events, moment, None, follow=follow))

    def forget(self, session: SessionId) -> None:
        """Drop a session from memory; its log stays. Not while something is in flight."""
        slot = self._slots.get(session)
        if slot is not None and not slot.coming:
            del self._slots[session]

    @contextmanager
    def deleting(self, session: SessionId) -> Generator[None]:
        """Within the block nobody can begin anything in this session, nor read it from the log."""
        self._deleting.add(session)
        try:
            yield
            self.forget(session)
        finally:
            self._deleting.discard(session)

    # --- the way of every change ----------------------------------------------------------

    def _append(
        self,
        slot: _Slot,
        events: list[Event],
        moment: Moment,
        receipt: Receipt | None,
        *,
        follow: bool = True,
    ) -> Awaitable[list[Recorded]]:
        session = slot.pending.session
        batch, states = self._complete(slot.pending, events, moment, follow=follow)
        if not batch and receipt is None:
            return _nothing()
        after = states[-1] if states else slot.pending
        title = after.title if _titled(batch) else None
        busy = after.busy if after.busy != slot.busy else None
        hit("session.append.before")
        done = self._log.append(
            session, batch, title=title, busy=busy, receipt=receipt, at_ms=moment.now_ms
        )
        if isinstance(done, asyncio.Future) and done.done():
            return done  # refused at once: nothing is on its way
        slot.pending = after
        slot.busy = after.busy
        slot.coming.extend(zip(batch, states, strict=True))
        if receipt is not None and isinstance(done, asyncio.Future):
            done.add_done_callback(partial(self._look_again, slot, batch))
        return done

    def _look_again(
        self, slot: _Slot, batch: list[Event], done: asyncio.Future[list[Recorded]]
    ) -> None:
        """A receipt whose key was taken is refused alone; the rest must not stand on it."""
        refused = not done.cancelled() and isinstance(done.exception(), CommandRejected)
        if refused and self._slots.get(slot.pending.session) is slot:
            slot.refused(batch)
            self._append(slot, follow_ups(slot.pending, self.moment()), self.moment(), None)

    def _complete(
        self, state: SessionState, events: list[Event], moment: Moment, *, follow: bool
    ) -> tuple[list[Event], list[SessionState]]:
        """All events of one commit, what follows by itself included, and the state after each."""
        batch: list[Event] = []
        states: list[SessionState] = []
        more = events or (follow_ups(state, moment) if follow and state.exists else [])
        while more:
            for event in more:
                whole = _with_start(state, event)
                place = Recorded(state.session, state.seq + 1, 0, moment.now_ms, whole)
                state = evolve(state, place)
                batch.append(whole)
                states.append(state)
            if len(batch) > FOLLOW_UPS_MAX:
                raise RuntimeError(f"follow-ups of {state.session} do not end: {more[0].type}")
            more = follow_ups(state, moment) if follow else []
        return batch, states

    def _committed(self, batch: Sequence[Recorded]) -> None:
        hit("session.publish.before")
        for recorded in batch:
            slot = self._slots.get(recorded.session)
            if slot is not None:
                slot.arrive(recorded)
            self._hub.publish(recorded)
        hit("session.publish.after")

    def _failed(self, _fault: Unavailable) -> None:
        for slot in self._slots.values():
            if slot.coming:
                slot.fall_back()

    async def _slot(self, session: SessionId) -> _Slot:
        """The session's slot, loaded once however many ask."""
        while session in self._loading:
            await self._loading[session].wait()
        slot = self._slots.get(session)
        if slot is not None:
            return slot
        if session in self._deleting:
            raise unknown_session(session)
        loaded = self._loading[session] = asyncio.Event()
        try:
            state = SessionState(session=session)
            if session != DAEMON_STREAM:
                state = await self._replay(state)
            return self._slots.setdefault(session, _Slot(state))
        finally:
            del self._loading[session]
            loaded.set()

    async def _replay(self, state: SessionState) -> SessionState:
        while page := await self._log.read(state.session, after=state.seq):
            for recorded in page:
                state = evolve(state, recorded)
        return state


def _titled(batch: list[Event]) -> bool:
    return any(isinstance(event, SessionCreated | SessionUpdated) for event in batch)


def _with_start(state: SessionState, event: Event) -> Event:
    """A text that ends in the commit it began in learns here where it began."""
    if not isinstance(event, TextFinished) or event.started_seq:
        return event
    run = state.runs.get(event.run_id)
    if run is None or event.message_id not in run.texts:
        return event
    return event.model_copy(update={"started_seq": run.texts[event.message_id][0]})


def _nothing() -> asyncio.Future[list[Recorded]]:
    done: asyncio.Future[list[Recorded]] = asyncio.get_running_loop().create_future()
    done.set_result([])
    return done


_ENDING = (Interrupt, FinishRun, Evict)
"""Commands that end what a session still does."""
