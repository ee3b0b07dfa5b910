"""Memory without a daemon: the real decisions over a log that only a test writes."""

from collections.abc import Callable, Sequence

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.sessions.decide import decide
from brainpilot_rt.sessions.memory_folds import Book, folded
from brainpilot_rt.sessions.moment import Moment, RefusedLoudly
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import SessionLimits


class MemoryAuthority:
    """Decides the commands about memory, and no other."""

    def __init__(self, log: EventLog, clock: Clock, new_id: NewId) -> None:
        self._log = log
        self._clock = clock
        self._new_id = new_id
        self.limits = SessionLimits()

    async def dispatch(
        self,
        session: SessionId,
        command: cmd.Command,
        receipt: Callable[[Sequence[ev.Event], int], Receipt | None] | None = None,
    ) -> list[ev.Recorded]:
        """Decide against what the log holds, and append."""
        state = SessionState(session=session, created_ms=1, memory=await self._book(session))
        now_ms = self._clock.now_ms()
        moment = Moment(now_ms=now_ms, new_id=self._new_id, limits=self.limits)
        try:
            events = decide(state, command, moment)
        except RefusedLoudly as loudly:
            await self._log.append(session, loudly.events)
            raise loudly.error from None
        answer = receipt(events, now_ms) if receipt is not None else None
        return await self._log.append(session, events, receipt=answer) if events else []

    async def _book(self, session: SessionId) -> Book:
        book: Book = {}
        after = 0
        while page := await self._log.read(session, after=after):
            after = page[-1].seq
            for recorded in page:
                match recorded.event:
                    case (
                        ev.MemoryAdded()
                        | ev.MemoryRemoved()
                        | ev.MemoryEvicted()
                        | ev.MemorySummarised()
                    ) as event:
                        book = folded(book, event)
                    case _:
                        pass
        return book
