"""The JSON of agent runs: one object for two readers.

Each body carries what readers of agent runs look for (`toolName`, `args`, `turnIndex`, camelCase)
and what readers of managed agents look for (`content`, `name`, `input`, `tool_use_id`); money is a
JSON number here and nowhere else. `type`, `id` and `processed_at` are the projector's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.domain import events as ev

Body: TypeAlias = dict[str, Any]
View: TypeAlias = Literal["run", "managed"]
"""`run`: a run ends and its stream with it. `managed`: a session goes idle and stays."""

_SCOPES: Final = {
    "run": "run",
    "root": "run",
    "agent_day": "daily",
    "agent_month": "monthly",
    "global_day": "global_daily",
    "global_month": "global_monthly",
}
_OURS: Final = {
    "max_turns": "max_turns",
    "budget_exhausted": "budget_exhausted",
    "budget_exceeded": "budget_exhausted",
    "guardrail_blocked": "guardrail_blocked",
    "agent_suspended": "agent_suspended",
    "agent_terminated": "agent_suspended",
}
_NOT_THE_MODEL: Final = frozenset({"", "crash", "output_length", "refusal", "bad_request"})
"""Codes of failures that another model, or the same one later, would not have spared."""
_STOPS: Final = {
    "completed": "end_turn",
    "max_turns": "end_turn",
    "interrupted": "end_turn",
    "budget_exhausted": "budget_reached",
    "guardrail_blocked": "refusal",
    "agent_suspended": "budget_reached",
}
_ERRORS: Final = {"model_unavailable": "model_request_failed_error"}


def money(amount: Decimal | None) -> float | None:
    """An amount as a JSON number."""
    return None if amount is None else float(amount)


def words(text: str) -> list[Body]:
    """Text as content blocks."""
    return [{"type": "text", "text": text}] if text else []


def selected(event: ev.ModelSelected, turn: int) -> Body:
    """Which model was picked and why."""
    body: Body = {
        "model": event.model.model,
        "provider": event.model.provider,
        "strategy": "pinned" if event.phase == "pinned" else "thompson",
        "reason": event.reason,
        "turnIndex": turn,
        "phase": event.phase,
        "propensity": event.propensity,
    }
    if event.instead_of is not None:
        body["insteadOf"] = event.instead_of.model_dump()
    return body


def message(event: ev.ModelReplied, turn: int) -> Body:
    """What the agent said."""
    text = event.message.text
    return {
        "text": text,
        "model": event.model.model,
        "provider": event.model.provider,
        "turnIndex": turn,
        "content": words(text),
    }


def asked(event: ev.ModelReplied, started: str) -> Body:
    """The end of a model call, for readers of managed agents."""
    usage = event.usage
    return {
        "model_request_start_id": started,
        "is_error": False,
        "model_usage": {
            "input_tokens": usage.input,
            "output_tokens": usage.output,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
        },
    }


@dataclass(slots=True)
class Call:
    """A call on its way to its result. Shown once it is known how it was judged."""

    planned: ev.ToolPlanned
    turn: int
    tag: Body
    """Whose it is, when it is not the agent the run is of."""
    permission: Literal["allow", "ask", "deny"] = "allow"
    reasons: Sequence[str] = ()
    shown: bool = False
    custom: bool = False
    """The client runs it."""

    def use(self) -> Body:
        """The invocation."""
        args = self.planned.arguments
        unread: Body = {"rawArgs": self.planned.raw_arguments} if args is None else {}
        judged: Body = {"reasons": list(self.reasons)} if self.reasons else {}
        return {
            "toolName": self.planned.name,
            "args": args or {},
            "turnIndex": self.turn,
            "toolCallId": self.planned.call_id,
            "name": self.planned.name,
            "input": args or {},
            "evaluated_permission": self.permission,
            **unread,
            **judged,
            **self.tag,
        }

    def result(self, event: ev.ToolFinished) -> Body:
        """What it came to."""
        failed = event.status != "completed"
        return {
            "toolName": event.name,
            "result": event.content,
            "isError": failed,
            "latencyMs": event.duration_ms,
            "turnIndex": self.turn,
            "toolCallId": event.call_id,
            "status": event.status,
            "tool_use_id": event.call_id,
            "content": words(event.content),
            "is_error": failed,
            **self.tag,
        }


def intervention(event: ev.GuardrailFired, turn: int) -> Body:
    """A guardrail fired."""
    call: Body = {} if event.call_id is None else {"toolCallId": event.call_id}
    return {
        "action": event.action,
        "stage": event.stage,
        "guardrail": event.guardrail,
        "confidence": event.confidence,
        "reason": event.reason,
        "turnIndex": turn,
    } | call


def warning(event: ev.BudgetWarned, turn: int) -> Body:
    """A budget is nearly used up."""
    return {
        "spentUsd": money(event.spent_usd),
        "capUsd": money(event.cap_usd),
        "remainingUsd": money(max(event.cap_usd - event.spent_usd, Decimal(0))),
        "scope": _SCOPES.get(event.scope, event.scope),
        "threshold": event.threshold,
        "turnIndex": turn,
    }


def savings(event: ev.TurnRated, turn: int, saved: Decimal) -> Body:
    """What the default model would have cost; null where a price is not known."""
    baseline, less = event.baseline_cost_usd, event.savings_usd
    part = None if less is None or not baseline else round(float(less / baseline) * 100, 2)
    return {
        "baselineModel": None if event.baseline is None else event.baseline.model,
        "baselineCostUsd": money(baseline),
        "actualCostUsd": money(event.cost_usd),
        "savingsUsd": money(less),
        "savingsPct": part,
        "turnIndex": turn,
        "cumulativeSavingsUsd": money(saved),
    }


def reason_of(event: ev.HostTurnFinished, *, exhausted: bool) -> str:
    """Why a run ended. `exhausted`: a budget was used up while there was more to do."""
    if event.outcome == "interrupted":
        return "interrupted"
    if exhausted:
        return "budget_exhausted"
    if (ours := _OURS.get(event.code)) is not None:
        return ours
    if event.outcome == "completed":
        return "completed"
    return "error" if event.code in _NOT_THE_MODEL else "model_unavailable"


def stop_of(reason: str) -> str:
    """The same for a session that stays: a `stop_reason.type`."""
    return _STOPS.get(reason, "retries_exhausted")


def error_of(reason: str, failure: str) -> Body:
    """The error that goes before such a stop."""
    kind = _ERRORS.get(reason, "unknown_error")
    retry = {"type": "exhausted"}
    return {"error": {"type": kind, "message": failure or reason, "retry_status": retry}}
