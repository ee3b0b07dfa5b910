"""What a turn was worth, between 0 and 1, and what it saved. Pure.

    reward = validity * (0.5 quality + 0.3 cheapest / cost + 0.2 fastest / latency)

A share that nobody could measure counts as `NEUTRAL`: an unknown price is neither free nor ruinous.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from brainpilot_rt.models.bandit import NEUTRAL

QUALITY: Final = 0.5
COST: Final = 0.3
LATENCY: Final = 0.2
TRIFLE_USD: Final = Decimal("0.0001")
"""Added to both prices that are compared: beside a free model the others still differ, and what
costs less than this per turn is as good as free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known of a turn when it is over."""

    validity: float
    """1: the call came back whole and could be read; 0: it did not."""
    quality: float | None
    """The model's moving average of tool-call accuracy, this turn included; None: no calls yet."""
    cost_usd: Decimal | None
    cheapest_usd: Decimal | None
    """The same tokens at the cheapest candidate whose price is known."""
    latency_ms: float
    fastest_ms: float | None
    """Mean of the fastest candidate in the window; None: nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Savings:
    """The same tokens at the default model, and here. Negative: the default is cheaper."""

    baseline_usd: Decimal
    actual_usd: Decimal

    @property
    def saved_usd(self) -> Decimal:
        """Signed."""
        return self.baseline_usd - self.actual_usd

    @property
    def percent(self) -> float | None:
        """Of the baseline; None: it is free."""
        return float(100 * self.saved_usd / self.baseline_usd) if self.baseline_usd else None


def reward(outcome: Outcome) -> float:
    """Between 0 and 1."""
    quality = NEUTRAL if outcome.quality is None else outcome.quality
    latency = NEUTRAL
    if outcome.fastest_ms is not None:
        slower = outcome.latency_ms > outcome.fastest_ms
        latency = outcome.fastest_ms / outcome.latency_ms if slower else 1.0
    cost = cost_share(outcome.cheapest_usd, outcome.cost_usd)
    whole = QUALITY * quality + COST * (NEUTRAL if cost is None else cost) + LATENCY * latency
    return outcome.validity * whole


def cost_share(cheapest_usd: Decimal | None, cost_usd: Decimal | None) -> float | None:
    """How near a cost is to the least possible one, 1 at best; None when a price is not known."""
    if cheapest_usd is None or cost_usd is None:
        return None
    return min(1.0, float((cheapest_usd + TRIFLE_USD) / (cost_usd + TRIFLE_USD)))


def savings(baseline_usd: Decimal | None, actual_usd: Decimal | None) -> Savings | None:
    """Compare; None when one of the prices is not known."""
    if baseline_usd is None or actual_usd is None:
        return None
    return Savings(baseline_usd, actual_usd)
