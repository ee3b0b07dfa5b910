"""The money of model calls: kept free before a call, charged after it, refused when it is used up.

`reserve` looks at every budget that bounds a call and keeps its estimate free in all of them in one
step without an await, so that concurrent runs never spend the same remainder. Nothing of this is
stored: it is as the log says, plus holds whose events are on their way into it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BudgetExceeded, Busy
from brainpilot_rt.domain.governing import BudgetScope, SpendPurpose
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, HostRunId, LetterId, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.ledger import to_pico, to_usd
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.budgets import Account, Refused, admit, passed, tightest, used_up
from brainpilot_rt.governance.rates import Rate, Rates
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.sessions.governing import left_of
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.mappings import changed
from brainpilot_rt.sessions.state import RootUse, SessionState
from brainpilot_rt.settings import BudgetSettings
from brainpilot_rt.supervision.budget_caps import Caps
from brainpilot_rt.supervision.budget_counters import Counters, Place, periods, places

NOTHING: Final = Decimal(0)


USED_UP: Final = Refused("run", NOTHING, NOTHING)


class Exhausted(BudgetExceeded):
    """A budget refuses a call."""

    def __init__(self, message: str, *, refused: Refused = USED_UP) -> None:
        super().__init__(message)
        self.refused = refused


class RateLimited(Busy):
    """The agent has asked its models too often; the same call may be tried again."""

    code = "rate_limited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A model call that is to be paid for."""

    session: SessionId
    """`DAEMON_STREAM`: it belongs to no session."""
    run_id: RunId
    agent: AgentName
    model: ModelRef
    amount_usd: Decimal = NOTHING
    """What it will probably cost."""
    root_id: LetterId | None = None
    host_run_id: HostRunId | None = None
    turn: int = 0
    purpose: SpendPurpose = "turn"
    free: bool = False
    """It costs nothing: nothing is reserved for it."""
    price_known: bool = True

    @property
    def place(self) -> Place:
        """Where it belongs."""
        return Place(self.session, self.run_id, self.agent, self.root_id)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that may be made. `events`: to be committed before it is."""

    reservation_id: str
    call: Call
    events: tuple[ev.SpendReserved, ...]


class Budgets:
    """What every call is asked of. One for a daemon; `load` its counters before the first call."""

    def __init__(
        self,
        log: EventLog,
        manager: SessionManager,
        caps: Caps,
        settings: BudgetSettings,
        *,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._manager = manager
        self.caps = caps
        self.counters = Counters(log, manager, clock)
        self._settings = settings
        self._clock = clock
        self._new_id = new_id
        self._rates = Rates()
        self._told: defaultdict[RunId, dict[BudgetScope, float]] = defaultdict(dict)
        """The highest part of each budget that was said of a run at work."""
        log.on_commit(self._forget)

    @property
    def refuses_unknown(self) -> bool:
        """Whether a model whose price nobody knows is not asked while a budget bounds the call."""
        return self._settings.unknown_price == "refuse"

    async def load(self) -> None:
        """Read the ledger, and end reservations of another process that nobody else will end."""
        await self.counters.load()

    def reserve(self, call: Call, *, strict: bool = False) -> Reservation:
        """Keep the money of a call free. Commit its events, or `drop` it, before anything else.

        Raises `BudgetExceeded` (`Exhausted` for a budget that is used up) or `RateLimited`.
        """
        self._refuse_if_killed()
        accounts = list(self._accounts(call.place))
        if accounts and not call.price_known and self.refuses_unknown:
            name = f"{call.model.provider}:{call.model.model}"
            raise BudgetExceeded(
                f"nobody knows the price of {name}, and a budget bounds this call; declare its "
                "`cost` in providers.json, or let unknown prices be assumed",
                code="unknown_price",
            )
        refused = admit(accounts, call.amount_usd, strict=strict)
        if refused is not None:
            raise Exhausted(refused.message, refused=refused)
        self._admit_rate(call.agent)
        ident = f"res_{self._new_id()}"
        if call.free:
            return Reservation(ident, call, ())
        amount = to_usd(to_pico(call.amount_usd))
        self.counters.hold(ident, call.place, amount)
        return Reservation(ident, call, (_reserved(ident, call, amount),))

    def check(self, agent: AgentName) -> None:
        """Raise `BudgetExceeded` when a run of an agent could not ask anything now."""
        self._refuse_if_killed()
        refused = used_up(self._periods(agent))
        if refused is not None:
            raise Exhausted(refused.message, refused=refused)

    def left(self, place: Place) -> Decimal | None:
        """What the tightest budget of a call has left, in US dollars; None: none bounds it."""
        return min((one.left for one in self._accounts(place)), default=None)

    def _refuse_if_killed(self) -> None:
        killed = self.caps.killed()
        if killed is not None:
            why = killed.get("reason") or "somebody stopped all spending"
            raise BudgetExceeded(
                f"the killswitch is on: {why}; deactivate it to go on", code="killswitch"
            )

    def drop(self, reservation: Reservation) -> None:
        """Its events could not be committed. Without effect once they are."""
        self.counters.drop(reservation.reservation_id)

    def settle(
        self,
        reservation: Reservation,
        quote: Quote,
        usage: Usage,
        *,
        model: ModelRef | None = None,
        reason: str = "",
    ) -> list[ev.Event]:
        """What to commit when the call was made: its charge, and what is nearly or wholly spent.

        `model`: the one that answered. `reason`: why its usage is not that of a whole answer.
        """
        call = reservation.call
        counted = to_usd(to_pico(quote.counted_usd))
        self.counters.amend(reservation.reservation_id, counted)
        settled = ev.SpendSettled(
            reservation_id=reservation.reservation_id,
            run_id=call.run_id,
            agent=call.agent,
            outcome="charged",
            model=model or call.model,
            usage=usage,
            cost_usd=quote.cost_usd,
            counted_usd=counted,
            estimated=quote.estimated or usage.estimated,
            reason=reason,
        )
        if not call.free:
            return [settled, *self._warnings(call, counted)]
        alone = {
            "purpose": call.purpose,
            "root_id": call.root_id,
            "host_run_id": call.host_run_id,
            "turn": call.turn,
        }
        return [settled.model_copy(update=alone)]

    def release(self, reservation: Reservation, reason: str) -> list[ev.Event]:
        """What to commit when the call was not made after all: it costs nothing."""
        call = reservation.call
        if call.free:
            return []
        return [
            ev.SpendSettled(
                reservation_id=reservation.reservation_id,
                run_id=call.run_id,
                agent=call.agent,
                outcome="released",
                model=call.model,
                reason=reason,
            )
        ]

    def exhausted(self, call: Call) -> Refused | None:
        """The budget of such a call that is spent: nothing more may be started for its run."""
        return used_up(self._accounts(call.place))

    def refusal(self, call: Call, refused: Refused) -> list[ev.Event]:
        """What to commit when a call was refused; nothing when it was said of this run already."""
        told = self._told[call.run_id]
        if told.get(refused.scope, 0.0) >= 1:
            return []
        told[refused.scope] = 1.0
        return [_exhausted(call, refused)]

    def _warnings(self, call: Call, counted: Decimal) -> Iterator[ev.Event]:
        for one in self._accounts(call.place):
            told = self._told.get(call.run_id, {}).get(one.scope, 0.0)
            after = Account(one.scope, one.cap, one.spent + counted)
            part = passed(after, self._settings.warn_at, told)
            if part is None:
                continue
            self._told[call.run_id][one.scope] = part
            if part >= 1:
                yield _exhausted(call, Refused(one.scope, after.spent, after.cap))
            else:
                yield _warned(call, after, part)

    def _admit_rate(self, agent: AgentName) -> None:
        rpm = self.caps.rpm(agent)
        if rpm is None:
            return
        wait_s = self._rates.admit({agent: Rate(rpm, rpm)}, self._clock.monotonic())
        if wait_s:
            message = f"agent {agent!r} may ask a model {rpm} times a minute"
            raise RateLimited(message, retry_after_s=wait_s)

    def _forget(self, batch: Sequence[ev.Recorded]) -> None:
        for recorded in batch:
            match recorded.event:
                case ev.RunFinished(run_id=run_id) | ev.RunInterrupted(run_id=run_id):
                    self._told.pop(run_id, None)
                case ev.SpendSettled(run_id=run_id) if recorded.session == DAEMON_STREAM:
                    self._told.pop(run_id, None)
                case _:
                    pass

    # --- what bounds a call ---------------------------------------------------------------

    def _accounts(self, place: Place) -> Iterator[Account]:
        """Every budget that bounds a call made there, the narrowest first."""
        state = self._manager.find(place.session)
        if state is not None:
            yield from self._inside(state, place)
        yield from self._periods(place.agent)

    def _periods(self, agent: AgentName) -> Iterator[Account]:
        """Of the agent and of everything, today and in this month."""
        for key in periods(agent, self.counters.today()):
            cap = self.caps.of(key.scope, agent)
            if cap is not None:
                spent, held = self.counters.spent(key), self.counters.held(key)
                yield Account(key.scope, cap, spent, held)

    def _inside(self, state: SessionState, place: Place) -> Iterator[Account]:
        """Of the run, the request with what it handed on, and the session."""
        run = state.runs.get(place.run_id)
        use = state.roots.get(place.root_id, RootUse()) if place.root_id else RootUse()
        run_key, root_key, session_key = places(place)
        bounds = (
            (run_key, None, run.spent_usd if run else NOTHING),
            (root_key, use.cap_usd, use.spent_usd),
            (session_key, state.cap_usd, state.spent_usd),
        )
        for key, own, spent in bounds:
            cap = tightest(self.caps.of(key.scope, place.agent), own)
            if cap is not None:
                yield Account(key.scope, cap, spent, self.counters.held(key))
        if place.root_id is not None:
            task = state.tasks.get(run.task_id) if run is not None and run.task_id else None
            payer = use if task is None else task
            if payer.cap_usd is None:
                return
            # Without what the log knows to be reserved: the counters have that and more.
            calm = changed(state, reservations={})
            left = left_of(calm, place.root_id, task.task_id if task else None)
            if left is not None:
                held = self.counters.held(self.counters.envelope(place))
                handed_on = payer.cap_usd - payer.spent_usd - left
                scope = "root" if task is None else "envelope"
                yield Account(scope, payer.cap_usd, payer.spent_usd, handed_on + held)


def _reserved(ident: str, call: Call, amount: Decimal) -> ev.SpendReserved:
    return ev.SpendReserved(
        reservation_id=ident,
        run_id=call.run_id,
        agent=call.agent,
        root_id=call.root_id,
        host_run_id=call.host_run_id,
        turn=call.turn,
        purpose=call.purpose,
        model=call.model,
        amount_usd=amount,
    )


def _warned(call: Call, account: Account, part: float) -> ev.BudgetWarned:
    return ev.BudgetWarned(
        run_id=call.run_id,
        agent=call.agent,
        turn=call.turn,
        scope=account.scope,
        threshold=part,
        spent_usd=account.spent,
        cap_usd=account.cap,
    )


def _exhausted(call: Call, refused: Refused) -> ev.BudgetExhausted:
    return ev.BudgetExhausted(
        run_id=call.run_id,
        agent=call.agent,
        turn=call.turn,
        scope=refused.scope,
        spent_usd=refused.spent,
        cap_usd=refused.cap,
    )
