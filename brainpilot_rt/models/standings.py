"""How models stand, and what routing saved: sums over rated turns of the log. Pure."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from brainpilot_rt.domain.events import ModelSelected, Recorded, TurnRated
from brainpilot_rt.domain.ids import RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import Known
from brainpilot_rt.models.replay import Logged
from brainpilot_rt.models.reward import Savings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A turn: how its model was chosen, and what came of it."""

    session: SessionId
    pos: int
    at_ms: int
    """Both of the choice."""
    chosen: ModelSelected
    rated: TurnRated

    @property
    def logged(self) -> Logged:
        """As replay wants it."""
        return Logged(
            at_ms=self.at_ms,
            run_id=self.chosen.run_id,
            task_class=self.rated.task_class,
            phase=self.chosen.phase,
            chosen=self.chosen.model,
            candidates=self.chosen.candidates,
            propensity=self.chosen.propensity,
            reward=self.rated.reward,
            cost_usd=self.rated.cost_usd,
        )


def routed(events: Iterable[Recorded]) -> list[Routed]:
    """The turns of one session; what was chosen and not rated yet is left out."""
    found: list[Routed] = []
    waiting: dict[tuple[RunId, int, ModelRef], tuple[Recorded, ModelSelected]] = {}
    for recorded in events:
        match recorded.event:
            case ModelSelected() as chosen:
                waiting[chosen.run_id, chosen.turn, chosen.model] = recorded, chosen
            case TurnRated() as rated:
                known = waiting.pop((rated.run_id, rated.turn, rated.model), None)
                if known is not None:
                    place, chosen = known
                    found.append(
                        Routed(
                            session=place.session,
                            pos=place.pos,
                            at_ms=place.at_ms,
                            chosen=chosen,
                            rated=rated,
                        )
                    )
            case _:
                pass
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A model over some turns. Means; None: nobody could measure it."""

    model: ModelRef
    turns: int
    reward: float | None = None
    validity: float | None = None
    quality: float | None = None
    """Part of tool calls that were right."""
    latency_ms: float | None = None
    """Of turns that were answered."""
    cost_usd: Decimal | None = None
    """Of turns whose cost is known."""
    unpriced: int = 0


def standings(ratings: Iterable[TurnRated], candidates: Iterable[ModelRef] = ()) -> list[Standing]:
    """Every model that was rated, the best mean reward first, then the untried candidates."""
    of: defaultdict[ModelRef, list[TurnRated]] = defaultdict(list)
    for one in ratings:
        of[one.model].append(one)
    known = sorted((_standing(*each) for each in of.items()), key=lambda one: -(one.reward or 0.0))
    return [*known, *(Standing(model=one, turns=0) for one in candidates if one not in of)]


def _standing(model: ModelRef, turns: Sequence[TurnRated]) -> Standing:
    costs = [one.cost_usd for one in turns if one.cost_usd is not None]
    return Standing(
        model=model,
        turns=len(turns),
        reward=_mean([one.reward for one in turns]),
        validity=_mean([one.validity for one in turns]),
        quality=_mean([one.quality for one in turns if one.quality is not None]),
        latency_ms=_mean([float(one.latency_ms) for one in turns if one.validity > 0]),
        cost_usd=sum(costs, Decimal(0)) / len(costs) if costs else None,
        unpriced=len(turns) - len(costs),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def ranks(values: Sequence[T], by: Callable[[T], float | None]) -> list[int | None]:
    """1 for the highest; equals share a rank; None where there is no value."""
    given = [by(one) for one in values]
    known = sorted((one for one in given if one is not None), reverse=True)
    return [None if one is None else known.index(one) + 1 for one in given]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What the default model would have cost for the same tokens, and what was paid."""

    turns: int
    unknown: int
    """Turns at which one of the two prices is not known; they are not in the money."""
    money: Savings


def saved(ratings: Iterable[TurnRated]) -> Saved:
    """Sum up."""
    turns = unknown = 0
    baseline = actual = Decimal(0)
    for one in ratings:
        turns += 1
        if one.baseline_cost_usd is None or one.cost_usd is None:
            unknown += 1
        else:
            baseline += one.baseline_cost_usd
            actual += one.cost_usd
    return Saved(turns=turns, unknown=unknown, money=Savings(baseline, actual))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The model that did best in a class of turns."""

    model: ModelRef
    known: Known
    confidence: float
    """How likely its true mean is above that of the next one; 1 when there is no other."""


def advised(known: Iterable[tuple[ModelRef, Known]]) -> Advice | None:
    """The best mean of those that were tried; None: nobody was."""
    tried = [one for one in known if one[1].samples]
    if not tried:
        return None
    best, *others = sorted(tried, key=lambda one: -one[1].rewards.mean)
    confidence = 1.0 if not others else above(best[1], others[0][1])
    return Advice(model=best[0], known=best[1], confidence=confidence)


def above(one: Known, other: Known) -> float:
    """How likely the true mean of one is above that of the other, as Thompson sees both."""
    apart = one.rewards.mean - other.rewards.mean
    spread = math.hypot(one.deviation, other.deviation)
    return 0.5 * (1 + math.erf(apart / spread / math.sqrt(2)))
