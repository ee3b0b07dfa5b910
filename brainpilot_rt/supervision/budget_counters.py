"""What was spent and what is held, for every budget: the counters of `budgets.py`.

Days and months are read from the ledger at boot and followed commit by commit. Holds of calls under
way count from the moment they are made, before the log knows of them. What runs, requests and
sessions have spent is in the committed state and not here.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.governing import BudgetScope
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, LetterId, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.eventlog.ledger import SpendRow, Which, day_of, to_usd
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.manager import SessionManager

NOTHING: Final = Decimal(0)


class Place(NamedTuple):
    """Where a call belongs, and so which budgets it counts for."""

    session: SessionId
    run_id: RunId
    agent: AgentName
    root_id: LetterId | None


class Key(NamedTuple):
    """A counter."""

    scope: BudgetScope
    of: tuple[str, ...]
    """What of that scope: names and ids, or a period and perhaps an agent."""


@dataclass(slots=True)
class _Hold:
    keys: Sequence[Key]
    amount: Decimal
    day: str
    committed: bool


class Counters:
    """One for a daemon; `load` before the first call."""

    def __init__(self, log: EventLog, manager: SessionManager, clock: Clock) -> None:
        self._log = log
        self._manager = manager
        self._clock = clock
        self._spent: dict[Key, Decimal] = {}
        self._held: defaultdict[Key, Decimal] = defaultdict(Decimal)
        self._holds: dict[str, _Hold] = {}

    async def load(self) -> None:
        """Read the ledger, follow it, and end what nobody else will end."""
        while True:
            pos = self._log.head_pos
            spent, rows = await self._read(), await self._log.ledger.open_rows()
            if self._log.head_pos == pos:  # nothing was committed meanwhile
                break
        self._spent = spent
        for row in rows:
            root_id = LetterId(row.root_id) if row.root_id else None
            place = Place(row.session, RunId(row.run_id), row.agent, root_id)
            self._keep(row.reservation_id, place, to_usd(row.reserved_pico), row.day)
        self._log.on_commit(self._follow)
        for row in rows:
            await self._end_orphan(row)

    async def _read(self) -> dict[Key, Decimal]:
        today = self.today()
        spent: defaultdict[Key, Decimal] = defaultdict(Decimal)
        day = Which(since_day=today, until_day=today)
        month = Which(since_day=f"{today[:7]}-01", until_day=today)
        for which, part in ((day, slice(0, None, 2)), (month, slice(1, None, 2))):
            for one in await self._log.ledger.sums("agent", which):
                for key in periods(AgentName(one.key), today)[part]:
                    spent[key] += to_usd(one.counted_pico)
        return dict(spent)

    async def _end_orphan(self, row: SpendRow) -> None:
        """Charge a reservation that outlived its process, unless the repair of its run does."""
        where = DAEMON_STREAM
        if row.session != DAEMON_STREAM:
            try:
                state = await self._manager.load(row.session)
            except NotFound:  # the session was deleted
                state = None
            if state is not None and row.reservation_id in state.reservations:
                if row.run_id in state.runs:
                    return
                where = row.session
        charged = ev.SpendSettled(
            reservation_id=row.reservation_id,
            run_id=RunId(row.run_id),
            agent=row.agent,
            outcome="charged",
            model=ModelRef(provider=row.provider, model=row.model),
            counted_usd=to_usd(row.reserved_pico),
            estimated=True,
            reason="crash",
        )
        if row.reservation_id in self._holds:  # nobody ended it while the session was read
            await self._manager.record(where, charged)

    # --- reading --------------------------------------------------------------------------

    def today(self) -> str:
        """The day (UTC) as budgets count it."""
        return day_of(self._clock.now_ms())

    def spent(self, key: Key) -> Decimal:
        """What was spent in a day or month."""
        return self._spent.get(key, NOTHING)

    def held(self, key: Key) -> Decimal:
        """What calls under way hold."""
        return self._held.get(key, NOTHING)

    def envelope(self, place: Place) -> Key:
        """The counter of what pays for a run: what was delegated to it, or the request."""
        state = self._manager.find(place.session)
        run = state.runs.get(place.run_id) if state else None
        payer = run.task_id if state and run and run.task_id in state.tasks else None
        return Key("envelope", (place.session, place.root_id or "", payer or ""))

    # --- holding --------------------------------------------------------------------------

    def hold(self, ident: str, place: Place, amount: Decimal) -> None:
        """A call may be made: its money is gone for everybody else."""
        self._keep(ident, place, amount, self.today(), committed=False)

    def amend(self, ident: str, amount: Decimal) -> None:
        """What it holds is known better now."""
        hold = self._holds.get(ident)
        if hold is not None:
            for key in hold.keys:
                self._held[key] += amount - hold.amount
            hold.amount = amount

    def drop(self, ident: str) -> None:
        """Its events were not committed. Without effect once they are."""
        hold = self._holds.get(ident)
        if hold is not None and not hold.committed:
            self._let_go(ident)

    def _keep(
        self, ident: str, place: Place, amount: Decimal, day: str, *, committed: bool = True
    ) -> None:
        keys = (*places(place), self.envelope(place), *periods(place.agent, day))
        self._holds[ident] = _Hold(keys, amount, day, committed)
        for key in keys:
            self._held[key] += amount

    def _let_go(self, ident: str) -> _Hold | None:
        hold = self._holds.pop(ident, None)
        for key in hold.keys if hold else ():
            self._held[key] -= hold.amount if hold else NOTHING
            if not self._held[key]:
                del self._held[key]
        return hold

    # --- following ------------------------------------------------------------------------

    def _follow(self, batch: Sequence[ev.Recorded]) -> None:
        for recorded in batch:
            match recorded.event:
                case ev.SpendReserved() as asked:
                    self._reserved(recorded, asked)
                case ev.SpendSettled() as end:
                    self._settled(recorded, end)
                case _:
                    pass

    def _reserved(self, recorded: ev.Recorded, asked: ev.SpendReserved) -> None:
        hold = self._holds.get(asked.reservation_id)
        day = day_of(recorded.at_ms)
        if hold is not None and hold.day == day:
            hold.committed = True
            return
        self._let_go(asked.reservation_id)  # held before midnight, committed after it
        place = Place(recorded.session, asked.run_id, asked.agent, asked.root_id)
        self._keep(asked.reservation_id, place, asked.amount_usd, day)

    def _settled(self, recorded: ev.Recorded, end: ev.SpendSettled) -> None:
        hold = self._let_go(end.reservation_id)
        if hold is None and end.purpose is None:
            return  # a second end: the first one counted
        if end.outcome == "charged" and end.counted_usd:
            day = hold.day if hold is not None else day_of(recorded.at_ms)
            self._charge(periods(end.agent, day), end.counted_usd)

    def _charge(self, keys: Iterable[Key], counted: Decimal) -> None:
        month = self.today()[:7]
        if not any(key.of[-1].startswith(month) for key in self._spent):
            self._spent.clear()  # a month has ended: nobody asks for its days any more
        for key in keys:
            self._spent[key] = self._spent.get(key, NOTHING) + counted


def places(place: Place) -> tuple[Key, Key, Key]:
    """The counters of the run, the request and the session."""
    session = place.session
    return (
        Key("run", (session, place.run_id)),
        Key("root", (session, place.root_id or "")),
        Key("session", (session,)),
    )


def periods(agent: AgentName, day: str) -> tuple[Key, Key, Key, Key]:
    """The counters of a day and its month, of an agent and of everything."""
    return (
        Key("agent_day", (agent, day)),
        Key("agent_month", (agent, day[:7])),
        Key("global_day", (day,)),
        Key("global_month", (day[:7],)),
    )
