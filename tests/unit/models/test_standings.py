"""How models stand: means over rated turns, ranks, savings, and how sure an advice is."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.events import ModelSelected, Recorded, TurnRated
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.bandit import Known, Tally
from brainpilot_rt.models.standings import above, advised, ranks, routed, saved, standings

GOOD = ModelRef(provider="p", model="good")
BAD = ModelRef(provider="p", model="bad")


def rated(model: ModelRef = GOOD, reward: float = 0.5, **more: Any) -> TurnRated:
    facts: dict[str, Any] = {"turn": 0, "task_class": "chat", "validity": 1.0, "latency_ms": 100}
    return TurnRated(
        run_id=RunId("r"), agent=AgentName("a"), model=model, reward=reward, **facts | more
    )


def chosen(model: ModelRef = GOOD, turn: int = 0, **more: Any) -> ModelSelected:
    return ModelSelected(
        run_id=RunId("r"),
        agent=AgentName("a"),
        turn=turn,
        model=model,
        phase="ucb1",
        reason="",
        **more,
    )


def placed(*events: Any) -> list[Recorded]:
    return [
        Recorded(SessionId("s"), seq, seq, seq * 10, event) for seq, event in enumerate(events, 1)
    ]


def test_a_model_that_failed_and_the_one_instead_of_it_are_two_turns_in_order():
    log = placed(
        chosen(BAD),
        rated(BAD, 0.0, validity=0.0),
        chosen(GOOD, instead_of=BAD),
        rated(GOOD, 0.9),
        chosen(GOOD, turn=1),
    )
    assert [(one.chosen.model, one.at_ms, one.rated.reward) for one in routed(log)] == [
        (BAD, 10, 0.0),
        (GOOD, 30, 0.9),
    ]


def test_a_rating_without_its_choice_is_no_routed_turn():
    assert routed(placed(rated(), chosen())) == []


def test_the_best_mean_stands_first_and_untried_candidates_last_without_figures():
    other = ModelRef(provider="q", model="new")
    found = standings([rated(BAD, 0.2), rated(GOOD, 0.9), rated(GOOD, 0.7)], [GOOD, other])
    assert [one.model for one in found] == [GOOD, BAD, other]
    assert (found[0].turns, found[0].reward) == (2, pytest.approx(0.8))
    assert (found[2].turns, found[2].reward, found[2].cost_usd) == (0, None, None)


def test_an_unknown_cost_is_counted_and_in_no_mean_and_a_failed_turn_has_no_latency():
    turns = [
        rated(cost_usd=Decimal("0.02")),
        rated(cost_usd=None, latency_ms=300, quality=0.5),
        rated(cost_usd=None, validity=0.0, latency_ms=9_000),
    ]
    (one,) = standings(turns)
    assert (one.cost_usd, one.unpriced) == (Decimal("0.02"), 2)
    assert (one.latency_ms, one.quality) == (200.0, 0.5)


def test_equals_share_a_rank_and_who_has_no_value_has_none():
    assert ranks([0.5, None, 0.9, 0.5], lambda one: one) == [2, None, 1, 2]


def test_savings_are_signed_and_leave_out_what_is_not_known():
    more = saved(
        [
            rated(cost_usd=Decimal("0.03"), baseline_cost_usd=Decimal("0.01")),
            rated(cost_usd=Decimal("0.00"), baseline_cost_usd=Decimal("0.01")),
            rated(cost_usd=None, baseline_cost_usd=Decimal(5)),
        ]
    )
    assert (more.turns, more.unknown, more.money.saved_usd) == (3, 1, Decimal("-0.01"))
    assert more.money.percent == -50


def known(mean: float, count: int, m2: float = 0.0) -> Known:
    return Known(rewards=Tally(count=count, mean=mean, m2=m2))


def test_the_advice_is_the_best_mean_and_surer_the_more_was_seen():
    few = advised([(BAD, known(0.4, 3)), (GOOD, known(0.6, 3))])
    many = advised([(BAD, known(0.4, 300)), (GOOD, known(0.6, 300))])
    assert few is not None
    assert many is not None
    assert few.model == many.model == GOOD
    assert 0.5 < few.confidence < many.confidence <= 1


def test_without_a_rated_turn_there_is_no_advice_and_without_a_rival_no_doubt():
    assert advised([(GOOD, Known())]) is None
    alone = advised([(GOOD, known(0.2, 1)), (BAD, Known())])
    assert alone is not None
    assert alone.confidence == 1.0


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
def test_one_of_two_is_better(one: float, other: float, n: int, m: int):
    a, b = known(one, n), known(other, m)
    assert above(a, b) + above(b, a) == pytest.approx(1)
