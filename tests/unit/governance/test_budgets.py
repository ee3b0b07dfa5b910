"""Budgets as numbers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.governance.budgets import (
    Account,
    Refused,
    admit,
    dollars,
    forecast,
    passed,
    tightest,
    used_up,
)

D = Decimal
WARN = (0.8, 0.9, 0.95)


def account(cap: str, spent: str, held: str = "0") -> Account:
    return Account("run", D(cap), D(spent), D(held))


def test_a_call_is_refused_when_nothing_is_left_and_passes_when_anything_is():
    assert admit([account("2", "1.999999")], D(5)) is None
    assert admit([account("2", "2")]) == Refused("run", D(2), D(2))
    assert admit([account("2", "2.003")]) == Refused("run", D("2.003"), D(2))
    assert admit([]) is None


def test_what_calls_under_way_hold_is_not_there_for_others():
    refused = admit([account("2", "1", "1")])
    assert refused is not None
    assert "1.00 of 2.00 US dollars are spent, 1.00 are held" in refused.message


def test_strict_refuses_an_estimate_that_does_not_fit():
    assert admit([account("2", "1")], D("1.01"), strict=True) is not None
    assert admit([account("2", "1")], D("1"), strict=True) is None


def test_a_budget_of_zero_refuses_the_first_call():
    refused = admit([Account("global_day", D(0), D(0))])
    assert refused is not None
    assert "everything today (UTC) is used up: 0.00 of 0.00" in refused.message
    assert "raise the daily budget" in refused.message


def test_the_first_of_several_accounts_that_refuses_is_named():
    accounts = [account("2", "1"), Account("session", D(1), D(1)), Account("root", D(0), D(0))]
    assert admit(accounts) == Refused("session", D(1), D(1))


def test_only_what_is_spent_ends_work_that_has_begun():
    assert used_up([account("2", "1", "1")]) is None
    assert used_up([account("2", "1"), account("1", "1")]) == Refused("run", D(1), D(1))


def test_each_threshold_is_told_once_and_a_jump_for_the_highest():
    assert passed(account("1", "0.79"), WARN, 0.0) is None
    assert passed(account("1", "0.8"), WARN, 0.0) == 0.8
    assert passed(account("1", "0.89"), WARN, 0.8) is None
    assert passed(account("1", "0.96"), WARN, 0.8) == 0.95
    assert passed(account("1", "1"), WARN, 0.95) == 1.0
    assert passed(account("1", "3"), WARN, 1.0) is None


amounts = st.decimals(0, 10, places=6)


@given(cap=amounts, charges=st.lists(amounts, max_size=20))
def test_over_a_run_no_threshold_comes_twice_and_they_only_rise(
    cap: Decimal, charges: list[Decimal]
):
    told, said, spent = 0.0, list[float](), D(0)
    for charge in charges:
        spent += charge
        part = passed(Account("run", cap, spent), WARN, told)
        if part is not None:
            told = part
            said.append(part)
    assert said == sorted(set(said))
    if charges and spent >= cap:
        assert said[-1] == 1.0


@given(cap=amounts, calls=st.lists(st.tuples(amounts, amounts), max_size=20))
def test_one_after_the_other_no_more_than_the_crossing_call_is_over(
    cap: Decimal, calls: list[tuple[Decimal, Decimal]]
):
    spent = last = D(0)
    for estimate, cost in calls:
        if admit([Account("run", cap, spent)], estimate) is None:
            last = cost
            spent += cost
    assert spent - last < cap or spent == 0


def test_the_tightest_bound_counts_and_none_is_none():
    assert tightest(None, D(3), D(2), None) == 2
    assert tightest(None, None) is None
    assert tightest(D(0), D(1)) == 0


def test_amounts_are_shown_without_zeros_nobody_needs():
    assert [dollars(D(text)) for text in ("2", "2.003", "0.0000004", "12.5")] == [
        "2.00",
        "2.003",
        "0.00",
        "12.50",
    ]


# --- forecast -------------------------------------------------------------------------------


def days(month: str, *spent: int) -> dict[str, Decimal]:
    return {f"{month}-{n:02}": D(usd) for n, usd in enumerate(spent, 1)}


def test_a_steady_month_goes_on_as_it_was():
    seen = forecast(days("2026-06", *[2] * 14, 1), "2026-06-15", D(50))
    assert seen.average_daily == 2
    assert seen.projected == 60
    assert (seen.depletion, seen.days_remaining) == ("2026-06-25", 10)
    assert (seen.trend, seen.confidence, seen.anomalies) == ("stable", "high", ())


def test_a_budget_that_lasts_has_no_depletion_date():
    assert forecast(days("2026-06", 2, 2), "2026-06-03", D(1_000)).depletion is None
    assert forecast(days("2026-06", 2, 2), "2026-06-03", None).depletion is None
    gone = forecast(days("2026-06", 2, 2), "2026-06-03", D(4))
    assert (gone.depletion, gone.days_remaining) == ("2026-06-03", 0)


def test_days_without_spend_count_and_so_does_the_month_before():
    spent = {"2026-05-31": D(6), "2026-06-03": D(1)}
    seen = forecast(spent, "2026-06-03", None)
    assert seen.average_daily == 2
    assert seen.projected == 1 + 1 + 2 * 27
    assert seen.trend == "decreasing"


def test_the_first_day_speaks_for_itself_and_nothing_at_all_is_nothing():
    assert forecast({"2026-06-01": D(3)}, "2026-06-01", None).average_daily == 3
    empty = forecast({}, "2026-06-01", D(1))
    assert (empty.average_daily, empty.projected, empty.depletion) == (0, 0, None)


def test_a_day_far_from_the_others_is_an_anomaly():
    (odd,) = forecast(days("2026-06", *[1] * 9, 30, 0), "2026-06-11", None).anomalies
    assert (odd.day, odd.spent) == ("2026-06-10", 30)
    assert odd.z_score == pytest.approx(3.0)
