"""A yes is to what was shown, for as long and as far as was said, and the first word counts."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.governing import ApprovalScope
from brainpilot_rt.governance.approvals import (
    Asked,
    Grant,
    answer_text,
    covers,
    decision_problem,
    digest,
    scopes_of,
)

pytestmark = pytest.mark.fault("S17")

CALL = digest("mcp__mail__send", "mail", "def1", {"to": "ann", "body": "hi"})
ASKED = Asked(
    tool="mcp__mail__send",
    digest=CALL,
    definition_digest="def1",
    runs=("r1",),
    session="s1",
    agent="writer",
    codes=frozenset({"approval_required"}),
)


def grant(scope: ApprovalScope, **changed: Any) -> Grant:
    given_ = Grant(
        approval_id="a1",
        tool=ASKED.tool,
        digest=CALL,
        definition_digest="def1",
        scope=scope,
        run_id="r1",
        session="s1",
        agent="writer",
        codes=ASKED.codes,
    )
    return replace(given_, **changed)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_arguments = st.dictionaries(st.text(max_size=5), _json, max_size=4)


@given(_arguments, _arguments)
def test_other_arguments_have_another_digest_and_their_order_none(
    one: dict[str, Any], other: dict[str, Any]
):
    first, second = digest("t", None, "d", one), digest("t", None, "d", other)
    assert (first == second) == (repr(sorted(one.items())) == repr(sorted(other.items()))) or (
        one == other
    )
    assert digest("t", None, "d", dict(reversed(one.items()))) == first


def test_tool_server_and_definition_are_part_of_what_is_approved():
    digests = {
        digest("t", None, "d", {"a": 1}),
        digest("t", "d", "", {"a": 1}),
        digest("t", None, "e", {"a": 1}),
        digest("u", None, "d", {"a": 1}),
        digest("t", None, "d", {"a": "1"}),
        digest("t", None, "d", {"a": True}),
        digest("t", None, "d", {"a": [1]}),
        digest("t", None, "d", {"a": "\ud800"}),
    }
    assert len(digests) == 8


def test_a_yes_to_one_call_is_to_that_call_once():
    assert covers(grant("once"), ASKED, 0)
    assert not covers(grant("once", spent=True), ASKED, 0)
    assert not covers(grant("once"), replace(ASKED, digest="another"), 0)
    assert not covers(grant("once"), replace(ASKED, runs=("r2",)), 0)


@pytest.mark.parametrize("scope", ["once", "run"])
def test_a_run_that_resumes_another_after_a_crash_keeps_its_yes(scope: ApprovalScope):
    assert covers(grant(scope), replace(ASKED, runs=("r2", "r1")), 0)


@pytest.mark.parametrize(
    ("scope", "run", "session", "elsewhere"),
    [("run", False, False, False), ("session", True, False, False), ("agent", True, True, True)],
)
def test_a_wider_yes_reaches_as_far_as_was_said(
    scope: ApprovalScope, *, run: bool, session: bool, elsewhere: bool
):
    wide, other = grant(scope, digest=None), replace(ASKED, digest="other arguments")
    assert covers(wide, other, 0)
    assert covers(wide, replace(other, runs=("r2",)), 0) == run
    assert covers(wide, replace(other, session="s2"), 0) == session
    assert covers(wide, replace(other, session="s2", runs=("r9",)), 0) == elsewhere
    assert not covers(wide, replace(other, agent="engineer"), 0)
    assert not covers(wide, replace(other, tool="mcp__mail__delete"), 0)


@pytest.mark.fault("S18")
@pytest.mark.parametrize("scope", ["once", "run", "session", "agent"])
def test_a_changed_definition_voids_a_yes(scope: ApprovalScope):
    assert not covers(grant(scope), replace(ASKED, definition_digest="def2"), 0)


@pytest.mark.parametrize("scope", ["once", "run", "session", "agent"])
def test_a_yes_ends_when_it_expires(scope: ApprovalScope):
    assert covers(grant(scope, expires_ms=1_000), ASKED, 999)
    assert not covers(grant(scope, expires_ms=1_000), ASKED, 1_000)


def test_a_wider_yes_does_not_answer_another_question():
    tainted = replace(ASKED, codes=ASKED.codes | {"semantic_anomaly"})
    assert not covers(grant("session"), tainted, 0)
    assert covers(grant("session", codes=tainted.codes), tainted, 0)
    suspicious = replace(ASKED, codes=frozenset({"command_injection"}))
    assert not covers(grant("agent", codes=suspicious.codes), suspicious, 0)
    assert covers(grant("once", codes=suspicious.codes), suspicious, 0)


def test_a_suspicion_about_arguments_is_decided_for_this_call_only():
    reasons = ("command_injection: command removes everything below a root",)
    assert scopes_of(reasons) == ("once",)
    assert "session" in scopes_of(("approval_required: x",))
    problem = decision_problem("approved", "session", reasons, until_ms=None, now_ms=0)
    assert problem == "this can be decided for: once"


@pytest.mark.parametrize(
    ("decision", "scope", "until_ms", "allowed"),
    [
        ("approved", "once", None, True),
        ("approved", "agent", 11, True),
        ("approved", "run", 10, False),
        ("approved", "forever", None, False),
        ("denied", "once", None, True),
        ("denied", "session", None, False),
        ("expired", "once", None, False),
    ],
)
def test_what_a_person_may_decide(
    decision: str, scope: str, until_ms: int | None, *, allowed: bool
):
    problem = decision_problem(decision, scope, (), until_ms=until_ms, now_ms=10)
    assert (problem == "") == allowed


def test_a_model_is_told_why_its_call_did_not_run():
    assert answer_text("send", "approved", by="user") == ""
    assert "They say: not today" in answer_text("send", "denied", by="user", note="not today")
    assert "nobody is here" in answer_text("send", "denied", by="policy")
    assert "in time" in answer_text("send", "expired", by="clock")
    assert "withdrawn" in answer_text("send", "withdrawn", by="run")
