"""Money of model calls: what is admitted, held, charged, said, and found again after a crash."""

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, BudgetExceeded, Unavailable
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import (
    DAEMON_STREAM,
    PRINCIPAL,
    SessionId,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.ledger import to_usd
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.sessions.recovery import repair
from brainpilot_rt.settings import BudgetSettings
from brainpilot_rt.supervision.budgets import Call, Exhausted, RateLimited
from tests.unit.supervision.bank import CHAT, LIBRARIAN, Bank, D, S, bank


def refusal(bank: Bank, call: Call, **more: Any) -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        bank.budgets.reserve(call, **more)
    return caught.value


# --- one call ---------------------------------------------------------------------------------


async def test_a_call_is_kept_free_then_charged_and_counted_everywhere():
    it = await bank()
    call = await it.ask()
    reservation = await it.reserve(call)
    assert it.held() == D("0.1")
    await it.charge(reservation, "0.25")
    assert it.held() == 0
    assert it.counted() == [D("0.25")] * 4
    state = it.manager.state(S)
    assert (state.spent_usd, state.runs[call.run_id].spent_usd) == (D("0.25"), D("0.25"))
    (row,) = await it.log.ledger.rows()
    assert (row.state, to_usd(row.counted_pico)) == ("charged", D("0.25"))
    assert (row.root_id, row.host_run_id) == (call.root_id, call.host_run_id)
    await it.agree()


async def test_a_call_that_was_not_made_costs_nothing():
    it = await bank()
    reservation = await it.reserve(await it.ask())
    await it.manager.record(S, *it.budgets.release(reservation, "failed"))
    assert (it.held(), it.counted()[0]) == (0, 0)
    assert [row.state for row in await it.log.ledger.rows()] == ["released"]


async def test_a_free_call_reserves_nothing_and_has_its_row():
    it = await bank(daily_usd=D(1))
    call = replace(await it.ask(), free=True)
    reservation = await it.reserve(call)
    assert reservation.events == ()
    assert await it.charge(reservation, "0") == []
    (row,) = await it.log.ledger.rows()
    assert (row.state, row.cost_pico, row.input, row.purpose) == ("charged", 0, 1, "turn")
    assert it.budgets.release(reservation, "failed") == []


async def test_the_crossing_call_is_paid_and_nothing_starts_after_it():
    it = await bank()
    call = await it.ask(limits=RunLimits(cap_usd=D(2)))
    await it.spend(call, "1.999")
    assert it.budgets.exhausted(call) is None
    await it.spend(call, "0.004")
    refused = it.budgets.exhausted(call)
    assert refused is not None
    assert (refused.scope, refused.spent, refused.cap) == ("root", D("2.003"), D(2))
    fault = refusal(it, call)
    assert fault.code == "budget_exhausted"
    assert "2.003 of 2.00 US dollars" in fault.message


@pytest.mark.parametrize(
    ("settings", "scope"),
    [
        ({"run_usd": D(1)}, "run"),
        ({"root_usd": D(1)}, "root"),
        ({"session_usd": D(1)}, "session"),
        ({"agent_daily_usd": D(1)}, "agent_day"),
        ({"agent_monthly_usd": D(1)}, "agent_month"),
        ({"daily_usd": D(1)}, "global_day"),
        ({"monthly_usd": D(1)}, "global_month"),
    ],
)
async def test_each_scope_refuses_by_itself(settings: dict[str, Decimal], scope: str):
    it = await bank(**settings)
    call = await it.ask()
    await it.spend(call, "1")
    fault = refusal(it, call)
    assert isinstance(fault, Exhausted)
    assert (fault.refused.scope, fault.refused.cap) == (scope, 1)


@pytest.mark.parametrize("name", ["run_usd", "session_usd", "agent_daily_usd", "monthly_usd"])
async def test_a_budget_of_zero_refuses_the_first_call_also_a_free_one(name: str):
    it = await bank(**{name: D(0)})
    call = await it.ask()
    for one in (call, replace(call, free=True)):
        assert refusal(it, one).code == "budget_exhausted"
    assert await it.log.ledger.rows() == []


async def test_the_cap_of_a_session_bounds_all_its_requests():
    it = await bank()
    call = await it.ask(cap="1")
    await it.spend(call, "1.5")
    fault = refusal(it, call)
    assert isinstance(fault, Exhausted)
    assert fault.refused.scope == "session"


async def test_strict_refuses_what_does_not_fit():
    it = await bank(run_usd=D(1))
    call = replace(await it.ask(), amount_usd=D("1.01"))
    refusal(it, call, strict=True)
    assert it.budgets.reserve(call).events


async def test_a_call_of_no_session_counts_for_days_and_months():
    it = await bank(daily_usd=D(1), session_usd=D("0.1"))
    await it.spend(CHAT, "0.6")
    await it.spend(CHAT, "0.6")
    refusal(it, CHAT)
    await it.agree()


# --- envelopes --------------------------------------------------------------------------------


async def test_a_delegation_spends_its_envelope_and_its_sender_what_is_left():
    it = await bank()
    principal = await it.ask(limits=RunLimits(cap_usd=D(2)))
    librarian = await it.delegate("1.5")
    await it.spend(principal, "0.6")
    fault = refusal(it, principal)
    assert isinstance(fault, Exhausted)
    assert (fault.refused.scope, fault.refused.held) == ("root", D("1.5"))
    await it.spend(librarian, "1.6")
    fault = refusal(it, librarian)
    assert isinstance(fault, Exhausted)
    assert (fault.refused.scope, fault.refused.cap) == ("root", D(2))


async def test_an_envelope_ends_before_the_request_does():
    it = await bank()
    await it.ask(limits=RunLimits(cap_usd=D(2)))
    librarian = await it.delegate("0.5")
    await it.spend(librarian, "0.5")
    fault = refusal(it, librarian)
    assert isinstance(fault, Exhausted)
    assert (fault.refused.scope, fault.refused.cap) == ("envelope", D("0.5"))
    assert it.budgets.reserve(it.call_of(PRINCIPAL)).events


# --- many at once -----------------------------------------------------------------------------


async def test_concurrent_runs_never_spend_the_same_remainder():
    it = await bank(daily_usd=D(1))
    calls = [await it.ask(SessionId(f"s{n}")) for n in range(40)]
    outcomes = Counter[str]()

    async def work(number: int, call: Call) -> None:
        for turn in range(3):
            await asyncio.sleep((number * 7 + turn * 3) % 5 / 10)
            try:
                reservation = await it.reserve(call)
            except Exhausted:
                outcomes["refused"] += 1
                return
            await asyncio.sleep(0.2)
            await it.charge(reservation, "0.1")
            outcomes["paid"] += 1

    async with asyncio.TaskGroup() as group:
        for number, call in enumerate(calls):
            group.create_task(work(number, call))
    assert outcomes["paid"] == 10
    assert outcomes["refused"] > 0
    assert it.counted()[2] == 1
    await it.agree()


async def test_two_reservations_in_one_step_see_each_other():
    it = await bank(run_usd=D("0.1"))
    call = await it.ask()
    first = it.budgets.reserve(call)
    refusal(it, call)
    it.budgets.drop(first)
    assert it.budgets.reserve(call).events


async def test_what_was_settled_counts_before_it_is_committed():
    it = await bank(run_usd=D(1))
    call = await it.ask()
    reservation = await it.reserve(call)
    it.budgets.settle(reservation, Quote(D(1), D(1)), Usage())
    refusal(it, call)


# --- trouble ----------------------------------------------------------------------------------


async def test_a_reservation_that_was_not_committed_holds_nothing_when_dropped():
    it = await bank()
    call = await it.ask()
    it.log.fail_commits("disk full")
    reservation = it.budgets.reserve(call)
    with pytest.raises(Unavailable):
        await it.manager.record(S, *reservation.events)
    it.budgets.drop(reservation)
    assert it.held() == 0


async def test_dropping_what_was_committed_keeps_it_until_it_is_settled():
    it = await bank()
    reservation = await it.reserve(await it.ask())
    it.budgets.drop(reservation)
    assert it.held() == D("0.1")


async def test_a_charge_that_was_not_committed_is_held_until_another_is():
    it = await bank()
    reservation = await it.reserve(await it.ask())
    events = it.budgets.settle(reservation, Quote(D("0.3"), D("0.3")), Usage())
    it.log.fail_commits("disk full")
    with pytest.raises(Unavailable):
        await it.manager.record(S, *events)
    assert (it.held(), it.counted()[0]) == (D("0.3"), 0)
    it.log.fail_commits(None)
    await it.manager.amend(S, repair, follow=False)
    assert (it.held(), it.counted()[0]) == (0, D("0.1"))
    await it.agree()


async def test_a_second_end_counts_nothing():
    it = await bank()
    reservation = await it.reserve(await it.ask())
    await it.charge(reservation, "0.3")
    await it.charge(reservation, "0.3")
    other = it.budgets.settle(reservation, Quote(D(1), D(1)), Usage())
    await it.log.append(DAEMON_STREAM, other)
    assert it.counted() == [D("0.3")] * 4
    await it.agree()


@pytest.mark.parametrize("order", ["repair first", "ledger first"])
async def test_a_reservation_open_at_a_crash_is_charged_exactly_once(order: str):
    it = await bank()
    await it.spend(await it.ask(), "0.3")
    await it.reserve(it.call_of(PRINCIPAL))
    await it.reserve(CHAT)
    await it.reserve(await it.ask(SessionId("gone")))
    await it.log.delete_session(SessionId("gone"))

    for _ in range(2):
        await it.open(load=False)
        await it.manager.load(S)
        steps = [it.budgets.load, lambda: it.manager.amend(S, repair, follow=False)]
        for step in steps if order == "ledger first" else reversed(steps):
            await step()
    rows = await it.log.ledger.rows()
    assert [(row.state, row.reason) for row in rows] == [
        ("charged", ""),
        ("charged", "crash"),
        ("charged", "crash"),
        ("charged", "crash"),
    ]
    ends = [
        one.event.reservation_id
        for one in await it.log.read_all()
        if isinstance(one.event, ev.SpendSettled)
    ]
    assert Counter(ends) == Counter(row.reservation_id for row in rows)
    assert it.counted() == [D("0.5"), D("0.5"), D("0.52"), D("0.52")]
    assert it.held() == 0
    await it.agree()


# --- time -------------------------------------------------------------------------------------


async def test_a_new_day_and_a_new_month_begin_with_nothing_spent():
    it = await bank(daily_usd=D(1), monthly_usd=D(2))
    call = await it.ask()
    await it.spend(call, "1")
    refusal(it, call)
    it.clock.advance(86_400)
    await it.spend(call, "1")
    assert it.counted() == [1, 2, 1, 2]
    it.clock.advance(86_400)
    fault = refusal(it, call)
    assert isinstance(fault, Exhausted)
    assert fault.refused.scope == "global_month"
    it.clock.advance(30 * 86_400)
    await it.spend(call, "0.5")
    assert it.counted() == [D("0.5")] * 4
    await it.agree()


async def test_a_call_counts_in_the_day_in_which_it_was_asked():
    it = await bank()
    reservation = await it.reserve(await it.ask())
    yesterday = it.budgets.counters.today()
    it.clock.advance(86_400)
    await it.charge(reservation, "0.4")
    assert it.counted() == [0, D("0.4"), 0, D("0.4")]
    assert [one.key for one in await it.log.ledger.sums("day")] == [yesterday]
    await (await it.open()).agree()
    assert it.counted() == [0, D("0.4"), 0, D("0.4")]


async def test_an_agent_may_ask_so_often_in_a_minute():
    it = await bank()
    await it.budgets.caps.put(PRINCIPAL, {"rpm": 2})
    call = await it.ask()
    for _ in range(2):
        await it.reserve(call)
    with pytest.raises(RateLimited) as caught:
        it.budgets.reserve(call)
    assert (caught.value.code, caught.value.retry_after_s) == ("rate_limited", 30)
    assert it.held() == D("0.2")
    it.clock.advance(30)
    await it.reserve(call)


# --- what is said -----------------------------------------------------------------------------


async def test_thresholds_are_said_once_for_each_budget_and_run():
    it = await bank(run_usd=D(1), agent_daily_usd=D(10))
    call = await it.ask()
    assert await it.spend(call, "0.5") == []
    (warned,) = await it.spend(call, "0.3")
    assert isinstance(warned, ev.BudgetWarned)
    assert (warned.scope, warned.threshold, warned.spent_usd, warned.cap_usd) == (
        "run",
        0.8,
        D("0.8"),
        1,
    )
    assert await it.spend(call, "0.05") == []
    (warned,) = await it.spend(call, "0.11")
    assert isinstance(warned, ev.BudgetWarned)
    assert warned.threshold == 0.95
    spent, daily = await it.spend(call, "8")
    assert isinstance(spent, ev.BudgetExhausted)
    assert (spent.scope, spent.spent_usd) == ("run", D("8.96"))
    assert isinstance(daily, ev.BudgetWarned)
    assert (daily.scope, daily.threshold) == ("agent_day", 0.8)
    refused = it.budgets.exhausted(call)
    assert refused is not None
    assert it.budgets.refusal(call, refused) == []


async def test_a_refusal_before_the_first_call_is_said_once():
    it = await bank(run_usd=D(0))
    call = await it.ask()
    fault = refusal(it, call)
    assert isinstance(fault, Exhausted)
    (said,) = it.budgets.refusal(call, fault.refused)
    assert isinstance(said, ev.BudgetExhausted)
    assert (said.scope, said.cap_usd, said.run_id) == ("run", 0, call.run_id)
    assert it.budgets.refusal(call, fault.refused) == []


# --- where bounds come from -------------------------------------------------------------------


async def test_the_tightest_bound_counts_and_bounds_survive_a_restart():
    it = await bank(agent_daily_usd=D(5))
    caps = it.budgets.caps
    await caps.put(PRINCIPAL, {"perDayUsd": 3, "perConversationUsd": "0.5", "action": "stop"})
    await caps.put(None, {"monthly_usd": 0.1})
    await it.open(lambda agent: (D(4), D(2)) if agent == PRINCIPAL else (None, None))
    caps = it.budgets.caps
    assert caps.of("agent_day", PRINCIPAL) == 3
    assert caps.of("agent_day", LIBRARIAN) == 5
    assert caps.of("agent_month", PRINCIPAL) == 2
    assert caps.of("session", PRINCIPAL) == D("0.5")
    assert caps.of("global_month", LIBRARIAN) == D("0.1")
    await caps.put(PRINCIPAL, {"daily_usd": None})
    assert caps.of("agent_day", PRINCIPAL) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"daily_usd": -1},
        {"daily_usd": "-0.01"},
        {"daily_usd": "a lot"},
        {"daily_usd": True},
        {"daily_usd": "NaN"},
        {"daily_usd": 1e300},
        {"perHourUsd": 1},
        {"action": "downgrade"},
        {"rpm": 0},
        {"rpm": 1.5},
        {"monthly_usd": 1, "nonsense": 1},
    ],
)
async def test_a_bound_that_is_none_is_refused_and_changes_nothing(changes: dict[str, Any]):
    it = await bank()
    with pytest.raises(BadRequest):
        await it.budgets.caps.put(PRINCIPAL, changes)
    assert it.records.of("budget") == {}


async def test_the_killswitch_stops_all_spending_until_it_is_off():
    it = await bank()
    call = await it.ask()
    await it.budgets.caps.switch({"active": True, "reason": "too dear"})
    for one in (call, CHAT, replace(call, free=True)):
        fault = refusal(it, one)
        assert (fault.code, "too dear" in fault.message) == ("killswitch", True)
    await it.budgets.caps.switch({"active": False})
    await it.spend(call, "1")


async def test_a_price_nobody_knows_is_refused_under_a_budget_if_so_declared():
    it = await bank(unknown_price="refuse", daily_usd=D(1))
    call = replace(await it.ask(), price_known=False)
    fault = refusal(it, call)
    assert (fault.code, "p:m" in fault.message) == ("unknown_price", True)
    for settings in ({"unknown_price": "refuse"}, {"daily_usd": D(1)}):
        other = await bank(**settings)
        assert other.budgets.reserve(replace(await other.ask(), price_known=False)).events


async def test_no_run_begins_where_a_bound_is_spent_but_one_does_where_it_is_only_held():
    bank = await Bank(BudgetSettings(daily_usd=D(1))).open()
    call = await bank.ask()
    held = await bank.reserve(replace(call, amount_usd=D(1)))
    assert bank.budgets.left(call.place) == 0
    bank.budgets.check(LIBRARIAN)
    await bank.charge(held, "1")
    with pytest.raises(Exhausted, match="everything today"):
        bank.budgets.check(LIBRARIAN)


async def test_no_run_begins_while_the_killswitch_is_on():
    bank = await Bank().open()
    await bank.budgets.caps.switch({"active": True, "reason": "a test"})
    with pytest.raises(BudgetExceeded, match="a test"):
        bank.budgets.check(PRINCIPAL)
