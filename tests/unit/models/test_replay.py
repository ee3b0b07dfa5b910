from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from brainpilot_rt.domain.governing import Candidate
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import Rating, Statistics
from brainpilot_rt.models.replay import DAY_MS, POLICIES, Estimate, Logged, replay
from brainpilot_rt.models.routing import Arm, Turn, choose

A, B, C = (ModelRef(provider="p", model=name) for name in "abc")
WORTH = dict(zip((A, B, C), (0.6, 0.4, 0.3), strict=True))
PRICE = dict(zip((A, B, C), map(Decimal, ("0.05", "0.02", "0.01")), strict=True))
OPEN = tuple(Candidate(model=model) for model in (A, B, C))
TURN = Logged(
    at_ms=0,
    run_id="r",
    task_class="chat",
    phase="ucb1",
    chosen=A,
    candidates=OPEN,
    propensity=0.5,
    reward=0.5,
    cost_usd=Decimal("0.01"),
)


def drawn(seed: int, turns: int, shares: Sequence[float] = (0.6, 0.3, 0.1)) -> list[Logged]:
    """A log of choices with fixed probabilities; each is right or wrong."""
    rng = Random(seed)
    of = dict(zip((A, B, C), shares, strict=True))
    found: list[Logged] = []
    for at in range(turns):
        chosen = rng.choices((A, B, C), shares)[0]
        found.append(
            replace(
                TURN,
                at_ms=at,
                run_id=str(at),
                chosen=chosen,
                propensity=of[chosen],
                reward=float(rng.random() < WORTH[chosen]),
                cost_usd=PRICE[chosen],
            )
        )
    return found


def routed(seed: int, turns: int) -> list[Logged]:
    """A log of our own router in a world that stands still, over three days."""
    rng = Random(seed)
    known_of = Statistics()
    found: list[Logged] = []
    for at in range(turns):
        day = 3 * at // turns
        known = {model: known_of.known("chat", model, day) for model in (A, B, C)}
        arms = [Arm(model=model) for model in (A, B, C)]
        choice = choose(Turn(task_class="chat", arms=arms), known, rng)
        reward = min(1.0, max(0.0, rng.gauss(WORTH[choice.model], 0.15)))
        known_of.record("chat", choice.model, day, Rating(reward=reward, validity=1))
        found.append(
            replace(
                TURN,
                at_ms=day * DAY_MS + at,
                run_id=str(at),
                phase=choice.phase,
                chosen=choice.model,
                candidates=choice.candidates,
                propensity=choice.propensity,
                reward=reward,
                cost_usd=PRICE[choice.model],
            )
        )
    return found


def inside(estimate: Estimate, truth: float) -> bool:
    assert estimate.interval is not None
    low, high = estimate.interval
    return low <= truth <= high


def test_another_policy_is_priced_without_running_it() -> None:
    log = drawn(seed=4, turns=4_000)
    uniform = replay(log, "uniform")
    assert uniform.turns == uniform.matched == 4_000
    assert uniform.reward == pytest.approx(1.3 / 3, abs=0.03)
    assert uniform.ips == pytest.approx(1.3 / 3, abs=0.03)
    assert float(uniform.usd or 0) == pytest.approx(0.08 / 3, abs=0.002)
    assert uniform.logged_reward == pytest.approx(0.6 * 0.6 + 0.3 * 0.4 + 0.1 * 0.3, abs=0.03)
    assert float(uniform.logged_usd or 0) == pytest.approx(0.037, abs=0.002)
    only = replay(log, "model=p:c")
    assert only.usd == Decimal("0.01")
    assert only.matched == sum(turn.chosen == C for turn in log)
    assert only.effective == pytest.approx(only.matched)
    assert only.reward == pytest.approx(0.3, abs=0.06)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = [inside(replay(drawn(seed, 300), "uniform", seed=seed), 1.3 / 3) for seed in range(60)]
    assert sum(held) >= 50


@pytest.mark.timeout(30)
def test_the_log_of_our_own_router_can_be_replayed() -> None:
    log = routed(seed=2, turns=3_000)
    assert {turn.phase for turn in log} == {"unsampled", "ucb1", "thompson"}
    for policy, truth in (("uniform", 1.3 / 3), ("model=p:a", 0.6), ("model=p:b", 0.4)):
        found = replay(log, policy)
        assert found.reward == pytest.approx(truth, abs=0.05), policy
        assert inside(found, truth), policy
    as_it_was = replay(log, "thompson")
    assert as_it_was.reward == pytest.approx(as_it_was.logged_reward, abs=0.03)
    cheap = replay(log, "cheapest")
    assert cheap.usd is not None
    assert as_it_was.usd is not None
    assert cheap.usd < as_it_was.usd


def test_turns_held_to_a_choice_weigh_as_it_does() -> None:
    def held(run: str, at: int, model: ModelRef, reward: float) -> Logged:
        return replace(
            TURN,
            at_ms=at,
            run_id=run,
            chosen=model,
            phase="held",
            propensity=None,
            reward=reward,
            cost_usd=None,
        )

    log = [
        replace(TURN, at_ms=1, run_id="one", chosen=A, propensity=0.8, reward=1.0),
        replace(TURN, at_ms=2, run_id="two", chosen=B, propensity=0.2, reward=0.0),
        held("one", 3, A, 0.7),
        held("one", 4, A, 0.7),
        held("two", 5, B, 0.1),
    ]
    found = replay(log, "uniform")
    heavy, light = 1 / 3 / 0.2, 1 / 3 / 0.8
    assert found.reward == pytest.approx((light * 2.4 + heavy * 0.1) / (light * 3 + heavy * 2))
    assert (found.turns, found.left_out, found.unpriced) == (5, 0, 3)


def test_turns_no_policy_could_change_are_left_out() -> None:
    log = [
        replace(TURN, at_ms=1, phase="pinned", propensity=None),
        replace(TURN, at_ms=2, phase="fallback", propensity=None),
        replace(TURN, at_ms=3, phase="held", propensity=None),
    ]
    found = replay(log, "uniform")
    assert (found.turns, found.left_out) == (0, 3)
    assert (found.reward, found.ips, found.interval, found.usd) == (None, None, None, None)


def test_a_model_that_was_not_offered_has_nothing_to_say() -> None:
    shut = (Candidate(model=A), Candidate(model=B), Candidate(model=C, excluded="denied"))
    log = [replace(TURN, candidates=shut), replace(TURN, at_ms=1)]
    found = replay(log, "model=p:c")
    assert (found.turns, found.left_out, found.matched) == (1, 1, 0)
    assert found.reward is None


def test_best_mean_goes_by_what_the_router_saw() -> None:
    seen = (Candidate(model=A, mean=0.4), Candidate(model=B, mean=0.9), Candidate(model=C))
    log = [
        replace(TURN, candidates=seen, chosen=A, reward=0.1),
        replace(TURN, candidates=seen, chosen=B, reward=0.8, at_ms=1),
    ]
    found = replay(log, "best-mean")
    assert found.reward == pytest.approx(0.8)
    assert found.matched == 1


def test_cheapest_goes_by_what_turns_had_cost_until_then() -> None:
    log = drawn(seed=1, turns=200)
    found = replay(log, "cheapest")
    assert found.left_out == 1
    assert found.usd is not None
    assert found.usd < Decimal("0.02")


def test_an_unknown_cost_is_not_a_cost_of_nothing() -> None:
    log = [
        replace(TURN, cost_usd=None),
        replace(TURN, at_ms=1, cost_usd=Decimal("0.04")),
    ]
    found = replay(log, "uniform")
    assert (found.logged_usd, found.unpriced) == (Decimal("0.04"), 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_log_and_seed_give_the_same_estimate(policy: str) -> None:
    log = drawn(seed=9, turns=60)
    assert replay(log, policy, seed=3) == replay(list(reversed(log)), policy, seed=3)


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    for name in ("best", "model=", "model=abc"):
        with pytest.raises(ValueError, match="best-mean"):
            replay([], name)
