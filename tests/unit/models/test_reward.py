from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.models.reward import Outcome, reward, savings

BEST = Outcome(
    validity=1,
    quality=1,
    cost_usd=Decimal("0.01"),
    cheapest_usd=Decimal("0.01"),
    latency_ms=900,
    fastest_ms=1_000,
)


def test_the_best_in_everything_earns_one() -> None:
    assert reward(BEST) == pytest.approx(1)


def test_an_answer_that_cannot_be_read_earns_nothing() -> None:
    assert reward(replace(BEST, validity=0)) == 0


def test_twice_the_price_and_twice_the_time_cost_half_of_their_parts() -> None:
    slow = replace(BEST, cost_usd=Decimal("0.02"), latency_ms=2_000)
    assert reward(slow) == pytest.approx(0.5 + 0.15 + 0.1, abs=0.002)


def test_an_unknown_price_is_neither_free_nor_ruinous() -> None:
    unknown = reward(replace(BEST, cost_usd=None))
    free = reward(replace(BEST, cost_usd=Decimal(0), cheapest_usd=Decimal(0)))
    ruinous = reward(replace(BEST, cost_usd=Decimal(9)))
    assert ruinous < unknown < free
    assert reward(replace(BEST, cheapest_usd=None)) == unknown


def test_beside_a_free_model_the_others_still_differ() -> None:
    free = replace(BEST, cheapest_usd=Decimal(0))
    cheap, dear = (replace(free, cost_usd=Decimal(usd)) for usd in ("0.0005", "0.05"))
    assert reward(cheap) > reward(dear) + 0.04


@given(
    st.floats(0, 1),
    st.none() | st.floats(0, 1),
    st.none() | st.decimals(0, 100),
    st.none() | st.decimals(0, 100),
    st.floats(0, 1e7),
    st.none() | st.floats(0, 1e7),
)
def test_a_reward_is_between_zero_and_one(
    validity: float,
    quality: float | None,
    cost: Decimal | None,
    cheapest: Decimal | None,
    latency: float,
    fastest: float | None,
) -> None:
    outcome = Outcome(
        validity=validity,
        quality=quality,
        cost_usd=cost,
        cheapest_usd=cheapest,
        latency_ms=latency,
        fastest_ms=fastest,
    )
    assert 0 <= reward(outcome) <= 1 + 1e-12


def test_savings_have_a_sign_and_need_both_prices() -> None:
    less = savings(Decimal("0.04"), Decimal("0.01"))
    more = savings(Decimal("0.01"), Decimal("0.04"))
    assert less is not None
    assert more is not None
    assert (less.saved_usd, less.percent) == (Decimal("0.03"), 75)
    assert (more.saved_usd, more.percent) == (Decimal("-0.03"), -300)
    assert savings(None, Decimal(1)) is None
    assert savings(Decimal(1), None) is None
    free = savings(Decimal(0), Decimal(1))
    assert free is not None
    assert free.percent is None
