"""What registered agents may spend, and how often they may be asked.

An agent's cap is the tightest of its profile and its limits, less what it has delegated. A
delegate's share is its own whole budget: it is not taken from a record of whoever gave it, it
counts against that one for as long as the delegate lives and to the end of the day, or month, in
which it ended. So giving is one write, and what comes back can not be spent twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import BudgetExceeded, Busy, NotFound
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.times import iso
from brainpilot_rt.eventlog.ledger import Ledger, Which, day_of, to_usd
from brainpilot_rt.governance.budgets import tightest, usd_in, usual
from brainpilot_rt.governance.rates import Rate, Rates
from brainpilot_rt.supervision.agent_records import RPM, counts_until
from brainpilot_rt.supervision.records import Records

LIMIT: Final = "agent_limit"
AGENT: Final = "agent"
KEPT_USD: Final = Decimal("0.01")
"""Least an agent keeps of what it delegates from."""
_NOTHING: Final = Decimal(0)
_DAYS: Final = 7
_MS_A_DAY: Final = 86_400_000


class Limits(BaseModel):
    """What is enforced beside the profile; None: nothing beside it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    daily_usd: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=12)] | None = None
    rpm: Annotated[int, Field(ge=1, le=100_000)] | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """A period of an agent's money. None as limit: no bound."""

    period: str
    usd: Decimal
    limit: Decimal | None

    def json(self) -> dict[str, Any]:
        """As it is shown."""
        left = None if self.limit is None else float(max(self.limit - self.usd, _NOTHING))
        limit = None if self.limit is None else float(self.limit)
        spent = {"spent_usd": float(self.usd), "limit_usd": limit, "remaining_usd": left}
        return {**spent, "period_key": self.period}


class AgentLimits:
    """Caps and rates of registered agents."""

    def __init__(self, records: Records, ledger: Ledger, clock: Clock) -> None:
        self._records = records
        self._ledger = ledger
        self._clock = clock
        self._rates = Rates()

    def caps(self, agent: AgentName) -> tuple[Decimal | None, Decimal | None]:
        """What an agent may spend in a day and in a month; None: no bound, also of a stranger."""
        body = self._records.get(AGENT, agent)
        if body is None:
            return None, None
        day = tightest(usd_in(body, "budgetDailyUsd"), usd_in(self._limits(agent), "dailyUsd"))
        month = usd_in(body, "budgetMonthlyUsd")
        today = day_of(self._clock.now_ms())
        return (
            None if day is None else max(day - self._given(agent, today), _NOTHING),
            None if month is None else max(month - self._given(agent, today[:7]), _NOTHING),
        )

    def _given(self, agent: AgentName, period: str) -> Decimal:
        """What its delegates hold of its budget in a period, the day or the month."""
        now_ms = self._clock.now_ms()
        held = _NOTHING
        for body in self._records.of(AGENT).values():
            if body.get("parentAgentId") == agent:
                until = counts_until(body, now_ms)
                if until is None or until[: len(period)] >= period:
                    held += usd_in(body, "budgetMonthlyUsd") or _NOTHING
        return held

    async def spent(self, agent: AgentName) -> tuple[Spent, Spent]:
        """Today's and this month's money, open reservations included."""
        day, month = self.caps(agent)
        today = day_of(self._clock.now_ms())
        first = f"{today[:7]}-01"
        used = [
            await self._used(Which(agent=agent, since_day=since, until_day=today))
            for since in (today, first)
        ]
        return Spent(today, used[0], day), Spent(today[:7], used[1], month)

    async def _used(self, which: Which) -> Decimal:
        sums = await self._ledger.sums("all", which)
        return sum((to_usd(one.counted_pico + one.reserved_pico) for one in sums), _NOTHING)

    def admit(self, agent: AgentName) -> None:
        """Count a run that is asked for; `Busy` when there were too many."""
        rpm = self._rpm(agent)
        wait_s = self._rates.admit({agent: Rate(rpm, rpm)}, self._clock.monotonic())
        if wait_s:
            raise Busy(
                f"agent {agent!r} is asked for more than {rpm} runs a minute", retry_after_s=wait_s
            )

    async def can_give(self, agent: AgentName, amount: Decimal) -> None:
        """Raise when an agent can not delegate so much and keep anything."""
        for one in await self.spent(agent):
            if one.limit is not None and one.limit - one.usd - amount < KEPT_USD:
                left = max(one.limit - one.usd, _NOTHING)
                raise BudgetExceeded(
                    f"agent {agent!r} has {left} USD left in {one.period} and keeps at least "
                    f"{KEPT_USD} USD; {amount} USD can not be delegated"
                )

    async def anomaly(self, agent: AgentName) -> dict[str, Any]:
        """Today's spend beside that of the days before it."""
        now_ms = self._clock.now_ms()
        today, first = day_of(now_ms), day_of(now_ms - _DAYS * _MS_A_DAY)
        which = Which(agent=agent, since_day=first, until_day=today)
        by_day = {
            one.key: to_usd(one.counted_pico) for one in await self._ledger.sums("day", which)
        }
        days = [by_day.get(day_of(now_ms - n * _MS_A_DAY), _NOTHING) for n in range(1, _DAYS + 1)]
        mean, spread = usual(days)
        score = None if not spread else float((by_day.get(today, _NOTHING) - mean) / spread)
        return {"z_score": score, "mean_daily_usd": float(mean), "days": _DAYS}

    # --- the limits themselves --------------------------------------------------------------

    def of(self, agent: AgentName) -> dict[str, Any]:
        """What is enforced for an agent."""
        day, _ = self.caps(agent)
        return {
            "agent_id": agent,
            "daily_usd": None if day is None else float(day),
            "rpm": self._rpm(agent),
            "updated_at": self._limits(agent).get("updatedAt"),
        }

    async def put(self, agent: AgentName, limits: Limits) -> dict[str, Any]:
        """Enforce something beside the profile."""
        stamp = iso(self._clock.now_ms())
        daily = None if limits.daily_usd is None else float(limits.daily_usd)
        body = {"agentId": agent, "dailyUsd": daily, "rpm": limits.rpm, "updatedAt": stamp}
        await self._records.put(LIMIT, agent, body)
        return self.of(agent)

    async def drop(self, agent: AgentName) -> None:
        """Enforce nothing beside the profile any more."""
        if not await self._records.delete(LIMIT, agent):
            raise NotFound(f"agent {agent!r} has no limits beside its profile", code="no_limits")

    def _limits(self, agent: AgentName) -> Mapping[str, Any]:
        return self._records.get(LIMIT, agent) or {}

    def _rpm(self, agent: AgentName) -> int:
        return int(self._limits(agent).get("rpm") or RPM)
