"""What a person sees of budgets."""

from typing import Any

from brainpilot_rt.cli.budget import agent_lines, status_lines, usage_lines, usd


def period(key: str, spent: float, limit: float | None = None, **more: Any) -> dict[str, Any]:
    left = None if limit is None else max(limit - spent, 0)
    shown = {"period_key": key, "spent_usd": spent, "limit_usd": limit, "remaining_usd": left}
    return shown | {"reserved_usd": 0.0} | more


def test_a_day_and_a_month_are_shown_with_what_is_left_and_held():
    status = {
        "daily": period("2026-06-03", 1.5, 2, reserved_usd=0.25),
        "monthly": period("2026-06", 20.0),
        "killswitch": False,
    }
    assert list(status_lines(status)) == [
        "2026-06-03  $1.50 of $2.00, $0.50 left, $0.25 held",
        "2026-06     $20.00, no limit",
    ]
    assert list(status_lines(status | {"killswitch": True}))[2].startswith("the killswitch is on")


def test_an_agent_is_shown_with_its_bounds():
    agent: dict[str, Any] = {
        "daily": period("2026-06-03", 0),
        "monthly": period("2026-06", 0),
        "perDayUsd": None,
        "perRunUsd": 0.5,
        "rpm": 30,
    }
    assert list(agent_lines(agent))[2:] == [
        "at most $0.50 a run",
        "at most 30 model calls a minute",
    ]


def test_what_was_used_is_listed_by_its_price_with_what_nobody_knows():
    cheap = {"key": "p:small", "requests": 2, "total_tokens": 1_000, "counted_usd": 0.001}
    dear = {"key": "p:\x1b[31mlarge", "requests": 1, "total_tokens": 9_000, "counted_usd": 3.0}
    together = {"requests": 3, "total_tokens": 10_000, "counted_usd": 3.001}
    lines = list(usage_lines(together | {"data": [cheap, dear], "unknown_price_requests": 1}))
    assert [line.split() for line in lines[1:4]] == [
        ["p:\\u001b[31mlarge", "1", "9,000", "$3.00"],
        ["p:small", "2", "1,000", "$0.001000"],
        ["together", "3", "10,000", "$3.00"],
    ]
    assert lines[4].startswith("1 calls have no known price")


def test_less_than_a_cent_is_not_shown_as_nothing():
    assert [usd(one) for one in (0, 0.0042, 1234.5, None)] == [
        "$0.00",
        "$0.004200",
        "$1,234.50",
        "$0.00",
    ]
