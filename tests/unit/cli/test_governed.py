"""What governs a run, as a person at a terminal reads it."""

import io
from typing import Any

import click
import pytest

from brainpilot_rt.cli.approvals import brief, seconds, whole
from brainpilot_rt.cli.client import Frame
from brainpilot_rt.cli.terminal import LINE_CHARS, Screen
from brainpilot_rt.cli.view import TeamView
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.server.wires.approvals import approval_json
from brainpilot_rt.server.wires.brainpilot import project
from brainpilot_rt.sessions.views import ApprovalView

BOT = AgentName("bot")
RUN = RunId("run_1")
COMMON: dict[str, Any] = {"run_id": RUN, "agent": BOT, "turn": 0}


def lines(*events: ev.Event, colour: bool = False) -> list[str]:
    """What a terminal shows of events, by the frames that are made of them."""
    out = io.StringIO()
    view = TeamView(Screen(colour=colour, err=out), None)
    for seq, event in enumerate(events, 1):
        for frame in project(ev.Recorded(SessionId("s"), seq, seq, 0, event)):
            shown: Frame = frame
            view.show(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def selected(phase: str, reason: str, **more: Any) -> ev.ModelSelected:
    values = {"model": ModelRef(provider="p", model="m"), "phase": phase, "reason": reason}
    return ev.ModelSelected.model_validate(COMMON | values | more)


def asked(**arguments: Any) -> ev.ApprovalRequested:
    return ev.ApprovalRequested(
        approval_id="apr_1",
        run_id=RUN,
        agent=BOT,
        call_id=CallId("c"),
        tool="bash",
        arguments=arguments,
        digest="d",
    )


def test_a_model_that_was_chosen_is_named_with_the_reason_and_one_that_was_not_is_no_news():
    assert lines(selected("thompson", "thompson sample 0.71")) == [
        "bot          asks p/m (thompson sample 0.71)"
    ]
    assert lines(selected("pinned", "pinned"), selected("held", "in a tool loop")) == []
    other = {"provider": "p", "model": "dead"}
    assert lines(selected("fallback", "next", instead_of=other)) == [
        "bot          p/dead failed; asks p/m instead (next)"
    ]


def test_an_approval_is_one_question_and_the_command_that_answers_it():
    assert lines(asked(command="rm -rf \u202ebuild\x1b[2K")) == [
        'bot          may bash run? command="rm -rf \\u202ebuild\\u001b[2K"',
        "bot          to allow it: brainpilot-rt approvals approve apr_1",
    ]
    decided = ev.ApprovalDecided(
        approval_id="apr_1", agent=BOT, decision="approved", scope="session", by="user"
    )
    no = ev.ApprovalDecided(
        approval_id="apr_1", agent=BOT, decision="denied", by="user", note="too much"
    )
    assert lines(decided, no) == [
        "bot          approved for the session by user",
        "bot          denied by user: too much",
    ]


def test_budgets_and_guardrails_are_told_once_each():
    money: dict[str, Any] = COMMON | {"scope": "run", "cap_usd": "0.10"}
    fired = COMMON | {
        "stage": "tool_args",
        "guardrail": "secrets",
        "confidence": 1,
        "reason": "key",
    }
    assert lines(
        ev.BudgetWarned.model_validate(money | {"threshold": 0.8, "spent_usd": "0.081"}),
        ev.BudgetExhausted.model_validate(money | {"spent_usd": "0.12"}),
        ev.GuardrailFired.model_validate(fired | {"action": "block"}),
        ev.GuardrailFired.model_validate(fired | {"action": "redact"}),
    ) == [
        "bot          80% of the budget of this run is used: $0.0810 of $0.1000",
        "bot          the budget of this run is used up: $0.1200 of $0.1000; nothing more starts",
        "bot          guardrail secrets stopped this (tool arguments): key",
        "bot          guardrail secrets: redact (tool arguments): key",
    ]


def test_a_call_that_was_changed_is_said_and_a_refused_one_speaks_for_itself():
    judged = COMMON | {"call_id": "c", "tool": "bash", "reasons": ["secret_detected: masked"]}
    mask = ev.ToolJudged.model_validate(judged | {"action": "mask"})
    block = ev.ToolJudged.model_validate(judged | {"action": "block"})
    assert lines(mask, block) == ["bot          bash: mask: secret_detected: masked"]


def test_without_colour_no_code_reaches_the_terminal_and_with_it_some_do():
    plain = "\n".join(lines(asked(command="ls"), selected("ucb1", "why")))
    assert "\x1b" not in plain
    assert "\x1b[" in "\n".join(lines(asked(command="ls"), colour=True))


# --- the command -----------------------------------------------------------------------------


def approval(**arguments: Any) -> dict[str, Any]:
    return approval_json(
        ApprovalView(
            approval_id="apr_01k6zj9d8e7f6g5h4j3k2m1n0p",
            session=SessionId("01k6zj9d8e7f6g5h4j3k2m1n0q"),
            agent=BOT,
            run_id=RUN,
            call_id=CallId("c"),
            tool="bash",
            arguments=arguments,
            digest="d",
            definition="",
            reasons=("needs_approval: it runs commands",),
            asked_ms=1_700_000_000_000,
            expires_ms=1_700_000_360_000,
        )
    )


def test_a_call_is_shown_whole_and_in_a_list_within_the_terminal():
    long = "\n".join(f"line {number} {'x' * 90}" for number in range(20))
    one = approval(command=long)
    assert all(len(line) <= LINE_CHARS for line in brief(one))
    assert "whole of it" in list(brief(one))[-1]
    shown = "\n".join(whole(one))
    assert all(f"| {line}" in shown for line in long.splitlines())
    assert "2023-11-14 22:13:20 UTC" in shown


def test_nothing_hides_in_what_is_shown():
    shown = list(whole(approval(command="ls\u202e\x1b[2K\u2028rm")))
    assert shown[-1] == "  command: ls\\u{202e}\\u{001b}[2K\\u{2028}rm"


@pytest.mark.parametrize(
    ("text", "wanted"), [("30s", 30), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
)
def test_a_time_is_read_in_its_unit(text: str, wanted: int):
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-1h", "1w", "1.5h"])
def test_what_is_no_time_is_wrong_usage(text: str):
    with pytest.raises(click.UsageError):
        seconds(text)
