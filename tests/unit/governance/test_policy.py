"""Whether a call asks a person: the owner's policies, then what the tool says of itself."""

from dataclasses import replace
from decimal import Decimal

import pytest

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.inspections.requests import ToolRequest
from brainpilot_rt.governance.policy import ToolPolicy, permission, policy_of
from tests.unit.governance.calls import FETCH, SEND, foreign, ours

READ = ours("read", Effect.PURE, path="a")


def action(request: ToolRequest, *policies: ToolPolicy) -> str:
    found = permission(request, policies)
    return found.action if found else "pass"


def test_without_policies_ours_run_and_foreign_ones_that_cannot_be_undone_ask():
    assert action(READ) == action(ours("bash", Effect.IRREVERSIBLE)) == "pass"
    assert action(foreign(SEND)) == "ask"
    assert action(replace(foreign(SEND), effect=Effect.IDEMPOTENT)) == "pass"
    assert action(foreign(FETCH, read_only=True)) == "pass"


def test_a_tool_says_itself_that_it_destroys_or_wants_a_word_each_time():
    assert action(replace(ours("write"), destructive_hint=True)) == "ask"
    free = ToolPolicy(tool_name="*", requires_approval=False)
    assert action(replace(ours("write"), destructive_hint=True), free) == "pass"
    assert action(replace(ours("write"), confirm=True), free) == "ask"


def test_the_first_policy_that_matches_counts():
    first = ToolPolicy(tool_name="mcp__mail__*", requires_approval=False)
    second = ToolPolicy(tool_name="mcp__*", allowed=False)
    assert action(foreign(SEND), first, second) == "pass"
    assert action(foreign(FETCH, read_only=True), first, second) == "block"
    assert policy_of((first, second), "bash") is None


def test_looking_at_ones_own_files_is_never_asked_for_unless_it_is_named():
    assert action(READ, ToolPolicy(tool_name="*", requires_approval=True)) == "pass"
    assert action(READ, ToolPolicy(tool_name="read", requires_approval=True)) == "ask"
    asked = ToolPolicy(tool_name="*", requires_approval=True)
    assert action(foreign(FETCH, read_only=True), asked) == "ask"


@pytest.mark.parametrize(
    ("cost", "expected"), [(None, "ask"), ("0.5", "pass"), ("0.51", "block"), ("0", "pass")]
)
def test_a_call_costs_what_the_policy_allows_and_an_unknown_price_is_not_nothing(
    cost: str | None, expected: str
):
    policy = ToolPolicy(tool_name="*", max_cost_usd=Decimal("0.5"))
    price = None if cost is None else Decimal(cost)
    assert action(replace(foreign(FETCH, read_only=True), cost_usd=price), policy) == expected
    assert action(ours("write"), policy) == "pass"
