"""Everything that governs: records, money, routing, guardrails, tools and approvals, put together.

Nothing here decides; it is what runs are wired from, built once (`daemon/build.py`).
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRef, ModelRequest
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.rates import Rates
from brainpilot_rt.models.estimates import Expected
from brainpilot_rt.models.prices import Assumed, Prices
from brainpilot_rt.models.providers import Providers
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import BudgetSettings, GuardSettings, RoutingSettings
from brainpilot_rt.supervision.approvals import Approvals
from brainpilot_rt.supervision.budget_caps import AgentCaps, Caps
from brainpilot_rt.supervision.budgets import Budgets
from brainpilot_rt.supervision.calls import Calls
from brainpilot_rt.supervision.guarding import ExternalGuards, Guards
from brainpilot_rt.supervision.money import Money
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.routing import Router
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.toolgate import Governor


@dataclass(frozen=True, slots=True, kw_only=True)
class Governing:
    """What governs runs."""

    records: Records
    approvals: Approvals
    guards: Guards
    budgets: Budgets
    router: Router
    calls: Calls
    governor: Governor

    async def load(self) -> None:
        """Read what the log knows of money. The records were read before."""
        await self.budgets.load()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What governing stands on."""

    log: EventLog
    manager: SessionManager
    records: Records
    approvals: Approvals
    secrets: Secrets
    clock: Clock
    new_id: NewId
    stream: Callable[[ModelRequest], AsyncIterator[ModelEvent]]
    providers: Callable[[], Providers]
    is_free: Callable[[ModelRef], bool]
    agent_caps: AgentCaps
    definition_now: Callable[[SessionId, str], str | None]
    """Digest of a foreign tool of a session as it is now."""
    external: ExternalGuards | None = None


def govern(
    on: Grounds, budgets: BudgetSettings, routing: RoutingSettings, guard: GuardSettings
) -> Governing:
    """Put it together; `load` it before the first call."""
    assumed = Assumed(budgets.assumed_input_usd, budgets.assumed_output_usd)
    money = Money(
        budgets=Budgets(
            on.log,
            on.manager,
            Caps(budgets, on.records, on.agent_caps),
            budgets,
            clock=on.clock,
            new_id=on.new_id,
        ),
        prices=Prices(assumed),
        providers=on.providers,
        expected=Expected(),
        is_free=on.is_free,
    )
    guards = Guards(on.records, guard, on.external)
    router = Router(on.providers, money.quote, routing, on.log, on.clock)
    return Governing(
        records=on.records,
        approvals=on.approvals,
        guards=guards,
        budgets=money.budgets,
        router=router,
        calls=Calls(
            stream=on.stream,
            router=router,
            money=money,
            guards=guards,
            monotonic=on.clock.monotonic,
        ),
        governor=Governor(
            manager=on.manager,
            records=on.records,
            approvals=on.approvals,
            guards=guards,
            secrets=on.secrets,
            clock=on.clock,
            settings=guard,
            rates=Rates(),
            definition_now=on.definition_now,
        ),
    )
