"""Budgets as they are shown and changed from outside. Amounts are floats here: it is the wire."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.eventlog.ledger import GroupBy, Ledger, SpendRow, SpendSum, Which, to_usd
from brainpilot_rt.governance.budgets import WINDOW_DAYS, forecast
from brainpilot_rt.supervision.budget_counters import Key, periods
from brainpilot_rt.supervision.budgets import Budgets
from brainpilot_rt.supervision.records import Records

By: TypeAlias = Literal[
    "summary",
    "by-model",
    "by-provider",
    "by-agent",
    "by-session",
    "by-day",
    "by-purpose",
    "by-cost-center",
    "by-owner",
]
_WHO: Final = "local"
"""There is one tenant, and one key."""
_SINCE: Final[Mapping[str, Callable[[date], date | None]]] = {
    "day": lambda today: today,
    "week": lambda today: today - timedelta(days=6),
    "month": lambda today: today.replace(day=1),
    "all": lambda _: None,
}
_GROUPS: Final[Mapping[By, GroupBy]] = {
    "summary": "model",
    "by-model": "model",
    "by-provider": "provider",
    "by-agent": "agent",
    "by-session": "session",
    "by-day": "day",
    "by-purpose": "purpose",
    "by-cost-center": "agent",
    "by-owner": "agent",
}
_OF_PROFILE: Final[Mapping[By, str]] = {"by-cost-center": "costCenter", "by-owner": "ownerId"}
_NOBODY: Final = "none"
"""Cost centre or owner of an agent that has none."""


class BudgetViews:
    """Budgets as JSON has them."""

    def __init__(self, budgets: Budgets, ledger: Ledger, records: Records, clock: Clock) -> None:
        self._budgets = budgets
        self._ledger = ledger
        self._records = records
        self._clock = clock

    def status(self, agent: AgentName | None = None) -> dict[str, Any]:
        """Spent and left today and in this month, of an agent or of everything."""
        day, month = self._periods(agent)
        return {
            "tenant_id": _WHO,
            "key_id": _WHO if agent is None else agent,
            "daily": day,
            "monthly": month,
            "killswitch": self.killswitch()["active"],
        }

    def _periods(self, agent: AgentName | None) -> tuple[dict[str, Any], dict[str, Any]]:
        keys = periods(agent or AgentName(""), self._budgets.counters.today())
        day, month = keys[2:] if agent is None else keys[:2]
        return self._period(day, agent), self._period(month, agent)

    def _period(self, key: Key, agent: AgentName | None) -> dict[str, Any]:
        cap = self._budgets.caps.of(key.scope, agent or AgentName(""))
        spent = self._budgets.counters.spent(key)
        return {
            "spent_usd": float(spent),
            "reserved_usd": float(self._budgets.counters.held(key)),
            "limit_usd": None if cap is None else float(cap),
            "remaining_usd": None if cap is None else float(max(cap - spent, Decimal(0))),
            "period_key": key.of[-1],
        }

    async def forecast(self) -> dict[str, Any]:
        """What the month will come to."""
        today = self._budgets.counters.today()
        first = date.fromisoformat(today) - timedelta(days=WINDOW_DAYS)
        which = Which(since_day=min(first.isoformat(), f"{today[:7]}-01"), until_day=today)
        daily = {one.key: to_usd(one.counted_pico) for one in await self._ledger.sums("day", which)}
        cap = self._budgets.caps.of("global_month", AgentName(""))
        seen = forecast(daily, today, cap)
        return {
            "avgDailySpendUsd": float(seen.average_daily),
            "projectedPeriodSpendUsd": float(seen.projected),
            "limitUsd": None if cap is None else float(cap),
            "depletionDate": seen.depletion,
            "daysRemaining": seen.days_remaining,
            "trend": seen.trend,
            "confidence": seen.confidence,
            "anomalies": [
                {"date": one.day, "spendUsd": float(one.spent), "zScore": round(one.z_score, 2)}
                for one in seen.anomalies
            ],
        }

    async def agents(self) -> dict[str, Any]:
        """Every agent that has spent in this month, is registered, or has bounds of its own."""
        today = self._budgets.counters.today()
        spenders = await self._ledger.sums("agent", Which(since_day=f"{today[:7]}-01"))
        names = {one.key for one in spenders} | set(self._records.of("agent"))
        names |= self._budgets.caps.limited()
        listed = [self.agent(AgentName(name)) for name in sorted(names)]
        return {"agents": listed, "total": len(listed)}

    def agent(self, agent: AgentName) -> dict[str, Any]:
        """The bounds of one agent, and what it has spent."""
        caps, (day, month) = self._budgets.caps, self._periods(agent)
        bounds = {
            "perDayUsd": caps.of("agent_day", agent),
            "perMonthUsd": caps.of("agent_month", agent),
            "perConversationUsd": caps.of("session", agent),
            "perRunUsd": caps.of("run", agent),
        }
        amounts = {name: None if cap is None else float(cap) for name, cap in bounds.items()}
        rest = {"rpm": caps.rpm(agent), "action": "stop", "daily": day, "monthly": month}
        return {"agentId": agent, **amounts, **rest}

    async def limit(self, agent: AgentName | None, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Set bounds of an agent, or of everything; as they are then."""
        await self._budgets.caps.put(agent, changes)
        return self.status() if agent is None else self.agent(agent)

    async def usage(self, period: str, by: By) -> dict[str, Any]:
        """Calls, tokens and money of a period, together and by something."""
        if period not in _SINCE:
            raise BadRequest(f"period: one of {', '.join(_SINCE)}")
        today = self._budgets.counters.today()
        since = _SINCE[period](date.fromisoformat(today))
        which = Which(since_day=since.isoformat() if since else None, until_day=today)
        sums = await self._ledger.sums(_GROUPS[by], which)
        return {
            "period": period,
            "since": which.since_day,
            "until": today,
            **_totals(sums),
            "data": [{"key": key, **_totals(group)} for key, group in self._grouped(sums, by)],
        }

    def _grouped(self, sums: Iterable[SpendSum], by: By) -> list[tuple[str, list[SpendSum]]]:
        groups: defaultdict[str, list[SpendSum]] = defaultdict(list)
        for one in sums:
            key = one.key
            if by in _OF_PROFILE:
                profile = self._records.get("agent", one.key) or {}
                key = str(profile.get(_OF_PROFILE[by]) or _NOBODY)
            groups[key].append(one)
        return sorted(groups.items())

    async def rows(self, which: Which, after: int, limit: int) -> dict[str, Any]:
        """The ledger, page by page; `next` is the `after` of the next page."""
        rows = await self._ledger.rows(which, after=after, limit=limit)
        return {
            "rows": [_row_json(row) for row in rows],
            "next": rows[-1].number if len(rows) == limit else None,
        }

    def killswitch(self) -> dict[str, Any]:
        """Whether all spending is stopped, and why."""
        body = self._budgets.caps.killed()
        if body is None:
            return {"active": False}
        return {"active": True, "reason": body.get("reason", ""), "since_ms": body.get("since_ms")}

    async def switch(self, *, active: bool, reason: str = "") -> dict[str, Any]:
        """Stop all spending, or allow it again."""
        since_ms = self._clock.now_ms()
        await self._budgets.caps.switch({"active": active, "reason": reason, "since_ms": since_ms})
        return self.killswitch()


def _totals(sums: Iterable[SpendSum]) -> dict[str, Any]:
    listed = list(sums)
    tokens = {
        f"{name}_tokens": sum(getattr(one, name) for one in listed)
        for name in ("input", "output", "cache_read", "cache_write")
    }
    return {
        "requests": sum(one.calls for one in listed),
        "cost_usd": float(to_usd(sum(one.cost_pico for one in listed))),
        "unknown_price_requests": sum(one.unknown for one in listed),
        "counted_usd": float(to_usd(sum(one.counted_pico for one in listed))),
        "reserved_usd": float(to_usd(sum(one.reserved_pico for one in listed))),
        **tokens,
        "total_tokens": sum(tokens.values()),
    }


def _row_json(row: SpendRow) -> dict[str, Any]:
    fields = asdict(row)
    for name in ("reserved", "counted", "cost"):
        pico = fields.pop(f"{name}_pico")
        fields[f"{name}_usd"] = None if pico is None else float(to_usd(pico))
    return fields
