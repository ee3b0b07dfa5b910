"""What is known of each model per class of task, and the two rules that turn it into a choice.

Statistics are kept in buckets of a day (UTC) and forgotten after a week, so that a model that got
worse, or better, or cheaper is seen as it is now. Within a bucket mean and variance run along
(Welford); buckets are merged exactly (Chan et al., parallel variance).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from brainpilot_rt.domain.model_calls import ModelRef

WINDOW_DAYS: Final = 7
NEUTRAL: Final = 0.5
"""What is assumed of anything between 0 and 1 that nobody has measured."""
QUALITY_WEIGHT: Final = 0.05
QUALITY_PRIOR: Final = 3
"""The moving average of tool-call accuracy begins as if so many turns had given `NEUTRAL`, is a
plain mean at first, and forgets from the point on at which the newest turn weighs this little."""
VARIANCE_PRIOR: Final = 0.0625
"""One imagined observation this far off (0.25 squared): no arm is ever quite certain."""
WIDTH: Final = 0.5
WIDTH_HALVES_AFTER: Final = 150
"""UCB1: the bonus begins at `WIDTH` and is half of that after so many samples of all arms."""
DRAWS: Final = 512
"""Thompson: joint samples, of which one decides; the others say how likely that was."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Count, mean and sum of squared deviations of some numbers."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def plus(self, value: float) -> "Tally":
        """With one more number."""
        count = self.count + 1
        off = value - self.mean
        mean = self.mean + off / count
        return Tally(count, mean, self.m2 + off * (value - mean))

    def merged(self, other: "Tally") -> "Tally":
        """As if all numbers had come in one row."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        off = other.mean - self.mean
        return Tally(
            count,
            self.mean + off * other.count / count,
            self.m2 + other.m2 + off * off * self.count * other.count / count,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What a window says of a model in one class of task."""

    rewards: Tally = Tally()
    validity: float = 1.0
    """Mean; part of its calls that came back whole and could be read."""
    quality: float | None = None
    """Moving average of tool-call accuracy; None: it made no calls."""
    latency_ms: float | None = None
    """Mean."""

    @property
    def samples(self) -> int:
        """Rated turns in the window."""
        return self.rewards.count

    @property
    def deviation(self) -> float:
        """Standard deviation of our belief about the mean reward; never 0."""
        count = max(1, self.rewards.count)
        return math.sqrt((self.rewards.m2 + VARIANCE_PRIOR) / count / count)


UNKNOWN: Final = Known()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A turn that is over. `quality`: part of its tool calls that were right; None: none made."""

    reward: float
    validity: float
    quality: float | None = None
    latency_ms: float = 0.0


@dataclass(slots=True)
class _Day:
    rewards: Tally = Tally()
    validity: float = 0.0
    answered: int = 0
    latency_ms: float = 0.0
    """Both sums; the latter of the `answered`."""
    judged: int = 0
    """Turns that called tools."""
    quality: float = NEUTRAL
    """The moving average after the last of them."""


class Statistics:
    """The ratings of the last week. The log holds them; this is made from it again at boot."""

    def __init__(self) -> None:
        self._arms: dict[tuple[str, ModelRef], dict[int, _Day]] = {}

    def record(self, task_class: str, model: ModelRef, day: int, rating: Rating) -> None:
        """Take one rated turn in; `day` counts from the epoch, in UTC. Ratings come in order."""
        quality = self.quality(task_class, model, day, rating.quality)
        days = self._arms.setdefault((task_class, model), {})
        for old in [each for each in days if each <= day - WINDOW_DAYS]:
            del days[old]
        today = days.setdefault(day, _Day())
        today.rewards = today.rewards.plus(rating.reward)
        today.validity += rating.validity
        if rating.validity > 0:
            today.answered += 1
            today.latency_ms += rating.latency_ms
        if rating.quality is not None and quality is not None:
            today.judged += 1
            today.quality = quality

    def quality(
        self, task_class: str, model: ModelRef, day: int, newest: float | None
    ) -> float | None:
        """The moving average of tool-call accuracy with that of one more turn (None: no calls)."""
        days = self._window(task_class, model, day)
        before = _quality(days)
        if newest is None:
            return before
        before = NEUTRAL if before is None else before
        judged = sum(one.judged for one in days)
        weight = max(QUALITY_WEIGHT, 1 / (judged + 1 + QUALITY_PRIOR))
        return before + weight * (newest - before)

    def known(self, task_class: str, model: ModelRef, day: int) -> Known:
        """What the week that ends with `day` says."""
        days = self._window(task_class, model, day)
        if not days:
            return UNKNOWN
        rewards = days[0].rewards
        for one in days[1:]:
            rewards = rewards.merged(one.rewards)
        answered = sum(one.answered for one in days)
        return Known(
            rewards,
            sum(one.validity for one in days) / rewards.count,
            _quality(days),
            sum(one.latency_ms for one in days) / answered if answered else None,
        )

    def _window(self, task_class: str, model: ModelRef, day: int) -> list[_Day]:
        days = self._arms.get((task_class, model), {})
        return [days[at] for at in range(day - WINDOW_DAYS + 1, day + 1) if at in days]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a rule made of some arms: which one, how likely each was, and what they were given."""

    at: int
    shares: tuple[float, ...]
    scores: tuple[float, ...]


def ucb1(known: Sequence[Known], prices: Sequence[float], rng: Random) -> Drawn:
    """Mean and a bonus for what was tried little, less a price; equals are drawn."""
    total = sum(one.samples for one in known)
    width = WIDTH / (1 + total / WIDTH_HALVES_AFTER)
    scores = tuple(
        one.rewards.mean + width * math.sqrt(math.log(max(2, total)) / max(1, one.samples)) - price
        for one, price in zip(known, prices, strict=True)
    )
    best = [at for at, score in enumerate(scores) if score == max(scores)]
    return Drawn(rng.choice(best), _even(best, len(scores)), scores)


def thompson(known: Sequence[Known], prices: Sequence[float], rng: Random) -> Drawn:
    """Draw what each arm may be worth, less a price, many times; one of the draws decides.

    The shares are those of the very draws from which that one is taken: given them, they are the
    exact probabilities of the choice and no estimate.
    """
    import numpy as np

    dice = np.random.Generator(np.random.SFC64(rng.getrandbits(64)))
    centre = np.array([one.rewards.mean for one in known]) - np.array(prices)
    spread = np.array([one.deviation for one in known])
    drawn = dice.standard_normal((DRAWS, len(known))) * spread + centre
    best = drawn.argmax(axis=1)
    row = rng.randrange(DRAWS)
    counts: list[int] = np.bincount(best, minlength=len(known)).tolist()
    scores: list[float] = drawn[row].tolist()
    return Drawn(int(best[row]), tuple(each / DRAWS for each in counts), tuple(scores))


def unsampled(known: Sequence[Known], worth: Sequence[bool], rng: Random) -> Drawn | None:
    """One of those nobody has tried, if it is worth it, each as likely; None: there is none."""
    new = [at for at, one in enumerate(known) if not one.samples and worth[at]]
    if not new:
        return None
    return Drawn(rng.choice(new), _even(new, len(known)), ())


def _quality(days: Sequence[_Day]) -> float | None:
    return next((one.quality for one in reversed(days) if one.judged), None)


def _even(among: Sequence[int], count: int) -> tuple[float, ...]:
    return tuple(1 / len(among) if at in among else 0.0 for at in range(count))
