"""Routing in a world that drifts: regret of our router beside others, drawn as a picture.

    python -m bench.routing_regret [--seeds N] [--picture docs/pictures/routing-regret.svg]

A simulated month. Six models answer 400 turns a day; each has its own part of right tool calls and
of whole answers, its price and its speed. On day 10 the best one silently gets worse, on day 18
another one becomes much cheaper. Every policy is told what a router is told and no more: the reward
of the model it chose. Regret is what the best model of the moment is expected to give, less what
the chosen one is. `epsilon-greedy` and `greedy` keep the same week of statistics as ours.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import Known, Rating, Statistics
from brainpilot_rt.models.reward import Outcome, reward
from brainpilot_rt.models.routing import Arm, Turn, choose, warm

DAYS = 28
TURNS_A_DAY = 400
WORSE_ON, CHEAPER_ON = 10, 18
EPSILON = 0.1
CLASS = "tool_loop"


@dataclass(frozen=True)
class Model:
    """What nobody is told."""

    accuracy: float
    validity: float
    usd: float
    """Of a turn of usual size."""
    latency_ms: float


FIRST = (
    Model(0.93, 0.995, 0.0040, 2_500),
    Model(0.97, 0.995, 0.0200, 6_000),
    Model(0.55, 0.970, 0.0030, 1_900),
    Model(0.90, 0.990, 0.0120, 2_200),
    Model(0.80, 0.985, 0.0045, 3_000),
    Model(0.85, 0.990, 0.0070, 2_000),
)
BEST, CUT = 0, 3
WORSE = replace(FIRST[BEST], accuracy=0.60)
CHEAPER = replace(FIRST[CUT], usd=0.0032)
REFS = tuple(ModelRef(provider="sim", model=f"m{at}") for at in range(len(FIRST)))


def models(day: int) -> tuple[Model, ...]:
    """The world on a day."""
    now = list(FIRST)
    if day >= WORSE_ON:
        now[BEST] = WORSE
    if day >= CHEAPER_ON:
        now[CUT] = CHEAPER
    return tuple(now)


Policy = Callable[[Mapping[ModelRef, Known], random.Random], int]


def ours(known: Mapping[ModelRef, Known], rng: random.Random) -> int:
    """The router as it is."""
    turn = Turn(task_class=CLASS, arms=[Arm(model=ref) for ref in REFS])
    return REFS.index(choose(turn, known, rng).model)


def uniform(known: Mapping[ModelRef, Known], rng: random.Random) -> int:
    """Any."""
    return rng.randrange(len(known))


def greedy(known: Mapping[ModelRef, Known], rng: random.Random) -> int:
    """The highest mean of the week; what nobody has tried comes first."""
    del rng
    means = [one.rewards.mean if one.samples else 2.0 for one in known.values()]
    return means.index(max(means))


def epsilon_greedy(known: Mapping[ModelRef, Known], rng: random.Random) -> int:
    """Now and then any, else the highest mean."""
    return uniform(known, rng) if rng.random() < EPSILON else greedy(known, rng)


POLICIES: Mapping[str, Policy] = {
    "uniform": uniform,
    "greedy": greedy,
    "epsilon-greedy": epsilon_greedy,
    "ours": ours,
}


def outcome(now: Sequence[Model], at: int, rng: random.Random) -> tuple[Outcome, float | None]:
    """One turn of a model, without its quality, and the part of its tool calls that were right."""
    model, size = now[at], rng.lognormvariate(0, 0.6)
    calls = rng.randrange(4)
    right = sum(rng.random() < model.accuracy for _ in range(calls))
    turn = Outcome(
        validity=float(rng.random() < model.validity),
        quality=None,
        cost_usd=Decimal(model.usd * size),
        cheapest_usd=Decimal(min(one.usd for one in now) * size),
        latency_ms=model.latency_ms * rng.lognormvariate(0, 0.4),
        fastest_ms=None,
    )
    return turn, right / calls if calls else None


def expected(now: Sequence[Model]) -> list[float]:
    """The mean reward of each model, had its quality been measured for ever."""
    rng = random.Random(0)  # noqa: S311 - a simulation
    fastest = min(one.latency_ms for one in now)
    return [
        statistics.fmean(
            reward(replace(outcome(now, at, rng)[0], quality=model.accuracy, fastest_ms=fastest))
            for _ in range(4_000)
        )
        for at, model in enumerate(now)
    ]


@dataclass(frozen=True)
class Month:
    """What a policy did: regret of each turn, and which model."""

    regret: Sequence[float]
    chosen: Sequence[int]

    def between(self, first_day: int, end_day: int) -> float:
        """Mean regret of a turn from one day to before another."""
        return statistics.fmean(self.regret[first_day * TURNS_A_DAY : end_day * TURNS_A_DAY])


def live(policy: Policy, seed: int) -> Month:
    """A month under a policy."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    known_of = Statistics()
    regret: list[float] = []
    chosen: list[int] = []
    worths = {day: expected(models(day)) for day in (0, WORSE_ON, CHEAPER_ON)}
    for day in range(DAYS):
        now = models(day)
        worth = worths[max(since for since in worths if since <= day)]
        for _ in range(TURNS_A_DAY):
            known = {ref: known_of.known(CLASS, ref, day) for ref in REFS}
            at = policy(known, rng)
            turn, accuracy = outcome(now, at, rng)
            fastest = min(
                (one.latency_ms for one in known.values() if one.latency_ms), default=None
            )
            quality = known_of.quality(CLASS, REFS[at], day, accuracy)
            rating = Rating(
                reward=reward(replace(turn, quality=quality, fastest_ms=fastest)),
                validity=turn.validity,
                quality=accuracy,
                latency_ms=turn.latency_ms,
            )
            known_of.record(CLASS, REFS[at], day, rating)
            regret.append(max(worth) - worth[at])
            chosen.append(at)
    return Month(regret, chosen)


# --- the picture ---------------------------------------------------------------------------------

WIDTH, HEIGHT = 960, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 56, 56
STEP = 100
"""Turns between two points of a curve."""
COLOURS = {
    "uniform": "#6b7280",
    "greedy": "#c2410c",
    "epsilon-greedy": "#1d4ed8",
    "ours": "#047857",
    "oracle": "#111827",
}
LABEL_GAP = 34
THICK = 'stroke-width="2.2"'


@dataclass(frozen=True)
class Curve:
    """Cumulated regret at every `STEP` turns: mean of the seeds, and where eight of ten are."""

    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    @classmethod
    def of(cls, months: Sequence[Month]) -> "Curve":
        """Of the months of some seeds."""
        ends = range(0, DAYS * TURNS_A_DAY + 1, STEP)
        sums = [[sum(month.regret[:end]) for month in months] for end in ends]
        ordered = [sorted(each) for each in sums]
        tenth = len(months) // 10
        return cls(
            [statistics.fmean(each) for each in sums],
            [each[tenth] for each in ordered],
            [each[-1 - tenth] for each in ordered],
        )


class Sheet:
    """The plane of the picture: days to the right, regret upwards."""

    def __init__(self, top: float) -> None:
        self._top = top
        self._parts: list[str] = []

    def at(self, day: float, regret: float) -> str:
        """Coordinates of a point."""
        x = LEFT + (WIDTH - LEFT - RIGHT) * day / DAYS
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * regret / self._top
        return f"{x:.1f},{y:.1f}"

    def line(self, start: str, end: str, style: str) -> None:
        """A straight line."""
        (x1, y1), (x2, y2) = start.split(","), end.split(",")
        self._parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {style}/>')

    def text(
        self, place: str, words: str, style: str = "", shift: tuple[int, int] = (0, 0)
    ) -> None:
        """Words, beside a point."""
        x, y = (float(one) + by for one, by in zip(place.split(","), shift, strict=True))
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{words}</text>')

    def curve(self, curve: Curve, colour: str) -> None:
        """A line in its band."""
        days = [at * STEP / TURNS_A_DAY for at in range(len(curve.mean))]
        low = [self.at(day, each) for day, each in zip(days, curve.low, strict=True)]
        high = [self.at(day, each) for day, each in zip(days, curve.high, strict=True)]
        mean = [self.at(day, each) for day, each in zip(days, curve.mean, strict=True)]
        band = " ".join([*low, *reversed(high)])
        self._parts += [
            f'<polygon points="{band}" fill="{colour}" fill-opacity="0.13"/>',
            f'<polyline points="{" ".join(mean)}" fill="none" stroke="{colour}" {THICK}/>',
        ]

    def svg(self, title: str) -> str:
        """The whole picture."""
        font = 'font-family="system-ui, \'Segoe UI\', sans-serif" font-size="13"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {font}>'
        ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        return "\n".join([head, f"<title>{title}</title>", ground, *self._parts, "</svg>", ""])


def picture(curves: Mapping[str, Curve], seeds: int) -> str:
    """Draw the curves."""
    top = 200.0 * (1 + max(max(curve.high) for curve in curves.values()) // 200)
    sheet = Sheet(top)
    quiet = 'fill="#4b5563"'
    for regret in range(0, int(top) + 1, 200):
        sheet.line(sheet.at(0, regret), sheet.at(DAYS, regret), 'stroke="#e5e7eb"')
        sheet.text(sheet.at(0, regret), str(regret), f'{quiet} text-anchor="end"', (-8, 4))
    for day in range(0, DAYS + 1, 4):
        sheet.text(sheet.at(day, 0), str(day), f'{quiet} text-anchor="middle"', (0, 20))
    for day, words in ((WORSE_ON, "the best gets worse"), (CHEAPER_ON, "another gets cheaper")):
        sheet.line(sheet.at(day, 0), sheet.at(day, top), 'stroke="#9ca3af" stroke-dasharray="4 4"')
        sheet.text(sheet.at(day, top), words, quiet, (6, 14))
    title = "Regret of routing in a drifting world"
    sheet.text(f"{LEFT},{24}", title, 'font-size="17" font-weight="600" fill="#111827"')
    said = f"cumulated reward below the best model of the moment; mean and 80 % of {seeds} seeds"
    sheet.text(f"{LEFT},{43}", said, quiet)
    sheet.text(sheet.at(DAYS / 2, 0), f"day, {TURNS_A_DAY} turns each", quiet, (-50, 42))
    below = top * 2
    ends = {name: curve.mean[-1] for name, curve in curves.items()} | {"oracle": 0.0}
    for name, end in sorted(ends.items(), key=lambda one: -one[1]):
        colour = COLOURS[name]
        if name in curves:
            sheet.curve(curves[name], colour)
        else:
            sheet.line(sheet.at(0, 0), sheet.at(DAYS, 0), f'stroke="{colour}" {THICK}')
        below = min(end, below - top * LABEL_GAP / 2 / (HEIGHT - TOP - BOTTOM))
        bold = f'fill="{colour}" font-weight="600"'
        sheet.text(sheet.at(DAYS, below), f"{name}  {end:.0f}", bold, (10, 4))
    return sheet.svg(title)


def main() -> None:
    """Live through the months, print the figures, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--picture", type=Path, help="where the SVG goes")
    options = parser.parse_args()
    warm()
    curves: dict[str, Curve] = {}
    print(f"{'policy':16}{'regret':>8}{'10 %':>8}{'90 %':>8}   of {DAYS * TURNS_A_DAY} turns")
    for name, policy in POLICIES.items():
        curve = Curve.of([live(policy, seed) for seed in range(options.seeds)])
        print(f"{name:16}{curve.mean[-1]:8.0f}{curve.low[-1]:8.0f}{curve.high[-1]:8.0f}")
        curves[name] = curve
    if options.picture:
        options.picture.write_text(picture(curves, options.seeds))


if __name__ == "__main__":
    main()
