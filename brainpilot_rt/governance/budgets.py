"""Budgets as numbers: what is admitted, what is nearly used up, what the month will come to. Pure.

The rule of the crossing turn: a call is refused when nothing is left, what calls under way hold
included. The call that crosses a cap was admitted, so it is made and paid for; nothing starts after
it. Only `strict` refuses a call whose estimate does not fit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from brainpilot_rt.domain.governing import BudgetScope

NOTHING: Final = Decimal(0)
_NAMES: Final[Mapping[BudgetScope, str]] = {
    "run": "this run",
    "root": "this request with all that follows from it",
    "envelope": "what was delegated",
    "session": "this session",
    "agent_day": "this agent today (UTC)",
    "agent_month": "this agent in this month (UTC)",
    "global_day": "everything today (UTC)",
    "global_month": "everything in this month (UTC)",
}
_WAYS_OUT: Final[Mapping[BudgetScope, str]] = {
    "run": "ask again, or raise `budgets.run_usd`",
    "root": "ask again with a larger budget",
    "envelope": "delegate again with a larger budget",
    "session": "raise the session's budget, or begin another session",
    "agent_day": "raise the agent's daily budget, or wait for midnight",
    "agent_month": "raise the agent's monthly budget, or wait for the next month",
    "global_day": "raise the daily budget, or wait for midnight",
    "global_month": "raise the monthly budget, or wait for the next month",
}


@dataclass(frozen=True, slots=True)
class Account:
    """A budget that bounds a call, as it stands. US dollars."""

    scope: BudgetScope
    cap: Decimal
    spent: Decimal
    held: Decimal = NOTHING
    """Kept free for calls under way, or handed on to delegations."""

    @property
    def left(self) -> Decimal:
        """What may still be spent; below 0 after a crossing."""
        return self.cap - self.spent - self.held


@dataclass(frozen=True, slots=True)
class Refused:
    """The budget that refuses a call, and what to do about it."""

    scope: BudgetScope
    spent: Decimal
    cap: Decimal
    held: Decimal = NOTHING

    @property
    def message(self) -> str:
        """For people."""
        held = f", {dollars(self.held)} are held by calls under way" if self.held > 0 else ""
        return (
            f"the budget of {_NAMES[self.scope]} is used up: {dollars(self.spent)} of "
            f"{dollars(self.cap)} US dollars are spent{held}; {_WAYS_OUT[self.scope]}"
        )


def dollars(usd: Decimal) -> str:
    """An amount to the millionth, without zeros nobody needs."""
    text = f"{usd:.6f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents:0<2}"


def admit(
    accounts: Iterable[Account], amount: Decimal = NOTHING, *, strict: bool = False
) -> Refused | None:
    """None when every account lets the call pass, else the first that does not."""
    for one in accounts:
        if one.left <= 0 or (strict and amount > one.left):
            return Refused(one.scope, one.spent, one.cap, max(one.held, NOTHING))
    return None


def used_up(accounts: Iterable[Account]) -> Refused | None:
    """The first account that is spent, whatever is held: nothing more is started under it."""
    spent = (one for one in accounts if one.spent >= one.cap)
    return next((Refused(one.scope, one.spent, one.cap) for one in spent), None)


def passed(account: Account, thresholds: Iterable[float], told: float) -> float | None:
    """The highest part of the cap that was reached and not told yet; 1 when it is used up.

    A jump over several is told once, for the highest.
    """
    reached = (
        part for part in (*thresholds, 1.0) if account.spent >= account.cap * Decimal(str(part))
    )
    highest = max(reached, default=0.0)
    return highest if highest > told else None


def tightest(*caps: Decimal | None) -> Decimal | None:
    """The lowest of the bounds that are set."""
    return min((cap for cap in caps if cap is not None), default=None)


def usd_in(record: Mapping[str, Any], name: str) -> Decimal | None:
    """An amount of a record."""
    found = record.get(name)
    return None if found is None else Decimal(str(found))


# --- forecast -------------------------------------------------------------------------------

WINDOW_DAYS: Final = 30
_SURE_DAYS: Final = 14
_FAIR_DAYS: Final = 7
_TREND: Final = Decimal("0.1")
_ANOMALY_Z: Final = 2.0


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A day that is far from the others."""

    day: str
    spent: Decimal
    z_score: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a month will come to if it goes on as in the last days."""

    average_daily: Decimal
    projected: Decimal
    """Of the whole month."""
    depletion: str | None
    """The day on which the month's budget is used up; None: not in this month, or no budget."""
    days_remaining: int | None
    """Days until then; None as above."""
    trend: Literal["increasing", "stable", "decreasing"]
    confidence: Literal["low", "medium", "high"]
    anomalies: tuple[Anomaly, ...]


def forecast(daily: Mapping[str, Decimal], today: str, limit: Decimal | None) -> Forecast:
    """From what was spent on each day (`YYYY-MM-DD`, UTC) and the bound of the month.

    The average is of whole days since the first that cost anything, at most 30; on the very first
    day it is that day's.
    """
    now = date.fromisoformat(today)
    begun = min((day for day, spent in daily.items() if spent), default=today)
    first = max(date.fromisoformat(begun), now - timedelta(days=WINDOW_DAYS))
    days = [(first + timedelta(days=n)).isoformat() for n in range((now - first).days)] or [today]
    series = [daily.get(day, NOTHING) for day in days]
    average = sum(series, NOTHING) / len(series)
    spent = sum((usd for day, usd in daily.items() if today[:8] <= day <= today), NOTHING)
    month_end = (now.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    rest_of_today = max(average - daily.get(today, NOTHING), NOTHING)
    projected = spent + rest_of_today + average * (month_end - now).days
    remaining = _days_left(limit, spent, average)
    if remaining is not None and remaining > (month_end - now).days:
        remaining = None
    return Forecast(
        average_daily=average,
        projected=projected,
        depletion=None if remaining is None else (now + timedelta(days=remaining)).isoformat(),
        days_remaining=remaining,
        trend=_trend(series),
        confidence=_confidence(len(series)),
        anomalies=_anomalies(days, series),
    )


def _days_left(limit: Decimal | None, spent: Decimal, average: Decimal) -> int | None:
    if limit is None:
        return None
    if spent >= limit:
        return 0
    return int((limit - spent) / average) if average else None


def _trend(series: Sequence[Decimal]) -> Literal["increasing", "stable", "decreasing"]:
    half = len(series) // 2
    before, after = sum(series[:half], NOTHING), sum(series[len(series) - half :], NOTHING)
    if after > before * (1 + _TREND):
        return "increasing"
    return "decreasing" if after < before * (1 - _TREND) else "stable"


def _confidence(days: int) -> Literal["low", "medium", "high"]:
    if days >= _SURE_DAYS:
        return "high"
    return "medium" if days >= _FAIR_DAYS else "low"


def usual(series: Sequence[Decimal]) -> tuple[Decimal, Decimal]:
    """The mean of some amounts, and how far they are from it: the standard deviation."""
    mean = sum(series, NOTHING) / len(series)
    return mean, (sum(((one - mean) ** 2 for one in series), NOTHING) / len(series)).sqrt()


def _anomalies(days: Sequence[str], series: Sequence[Decimal]) -> tuple[Anomaly, ...]:
    if len(series) < _FAIR_DAYS:
        return ()
    mean, spread = usual(series)
    if not spread:
        return ()
    scored = (
        (day, one, float((one - mean) / spread)) for day, one in zip(days, series, strict=True)
    )
    return tuple(Anomaly(day, one, z) for day, one, z in scored if abs(z) >= _ANOMALY_Z)
