"""Which model answers a turn: a pure decision from what is known, what is held, and dice.

In this order: a pinned model; what is excluded or has failed; floors; a fallback after a failure;
the model of the loop that is going on; one that nobody has tried; UCB1 while little is known; then
Gaussian Thompson sampling. Where something is drawn, a small part is drawn evenly among all that
may be chosen, so that every one of them has a probability above 0 and the log can be replayed
under another policy (`replay.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Final

from brainpilot_rt.domain.governing import Candidate, RoutePhase
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import (
    NEUTRAL,
    UNKNOWN,
    Drawn,
    Known,
    thompson,
    ucb1,
    unsampled,
)
from brainpilot_rt.models.reward import COST, LATENCY, TRIFLE_USD

EVEN_SHARE: Final = 0.02
"""Part of the free choices that is drawn evenly."""
THOMPSON_FROM: Final = 500
"""Samples of all arms in the window."""
VALIDITY_FLOOR: Final = 0.5
VALIDITY_SAMPLES: Final = 10
QUALITY_FLOOR: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A model that the agent may use."""

    model: ModelRef
    excluded: str = ""
    """Why not in this turn: its circuit is open, a budget, a list. Empty: it may be chosen."""
    warm_usd: Decimal | None = None
    cold_usd: Decimal | None = None
    """What the turn will probably cost with the prompt in its cache as it is in that of the model
    that is held, and without. None: the price is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The model of the conversation's previous turn."""

    model: ModelRef
    task_class: str
    """Of the decision that chose it."""
    in_loop: bool
    """Results of its own tool calls are what the turn is about."""
    cached_share: float = 0.0
    """Part of the coming prompt that its cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What has to be decided."""

    task_class: str
    arms: Sequence[Arm]
    pinned: ModelRef | None = None
    held: Held | None = None
    failed: Sequence[ModelRef] = ()
    """Models that were asked in this turn and failed, in that order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The decision, with all it was made from."""

    model: ModelRef
    phase: RoutePhase
    reason: str
    task_class: str
    """The class the turn is to be rated under: in a loop that of the decision that began it."""
    candidates: tuple[Candidate, ...] = ()
    propensity: float | None = None
    """How likely this choice was; None: nothing was drawn."""
    switch_cost_usd: Decimal | None = None
    """What leaving the model that holds the prompt's cache costs: for the chosen one, or for the
    cheapest to go to when the choice is to stay. None: nothing is cached, or no price is known."""
    instead_of: ModelRef | None = None


class NoModelLeft(Exception):
    """Nothing may be asked; `reasons` says why not, model by model."""

    def __init__(self, reasons: Iterable[tuple[ModelRef, str]]) -> None:
        self.reasons = tuple(reasons)
        said = "; ".join(f"{_name(model)}: {why}" for model, why in self.reasons)
        super().__init__(f"no model can be asked ({said or 'none is configured'})")


def warm() -> None:
    """Import numpy, for a thread: about 60 ms that no turn should pay on the loop."""
    import numpy.random  # pyright: ignore[reportUnusedImport]  # noqa: F401 - to have it loaded


def choose(turn: Turn, known: Mapping[ModelRef, Known], rng: Random) -> Choice:
    """Decide. `known`: per candidate, of the turn's task class. Raises `NoModelLeft`."""
    out = {arm.model: arm.excluded for arm in turn.arms if arm.excluded}
    out.update(dict.fromkeys(turn.failed, "it failed in this turn"))
    if turn.pinned is not None:
        if turn.pinned in out:
            raise NoModelLeft([(turn.pinned, out[turn.pinned])])
        return Choice(
            model=turn.pinned, phase="pinned", reason="pinned", task_class=turn.task_class
        )
    able = [arm for arm in turn.arms if arm.model not in out]
    if not able:
        raise NoModelLeft(out.items())
    low = {arm.model: why for arm in able if (why := _floor(known.get(arm.model, UNKNOWN)))}
    if len(low) < len(able):
        out.update(low)
        able = [arm for arm in able if arm.model not in low]
    return _Decision(turn, known, able, out).made(rng)


class _Decision:
    """One decision, once it is clear who may be chosen."""

    def __init__(
        self,
        turn: Turn,
        known: Mapping[ModelRef, Known],
        able: Sequence[Arm],
        out: dict[ModelRef, str],
    ) -> None:
        self._turn = turn
        self._known = known
        self._able = able
        self._out = out
        self._prices = {arm.model: switch_price(arm, turn.held) for arm in able}
        self._scores: dict[ModelRef, float] = {}

    def made(self, rng: Random) -> Choice:
        held = self._turn.held
        if self._turn.failed:
            best = max(self._able, key=self._expected)
            return self._choice(best, "fallback", "highest reward of what is left")
        if len(self._able) == 1:
            return self._choice(self._able[0], "only", "the only candidate")
        for arm in self._able:
            if held is not None and held.in_loop and arm.model == held.model:
                return self._choice(arm, "held", "inside a tool loop")
        return self._free(rng)

    def _free(self, rng: Random) -> Choice:
        worth = [self._is_worth(arm) for arm in self._able]
        drawn = unsampled([self._of(arm) for arm in self._able], worth, rng)
        phase: RoutePhase = "unsampled"
        if drawn is None:
            self._leave_out_the_new()
            facts = [self._of(arm) for arm in self._able]
            prices = [self._prices[arm.model] for arm in self._able]
            few = sum(one.samples for one in facts) < THOMPSON_FROM
            phase, rule = ("ucb1", ucb1) if few else ("thompson", thompson)
            drawn = rule(facts, prices, rng)
            models = [arm.model for arm in self._able]
            self._scores = dict(zip(models, drawn.scores, strict=True))
        at, reason = drawn.at, self._reason(phase, drawn)
        if rng.random() < EVEN_SHARE:
            at, reason = rng.randrange(len(self._able)), "exploration: drawn evenly"
        return self._choice(self._able[at], phase, reason, propensities(drawn)[at])

    def _is_worth(self, arm: Arm) -> bool:
        """Whether the best that can be hoped of it is worth leaving the cache."""
        held = self._turn.held
        bar = self._known.get(held.model, UNKNOWN).rewards.mean if held else 0.0
        return 1.0 - self._prices[arm.model] >= bar

    def _leave_out_the_new(self) -> None:
        new = [arm for arm in self._able if not self._of(arm).samples]
        self._out.update({arm.model: "not worth the prompt cache it would cost" for arm in new})
        self._able = [arm for arm in self._able if arm not in new]

    def _reason(self, phase: RoutePhase, drawn: Drawn) -> str:
        if phase == "unsampled":
            return "exploration: unsampled arm"
        if phase == "thompson":
            return f"thompson sample {drawn.scores[drawn.at]:.2f}"
        means = [self._of(arm).rewards.mean for arm in self._able]
        return "highest reward" if means[drawn.at] == max(means) else "ucb1 exploration"

    def _choice(
        self, arm: Arm, phase: RoutePhase, reason: str, propensity: float | None = None
    ) -> Choice:
        turn = self._turn
        held = turn.held
        if held is not None and held.in_loop and arm.model != held.model:
            why = self._out.get(held.model, "it is no longer offered")
            reason = f"{reason}; {_name(held.model)} could not go on: {why}"
        return Choice(
            model=arm.model,
            phase=phase,
            reason=reason,
            task_class=held.task_class if held is not None and held.in_loop else turn.task_class,
            candidates=tuple(self._candidate(each) for each in turn.arms),
            propensity=propensity,
            switch_cost_usd=self._switch_cost(arm),
            instead_of=turn.failed[-1] if turn.failed else None,
        )

    def _candidate(self, arm: Arm) -> Candidate:
        of = self._of(arm)
        score = self._scores.get(arm.model)
        return Candidate(
            model=arm.model,
            samples=of.samples,
            mean=round(of.rewards.mean, 4) if of.samples else None,
            score=None if score is None else round(score, 4),
            excluded=self._out.get(arm.model, ""),
        )

    def _switch_cost(self, chosen: Arm) -> Decimal | None:
        held = self._turn.held
        if held is None or not held.cached_share:
            return None
        to = self._able if chosen.model == held.model else [chosen]
        lost = [
            arm.cold_usd - arm.warm_usd
            for arm in to
            if arm.model != held.model and arm.cold_usd is not None and arm.warm_usd is not None
        ]
        return min(lost, default=None)

    def _expected(self, arm: Arm) -> float:
        of = self._of(arm)
        return (of.rewards.mean if of.samples else NEUTRAL) - self._prices[arm.model]

    def _of(self, arm: Arm) -> Known:
        return self._known.get(arm.model, UNKNOWN)


def switch_price(arm: Arm, held: Held | None) -> float:
    """What going to this arm costs in reward: 0 to stay, or when no cache is lost.

    The part of the turn's cost that would only read the lost prefix anew, weighted as cost is in
    the reward. Where money says nothing (not known, or free) the time says it: the part of the
    prompt that has to be read again, weighted as latency is.
    """
    if held is None or arm.model == held.model or not held.cached_share:
        return 0.0
    if arm.warm_usd is None or arm.cold_usd is None or arm.cold_usd <= arm.warm_usd:
        return LATENCY * held.cached_share
    return COST * float((arm.cold_usd - arm.warm_usd) / (arm.cold_usd + TRIFLE_USD))


def propensities(drawn: Drawn) -> tuple[float, ...]:
    """The probability of each arm, the even part included."""
    even = EVEN_SHARE / len(drawn.shares)
    return tuple(even + (1 - EVEN_SHARE) * share for share in drawn.shares)


def _floor(known: Known) -> str:
    if known.samples >= VALIDITY_SAMPLES and known.validity < VALIDITY_FLOOR:
        return f"validity {known.validity:.2f} is below {VALIDITY_FLOOR}"
    if known.quality is not None and known.quality < QUALITY_FLOOR:
        return f"quality {known.quality:.2f} is below {QUALITY_FLOOR}"
    return ""


def _name(model: ModelRef) -> str:
    return f"{model.provider}:{model.model}"
