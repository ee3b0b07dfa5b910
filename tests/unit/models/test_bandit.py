import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import (
    DRAWS,
    NEUTRAL,
    UNKNOWN,
    WINDOW_DAYS,
    Known,
    Rating,
    Statistics,
    Tally,
    thompson,
    ucb1,
)

MODEL = ModelRef(provider="p", model="m")
OTHER = ModelRef(provider="p", model="other")
REWARDS = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def tally(values: list[float]) -> Tally:
    made = Tally()
    for value in values:
        made = made.plus(value)
    return made


def rated(reward: float, quality: float | None = None, validity: float = 1.0) -> Rating:
    return Rating(reward=reward, validity=validity, quality=quality, latency_ms=100)


@given(REWARDS)
def test_mean_and_variance_run_along(values: list[float]) -> None:
    made = tally(values)
    assert made.count == len(values)
    assert made.mean == pytest.approx(statistics.fmean(values))
    assert made.m2 / made.count == pytest.approx(statistics.pvariance(values), abs=1e-12)


@given(st.lists(REWARDS, min_size=1, max_size=9))
def test_days_merge_as_if_all_ratings_had_come_on_one(days: list[list[float]]) -> None:
    apart, together = Statistics(), Statistics()
    for day, values in enumerate(days):
        for value in values:
            apart.record("chat", MODEL, day, rated(value))
            if day > len(days) - 1 - WINDOW_DAYS:
                together.record("chat", MODEL, len(days) - 1, rated(value))
    found = apart.known("chat", MODEL, len(days) - 1).rewards
    wanted = together.known("chat", MODEL, len(days) - 1).rewards
    assert found.count == wanted.count
    assert found.mean == pytest.approx(wanted.mean)
    assert found.m2 == pytest.approx(wanted.m2, abs=1e-9)


def test_what_is_a_week_old_is_forgotten() -> None:
    known_of = Statistics()
    known_of.record("chat", MODEL, 100, rated(1.0, quality=0.0))
    assert known_of.known("chat", MODEL, 106).samples == 1
    assert known_of.known("chat", MODEL, 107) == UNKNOWN
    assert known_of.quality("chat", MODEL, 107, None) is None


def test_classes_of_task_and_models_are_kept_apart() -> None:
    known_of = Statistics()
    known_of.record("chat", MODEL, 1, rated(1.0))
    assert known_of.known("plan", MODEL, 1) == UNKNOWN
    assert known_of.known("chat", OTHER, 1) == UNKNOWN


def test_quality_follows_tool_calls_and_ignores_turns_without() -> None:
    known_of = Statistics()
    known_of.record("chat", MODEL, 1, rated(0.5))
    assert known_of.known("chat", MODEL, 1).quality is None
    for _ in range(100):
        known_of.record("chat", MODEL, 1, rated(0.5, quality=1.0))
        known_of.record("chat", MODEL, 1, rated(0.5))
    good = known_of.known("chat", MODEL, 1).quality
    assert good is not None
    assert good > 0.95
    announced = known_of.quality("chat", MODEL, 2, 0.0)
    known_of.record("chat", MODEL, 2, rated(0.5, quality=0.0))
    assert known_of.known("chat", MODEL, 2).quality == announced
    assert announced is not None
    assert NEUTRAL < announced < good


def test_latency_is_that_of_answers_and_failures_have_none() -> None:
    known_of = Statistics()
    known_of.record("chat", MODEL, 1, Rating(reward=0, validity=0, latency_ms=60_000))
    assert known_of.known("chat", MODEL, 1).latency_ms is None
    known_of.record("chat", MODEL, 1, Rating(reward=0.5, validity=1, latency_ms=200))
    now = known_of.known("chat", MODEL, 1)
    assert (now.latency_ms, now.validity) == (200, 0.5)


def test_ucb1_prefers_what_was_tried_less_and_trusts_the_mean_later() -> None:
    def best(samples: int) -> int:
        seen = [Known(Tally(samples, 0.7, 0.0)), Known(Tally(2, 0.6, 0.0))]
        return ucb1(seen, [0, 0], Random(1)).at

    assert best(8) == 1
    assert best(2) == 0
    grown = [Known(Tally(240, 0.7, 0.0)), Known(Tally(240, 0.6, 0.0))]
    assert ucb1(grown, [0, 0], Random(1)).shares == (1.0, 0.0)


def test_equal_arms_of_ucb1_are_drawn() -> None:
    seen = [Known(Tally(5, 0.5, 0.1))] * 3
    found = [ucb1(seen, [0, 0, 0], Random(seed)) for seed in range(30)]
    assert {one.at for one in found} == {0, 1, 2}
    assert found[0].shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_an_arm_that_gave_nothing_once_is_tried_again() -> None:
    seen = [Known(Tally(500, 0.5, 5.0)), Known(Tally(1, 0.3, 0.0))]
    assert 0.05 < thompson(seen, [0, 0], Random(1)).shares[1] < 0.5


def test_the_shares_of_thompson_are_how_often_each_arm_wins() -> None:
    seen = [Known(Tally(20, 0.6, 0.8)), Known(Tally(20, 0.55, 0.8)), Known(Tally(20, 0.5, 0.8))]
    runs = [thompson(seen, [0, 0, 0], Random(seed)) for seed in range(400)]
    for arm in range(3):
        picked = sum(one.at == arm for one in runs) / len(runs)
        said = statistics.fmean(one.shares[arm] for one in runs)
        assert picked == pytest.approx(said, abs=0.08)
    assert all(one.scores[one.at] == max(one.scores) for one in runs)
    assert all(sum(one.shares) * DRAWS == DRAWS for one in runs)


def test_the_same_dice_draw_the_same() -> None:
    seen = [Known(Tally(20, 0.6, 0.8)), Known(Tally(20, 0.55, 0.8))]
    assert thompson(seen, [0, 0], Random(7)) == thompson(seen, [0, 0], Random(7))
