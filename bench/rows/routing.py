"""Routing: choosing one of eight models by Thompson sampling, its propensity included.

The floor draws as many numbers with the same generator and takes the best of each row: no
decision by sampling does less. Ours reads seven days of statistics per model, applies floors and
switch costs, draws, and writes down every candidate as the log keeps it.
"""

import random
import time
from decimal import Decimal

import numpy as np

from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import DRAWS, WINDOW_DAYS, Rating, Statistics
from brainpilot_rt.models.routing import Arm, Held, Turn, choose, warm

ARMS = 8
RATINGS_A_DAY = 20
CLASS = "tool_loop"


def floor(place: Place) -> Sample:
    """The draws alone."""
    dice = np.random.Generator(np.random.SFC64(1))
    meter = Meter()
    with meter as sample:
        for _ in range(place.ops(5_000, 300)):
            start = time.perf_counter()
            dice.standard_normal((DRAWS, ARMS)).argmax(axis=1)
            sample.latencies.append(time.perf_counter() - start)
    return sample


def ours(place: Place) -> Sample:
    """The whole decision."""
    rng = random.Random(1)  # noqa: S311 - a measurement
    models = [ModelRef(provider="p", model=f"m{at}") for at in range(ARMS)]
    known_of = Statistics()
    for day in range(WINDOW_DAYS):
        for model in models:
            for _ in range(RATINGS_A_DAY):
                rating = Rating(reward=rng.random(), validity=1, quality=1, latency_ms=900)
                known_of.record(CLASS, model, day, rating)
    turn = Turn(
        task_class=CLASS,
        arms=[Arm(model=one, warm_usd=Decimal("0.01"), cold_usd=Decimal("0.04")) for one in models],
        held=Held(model=models[0], task_class=CLASS, in_loop=False, cached_share=0.8),
    )
    warm()
    drawn = 0
    meter = Meter()
    with meter as sample:
        for _ in range(place.ops(5_000, 300)):
            start = time.perf_counter()
            known = {one: known_of.known(CLASS, one, WINDOW_DAYS - 1) for one in models}
            chosen = choose(turn, known, rng)
            sample.latencies.append(time.perf_counter() - start)
            drawn += chosen.phase == "thompson"
    sample.extra["by_thompson"] = drawn / len(sample.latencies)
    return sample


ROWS = (
    Row(
        "ROUTE",
        "one of eight models, by Thompson sampling over a week of ratings",
        {"draws alone": floor, "ours": ours},
        (
            Target("p50_us", "ours", 300.0),
            Target("p50_us", "ours", 6.0, over="draws alone"),
            Target("by_thompson", "ours", 1.0, at_least=True),
        ),
    ),
)
