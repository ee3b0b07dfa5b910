"""Budgets over a log in memory, with a session at work in it."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import (
    DAEMON_STREAM,
    PRINCIPAL,
    AgentName,
    HostRunId,
    LetterId,
    MessageId,
    RunId,
    SessionId,
    TaskId,
)
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.ledger import to_usd
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import BudgetSettings, SessionLimits
from brainpilot_rt.supervision.budget_caps import AgentCaps, Caps
from brainpilot_rt.supervision.budget_counters import periods
from brainpilot_rt.supervision.budgets import Budgets, Call, Reservation
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.testing.sources import ManualClock, SequentialIds

D = Decimal
S = SessionId("s")
LIBRARIAN = AgentName("librarian")
MODEL = ModelRef(provider="p", model="m")
CHAT = Call(
    session=DAEMON_STREAM,
    run_id=RunId("chat_1"),
    agent=AgentName("chat"),
    model=MODEL,
    amount_usd=D("0.02"),
)


@dataclass
class Bank:
    """Budgets over a log in memory; `restart` is another process on the same log."""

    settings: BudgetSettings = field(default_factory=BudgetSettings)
    clock: ManualClock = field(default_factory=ManualClock)
    new_id: SequentialIds = field(default_factory=SequentialIds)
    log: MemoryEventLog = field(init=False)
    manager: SessionManager = field(init=False)
    records: Records = field(init=False)
    budgets: Budgets = field(init=False)

    def __post_init__(self) -> None:
        self.log = MemoryEventLog(clock=self.clock)

    async def open(self, agent_caps: AgentCaps | None = None, *, load: bool = True) -> "Bank":
        self.manager = SessionManager(
            self.log,
            Hub(self.clock.now_ms),
            clock=self.clock,
            new_id=self.new_id,
            limits=SessionLimits(),
        )
        self.records = Records(self.log, self.manager)
        await self.records.load()
        caps = Caps(self.settings, self.records, *([agent_caps] if agent_caps else []))
        self.budgets = Budgets(
            self.log, self.manager, caps, self.settings, clock=self.clock, new_id=self.new_id
        )
        if load:
            await self.budgets.load()
        return self

    async def ask(
        self, session: SessionId = S, limits: RunLimits | None = None, cap: str | None = None
    ) -> Call:
        """A session with a run at work; a call that it may make."""
        created = cmd.CreateSession(title="t", cap_usd=None if cap is None else D(cap))
        await self.manager.dispatch(session, created)
        own = self.new_id()
        posted = cmd.PostUserMessage(
            agent=PRINCIPAL,
            content="Go.",
            letter_id=LetterId(own),
            message_id=MessageId(f"msg_{own}"),
            host_run_id=HostRunId(f"host_{own}"),
            limits=limits,
        )
        await self.manager.dispatch(session, posted)
        return self.call_of(PRINCIPAL, session)

    def call_of(self, agent: AgentName, session: SessionId = S) -> Call:
        runs = self.manager.state(session).runs.values()
        (run,) = [one for one in runs if one.agent == agent]
        return Call(
            session=session,
            run_id=run.run_id,
            agent=agent,
            model=MODEL,
            amount_usd=D("0.1"),
            root_id=run.root_id,
            host_run_id=run.host_run_id,
        )

    async def delegate(self, budget: str) -> Call:
        own = self.new_id()
        sent = cmd.SendLetter(
            sender=PRINCIPAL,
            run_id=self.call_of(PRINCIPAL).run_id,
            to=LIBRARIAN,
            content="work",
            letter_id=LetterId(own),
            new_task_id=TaskId(f"task_{own}"),
            budget=D(budget),
        )
        await self.manager.dispatch(S, sent)
        return self.call_of(LIBRARIAN)

    async def reserve(self, call: Call, **more: Any) -> Reservation:
        reservation = self.budgets.reserve(call, **more)
        await self.manager.record(call.session, *reservation.events)
        return reservation

    async def charge(self, reservation: Reservation, usd: str) -> list[ev.Event]:
        """The call came to this; what was said beside its charge."""
        events = self.budgets.settle(reservation, Quote(D(usd), D(usd)), Usage(input=1))
        await self.manager.record(reservation.call.session, *events)
        return events[1:]

    async def spend(self, call: Call, usd: str) -> list[ev.Event]:
        return await self.charge(await self.reserve(call), usd)

    def counted(self, agent: AgentName = PRINCIPAL) -> list[Decimal]:
        """Of the agent's day and month, then everything's."""
        counters = self.budgets.counters
        return [counters.spent(key) for key in periods(agent, counters.today())]

    def held(self, agent: AgentName = PRINCIPAL) -> Decimal:
        counters = self.budgets.counters
        return counters.held(periods(agent, counters.today())[0])

    async def agree(self) -> None:
        """What is counted in memory is what the ledger says."""
        today = self.budgets.counters.today()
        days = {one.key: one for one in await self.log.ledger.sums("day")}
        everything = self.counted()[2]
        assert everything == (to_usd(days[today].counted_pico) if today in days else 0)


async def bank(**settings: Any) -> Bank:
    return await Bank(settings=BudgetSettings(**settings)).open()
