"""What another policy would have earned and cost, from the log of what ours chose. Pure.

A choice that was drawn carries the probability it had. A choice the other policy would have made
with probability `q`, and ours made with `p`, stands for `q / p` such choices: weighted so, the
rewards that were seen say what those would have been (inverse propensity scoring; self-normalised:
divided by the sum of the weights, which is biased a little and far less noisy).

A unit is a drawn choice with all turns that were held to it. Choices without dice (pinned, only,
fallback) are counted and left out: another policy would have had to do the same.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Final, TypeAlias

from brainpilot_rt.domain.governing import Candidate, RoutePhase
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import (
    UNKNOWN,
    Drawn,
    Known,
    Rating,
    Statistics,
    Tally,
    thompson,
    ucb1,
    unsampled,
)

DAY_MS: Final = 86_400_000
RESAMPLES: Final = 1_000
POLICIES: Final = ("best-mean", "cheapest", "uniform", "ucb1", "thompson")
"""Besides `model=<provider>:<model>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A turn as the log holds it: how its model was chosen, and what came of it."""

    at_ms: int
    run_id: str
    task_class: str
    phase: RoutePhase
    chosen: ModelRef
    candidates: Sequence[Candidate]
    propensity: float | None
    reward: float
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The other policy beside the logged one, per turn; None: the log does not say."""

    policy: str
    turns: int
    """Turns that were drawn, or held to one that was."""
    left_out: int
    """Turns that no policy could have changed, or at which this one had nothing to say."""
    matched: int
    """Turns whose model the other policy might have chosen too ..."""
    effective: float
    """... and as many of equal weight would say as much (Kish). Below some dozens: do not trust."""
    logged_reward: float | None
    ips: float | None
    reward: float | None
    """Self-normalised."""
    interval: tuple[float, float] | None
    """Of `reward`, 95 %, by bootstrap over choices."""
    logged_usd: Decimal | None
    """Mean cost of the turns whose cost is known."""
    usd: Decimal | None
    unpriced: int
    """Turns without a known cost."""


@dataclass(slots=True)
class _Unit:
    weight: float
    rewards: list[float] = field(default_factory=list[float])
    costs: list[Decimal | None] = field(default_factory=list[Decimal | None])


Rule: TypeAlias = Callable[[Logged, Sequence[ModelRef], "_Past", Random], Sequence[float] | None]
"""Probabilities of the open candidates; None: it has nothing to say."""


class _Past:
    """What the log held before a turn: rewards of the week, and mean costs."""

    def __init__(self) -> None:
        self._rewards = Statistics()
        self._costs: dict[tuple[str, ModelRef], Tally] = {}

    def take(self, turn: Logged) -> None:
        rating = Rating(reward=turn.reward, validity=1.0)
        self._rewards.record(turn.task_class, turn.chosen, turn.at_ms // DAY_MS, rating)
        if turn.cost_usd is not None:
            key = turn.task_class, turn.chosen
            self._costs[key] = self._costs.get(key, Tally()).plus(float(turn.cost_usd))

    def known(self, turn: Logged, model: ModelRef) -> Known:
        return self._rewards.known(turn.task_class, model, turn.at_ms // DAY_MS)

    def cost(self, turn: Logged, model: ModelRef) -> float | None:
        tally = self._costs.get((turn.task_class, model), UNKNOWN.rewards)
        return tally.mean if tally.count else None


def replay(log: Iterable[Logged], policy: str, *, seed: int = 0) -> Estimate:
    """Estimate a policy of `POLICIES`, or `model=<provider>:<model>`; `ValueError` for another.

    `ucb1` and `thompson` decide with what the log had shown by then, without switch costs.
    """
    rule = _rule(policy)
    rng = Random(seed)  # noqa: S311 - an estimate has to be repeatable
    past = _Past()
    units: list[_Unit] = []
    of_run: dict[str, _Unit] = {}
    left_out = 0
    for turn in sorted(log, key=lambda one: one.at_ms):
        unit = of_run.get(turn.run_id) if turn.phase == "held" else None
        if turn.propensity is not None:
            unit = _weighed(turn, turn.propensity, rule, past, rng)
            if unit is not None:
                units.append(unit)
        if unit is None:
            left_out += 1
            of_run.pop(turn.run_id, None)
        else:
            of_run[turn.run_id] = unit
            unit.rewards.append(turn.reward)
            unit.costs.append(turn.cost_usd)
        past.take(turn)
    return _estimate(policy, units, left_out, seed)


def _weighed(turn: Logged, propensity: float, rule: Rule, past: _Past, rng: Random) -> _Unit | None:
    models = [one.model for one in turn.candidates if not one.excluded]
    shares = rule(turn, models, past, rng)
    if shares is None:
        return None
    return _Unit(shares[models.index(turn.chosen)] / propensity)


def _estimate(policy: str, units: Sequence[_Unit], left_out: int, seed: int) -> Estimate:
    turns = sum(len(unit.rewards) for unit in units)
    weights = sum(unit.weight * len(unit.rewards) for unit in units)
    weighed = sum(unit.weight * sum(unit.rewards) for unit in units)
    squares = sum(unit.weight**2 * len(unit.rewards) for unit in units)
    priced = [
        (Decimal(unit.weight), cost) for unit in units for cost in unit.costs if cost is not None
    ]
    known = sum((weight for weight, _ in priced), Decimal(0))
    return Estimate(
        policy=policy,
        turns=turns,
        left_out=left_out,
        matched=sum(len(unit.rewards) for unit in units if unit.weight),
        effective=weights**2 / squares if squares else 0.0,
        logged_reward=sum(sum(unit.rewards) for unit in units) / turns if turns else None,
        ips=weighed / turns if turns else None,
        reward=weighed / weights if weights else None,
        interval=_interval(units, seed) if weights else None,
        logged_usd=_usd(sum((cost for _, cost in priced), Decimal(0)), Decimal(len(priced))),
        usd=_usd(sum((weight * cost for weight, cost in priced), Decimal(0)), known),
        unpriced=turns - len(priced),
    )


def _usd(total: Decimal, count: Decimal) -> Decimal | None:
    return (total / count).quantize(Decimal("1e-9")) if count else None


def _interval(units: Sequence[_Unit], seed: int) -> tuple[float, float]:
    import numpy as np

    dice = np.random.default_rng(seed)
    weighed = np.array([unit.weight * sum(unit.rewards) for unit in units])
    weights = np.array([unit.weight * len(unit.rewards) for unit in units])
    found: list[float] = []
    for _ in range(RESAMPLES):
        taken = dice.integers(len(units), size=len(units))
        total = float(weights[taken].sum())
        if total:
            found.append(float(weighed[taken].sum()) / total)
    found.sort()
    return found[math.floor(0.025 * len(found))], found[math.ceil(0.975 * len(found)) - 1]


# --- the policies --------------------------------------------------------------------------------


def _rule(policy: str) -> Rule:
    named = {
        "uniform": _uniform,
        "best-mean": _best_mean,
        "cheapest": _cheapest,
        "ucb1": _by(ucb1),
        "thompson": _by(thompson),
    }
    provider, colon, model = policy.removeprefix("model=").partition(":")
    if policy.startswith("model=") and colon:
        wanted = ModelRef(provider=provider, model=model)
        return lambda _turn, models, _past, _rng: _only(wanted, models)
    if policy not in named:
        known = ", ".join(POLICIES)
        raise ValueError(f"{policy!r} is no policy: {known}, model=<provider>:<model>")
    return named[policy]


def _only(wanted: ModelRef, models: Sequence[ModelRef]) -> Sequence[float] | None:
    return [float(model == wanted) for model in models] if wanted in models else None


def _uniform(
    turn: Logged, models: Sequence[ModelRef], past: _Past, rng: Random
) -> Sequence[float] | None:
    del turn, past, rng
    return [1 / len(models)] * len(models)


def _best_mean(
    turn: Logged, models: Sequence[ModelRef], past: _Past, rng: Random
) -> Sequence[float] | None:
    """The highest mean as the router saw it then."""
    del past, rng
    means = {one.model: one.mean for one in turn.candidates}
    return _least([None if (mean := means[model]) is None else -mean for model in models])


def _cheapest(
    turn: Logged, models: Sequence[ModelRef], past: _Past, rng: Random
) -> Sequence[float] | None:
    """The least mean cost that turns of this class had by then."""
    del rng
    return _least([past.cost(turn, model) for model in models])


def _least(values: Sequence[float | None]) -> Sequence[float] | None:
    """All on the least, evenly among equals; nothing to say when no value is known."""
    best = min((value for value in values if value is not None), default=None)
    count = sum(value == best for value in values)
    return None if best is None else [float(value == best) / count for value in values]


def _by(decide: Callable[[Sequence[Known], Sequence[float], Random], Drawn]) -> Rule:
    def rule(
        turn: Logged, models: Sequence[ModelRef], past: _Past, rng: Random
    ) -> Sequence[float] | None:
        known = [past.known(turn, model) for model in models]
        new = unsampled(known, [True] * len(known), rng)
        return (new or decide(known, [0.0] * len(known), rng)).shares

    return rule
