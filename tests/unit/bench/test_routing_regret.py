"""Routing in a simulated month that drifts twice; the picture of it is in docs/pictures."""

import statistics
from functools import cache
from xml.etree import ElementTree as ET

import pytest

from bench.routing_regret import (
    CHEAPER_ON,
    DAYS,
    POLICIES,
    TURNS_A_DAY,
    WORSE_ON,
    Curve,
    Month,
    expected,
    live,
    models,
    picture,
)
from brainpilot_rt.models.bandit import WINDOW_DAYS

SEEDS = (1, 2)
PART_OF_UNIFORM = 0.25
"""Of what choosing blindly loses to the oracle, ours may lose at most this part."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@cache
def month(name: str, seed: int) -> Month:
    return live(POLICIES[name], seed)


def lost(name: str) -> float:
    return statistics.fmean(sum(month(name, seed).regret) for seed in SEEDS)


def test_ours_loses_less_than_epsilon_greedy_and_a_quarter_of_blind_choice() -> None:
    assert len(month("ours", SEEDS[0]).regret) >= 10_000
    assert lost("ours") < lost("epsilon-greedy") < lost("uniform")
    assert lost("ours") < PART_OF_UNIFORM * lost("uniform")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("drift", [WORSE_ON, CHEAPER_ON])
def test_a_week_after_the_world_changed_the_best_model_is_found_again(
    seed: int, drift: int
) -> None:
    ours = month("ours", seed)
    at_once, a_week_later = ours.between(drift, drift + 1), drift + WINDOW_DAYS
    settled = ours.between(a_week_later, a_week_later + 1)
    assert at_once > 0.03
    assert settled < at_once / 5
    worth = expected(models(a_week_later))
    day = ours.chosen[a_week_later * TURNS_A_DAY : (a_week_later + 1) * TURNS_A_DAY]
    assert day.count(worth.index(max(worth))) > 0.8 * len(day)


def test_the_picture_is_well_formed_and_names_every_policy() -> None:
    turns = DAYS * TURNS_A_DAY
    flat = Month([0.1] * turns, [0] * turns)
    drawn = ET.fromstring(picture({name: Curve.of([flat]) for name in POLICIES}, seeds=1))
    words = " ".join(one.text or "" for one in drawn.iter("{http://www.w3.org/2000/svg}text"))
    assert all(f"{name}  1120" in words for name in POLICIES)
    assert "oracle  0" in words
