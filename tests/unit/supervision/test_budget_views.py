"""Budgets as they are shown: sums of the ledger, bounds beside them, and what a month comes to."""

from dataclasses import replace

import pytest

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.ledger import EVERYTHING, Which
from brainpilot_rt.models.prices import Quote
from brainpilot_rt.supervision.budget_views import BudgetViews, By
from tests.unit.supervision.bank import CHAT, Bank, D, S, bank

OTHER = ModelRef(provider="p", model="other")


def views(it: Bank) -> BudgetViews:
    return BudgetViews(it.budgets, it.log.ledger, it.records, it.clock)


async def spent(it: Bank) -> None:
    """Two calls of a session, one of a chat whose price nobody knows, one under way."""
    call = await it.ask()
    await it.spend(call, "0.5")
    await it.spend(replace(call, model=OTHER, purpose="compact"), "0.25")
    chat = await it.reserve(CHAT)
    quote = Quote(None, D("0.1"), estimated=True)
    await it.manager.record(CHAT.session, *it.budgets.settle(chat, quote, Usage(output=7)))
    await it.reserve(call)


async def test_the_status_says_what_is_spent_held_and_left():
    it = await bank(daily_usd=D(1))
    await spent(it)
    status = views(it).status()
    assert status["daily"] == {
        "spent_usd": 0.85,
        "reserved_usd": 0.1,
        "limit_usd": 1.0,
        "remaining_usd": pytest.approx(0.15),
        "period_key": "2026-01-02",
    }
    assert (status["monthly"]["limit_usd"], status["monthly"]["remaining_usd"]) == (None, None)
    assert status["monthly"]["period_key"] == "2026-01"
    mine = views(it).status(PRINCIPAL)
    assert (mine["key_id"], mine["daily"]["spent_usd"]) == ("principal", 0.75)


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("summary", ["p:m", "p:other"]),
        ("by-model", ["p:m", "p:other"]),
        ("by-provider", ["p"]),
        ("by-agent", ["chat", "principal"]),
        ("by-session", ["_daemon", "s"]),
        ("by-day", ["2026-01-02"]),
        ("by-purpose", ["compact", "turn"]),
        ("by-cost-center", ["lab", "none"]),
        ("by-owner", ["none"]),
    ],
)
async def test_usage_is_the_sum_of_the_rows_however_it_is_grouped(by: By, keys: list[str]):
    it = await bank()
    await it.records.put("agent", "chat", {"costCenter": "lab"})
    await spent(it)
    usage = await views(it).usage("month", by)
    assert [one["key"] for one in usage["data"]] == keys
    assert (usage["requests"], usage["unknown_price_requests"]) == (4, 1)
    assert (usage["cost_usd"], usage["counted_usd"], usage["reserved_usd"]) == (0.75, 0.85, 0.1)
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (2, 7, 9)
    for name in ("requests", "counted_usd", "total_tokens"):
        assert sum(one[name] for one in usage["data"]) == pytest.approx(usage[name])


async def test_a_period_is_a_day_a_week_a_month_or_everything():
    it = await bank()
    call = await it.ask()
    await it.spend(call, "1")  # on 2 January
    it.clock.advance(6 * 86_400)
    await it.spend(call, "1")
    it.clock.advance(25 * 86_400)
    await it.spend(call, "1")  # on 2 February
    seen = [(await views(it).usage(name, "summary")) for name in ("day", "week", "month", "all")]
    assert [one["requests"] for one in seen] == [1, 1, 1, 3]
    assert [one["since"] for one in seen] == ["2026-02-02", "2026-01-27", "2026-02-01", None]
    with pytest.raises(BadRequest, match="day, week, month, all"):
        await views(it).usage("year", "summary")


async def test_every_agent_with_bounds_or_money_spent_is_listed():
    it = await bank(agent_monthly_usd=D(9))
    await spent(it)
    await views(it).limit(AgentName("idle"), {"perDayUsd": 2, "rpm": 5})
    listed = await views(it).agents()
    assert [one["agentId"] for one in listed["agents"]] == ["chat", "idle", "principal"]
    idle = listed["agents"][1]
    assert (idle["perDayUsd"], idle["perMonthUsd"], idle["rpm"]) == (2.0, 9.0, 5)
    assert idle["daily"]["remaining_usd"] == 2.0
    assert listed["agents"][2]["daily"]["spent_usd"] == 0.75


async def test_the_ledger_is_read_page_by_page():
    it = await bank()
    await spent(it)
    first = await views(it).rows(EVERYTHING, 0, 3)
    assert [row["cost_usd"] for row in first["rows"]] == [0.5, 0.25, None]
    assert [row["counted_usd"] for row in first["rows"]] == [0.5, 0.25, 0.1]
    assert first["rows"][2]["estimated"]
    rest = await views(it).rows(EVERYTHING, first["next"], 3)
    assert [(row["state"], row["reserved_usd"]) for row in rest["rows"]] == [("open", 0.1)]
    assert rest["next"] is None
    (chat,) = (await views(it).rows(Which(agent="chat"), 0, 3))["rows"]
    assert chat["purpose"] == "turn"


async def test_the_forecast_is_made_from_whole_days():
    it = await bank(monthly_usd=D(10))
    call = await it.ask()
    for _ in range(4):
        await it.spend(call, "1")
        it.clock.advance(86_400)
    seen = await views(it).forecast()
    assert seen["avgDailySpendUsd"] == 1.0
    assert seen["projectedPeriodSpendUsd"] == 4 + 1 + 25
    assert (seen["depletionDate"], seen["daysRemaining"]) == ("2026-01-12", 6)
    assert (seen["trend"], seen["confidence"], seen["anomalies"]) == ("stable", "low", [])


async def test_the_killswitch_says_why_and_since_when():
    it = await bank()
    assert views(it).killswitch() == {"active": False}
    on = await views(it).switch(active=True, reason="stop")
    assert on == {"active": True, "reason": "stop", "since_ms": it.clock.now_ms()}
    assert views(it).status()["killswitch"]
    assert await views(it).switch(active=False) == {"active": False}


async def test_money_of_a_deleted_session_is_shown():
    it = await bank()
    await spent(it)
    await it.log.delete_session(S)
    usage = await views(it).usage("all", "by-session")
    assert {one["key"]: one["requests"] for one in usage["data"]} == {"_daemon": 1, "s": 3}
