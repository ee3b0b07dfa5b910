"""The BrainPilot wire: frames its page knows, beside what governs a run.

An approval is a question with two answers, which `user_input_response` decides. Money that runs out
and a guardrail that stops something are messages. The events themselves go beside them, under
their own names.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from brainpilot_rt.domain.events import (
    ApprovalDecided,
    ApprovalRequested,
    BudgetExhausted,
    BudgetWarned,
    GuardrailFired,
)
from brainpilot_rt.domain.governing import BudgetScope
from brainpilot_rt.domain.values import Value
from brainpilot_rt.server.wires.shown import APPROVE, DENY, question

Frame: TypeAlias = dict[str, Any]

_BUDGETS: Final[dict[BudgetScope, str]] = {
    "run": "the budget of this run",
    "root": "the budget of this request",
    "envelope": "the budget of this delegation",
    "session": "the budget of this session",
    "agent_day": "the agent's budget of the day",
    "agent_month": "the agent's budget of the month",
    "global_day": "the budget of the day",
    "global_month": "the budget of the month",
}


def _approval_requested(event: ApprovalRequested) -> list[Frame]:
    """A question, because BrainPilot knows nothing else that waits for a person."""
    asked: Frame = {
        "type": "user_input_request",
        "request_id": event.approval_id,
        "agent": event.agent,
        "question": question(event.tool, event.arguments, event.reasons),
        "options": [APPROVE, DENY],
        "allow_free_text": False,
        "agent_name": event.agent,
        "run_id": event.run_id,
    }
    return [asked | {"approval_id": event.approval_id}]


def _approval_decided(event: ApprovalDecided) -> list[Frame]:
    said: Frame = {"agent_name": event.agent, "request_id": event.approval_id}
    match event.decision:
        case "approved" | "denied":
            word = APPROVE if event.decision == "approved" else DENY
            end: Frame = {"type": "user_input_response", "answer": word}
        case "expired":
            end = {"type": "user_input_cancelled", "reason": "expired"}
        case "withdrawn":
            end = {"type": "user_input_cancelled", "reason": "interrupted"}
    return [end | said]


def _budget_warned(event: BudgetWarned) -> list[Frame]:
    said = (
        f"{event.threshold:.0%} of {_BUDGETS[event.scope]} is used: "
        f"${event.spent_usd:.4f} of ${event.cap_usd:.4f}"
    )
    key = f"budget:{event.run_id}:{event.scope}:{event.threshold}"
    return [_message(event, key, "warning", "BUDGET_WARNED", said)]


def _budget_exhausted(event: BudgetExhausted) -> list[Frame]:
    said = (
        f"{_BUDGETS[event.scope]} is used up: ${event.spent_usd:.4f} of ${event.cap_usd:.4f}; "
        "nothing more starts"
    )
    key = f"budget:{event.run_id}:{event.scope}:exhausted"
    return [_message(event, key, "error", "BUDGET_EXHAUSTED", said)]


def _guardrail_fired(event: GuardrailFired) -> list[Frame]:
    if event.action != "block":
        return []
    where = event.stage.replace("_", " ").replace("args", "arguments")
    said = f"guardrail {event.guardrail} stopped this ({where}): {event.reason}"
    key = f"guardrail:{event.run_id}:{event.turn}:{event.stage}:{event.guardrail}:"
    notice = _message(event, key + (event.call_id or ""), "warning", "GUARDRAIL_BLOCKED", said)
    return [notice]


def _message(
    event: BudgetWarned | BudgetExhausted | GuardrailFired,
    key: str,
    level: str,
    code: str,
    said: str,
) -> Frame:
    body: Frame = {"type": "system_message", "id": key, "level": level, "message": said}
    body |= {"code": code, "recoverable": True}
    return body | {"agent": event.agent, "run_id": event.run_id}


BESIDE: Final[dict[type[Value], Callable[[Any], list[Frame]]]] = {
    ApprovalDecided: _approval_decided,
    ApprovalRequested: _approval_requested,
    BudgetExhausted: _budget_exhausted,
    BudgetWarned: _budget_warned,
    GuardrailFired: _guardrail_fired,
}
