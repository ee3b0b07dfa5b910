"""The trail of what was done: one row for each tool call, and for each change of memory. Pure.

A fold of the events of one session. Results are not in it: they are in the log itself.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.governing import ApprovalDecision, JudgedAction
from brainpilot_rt.domain.ids import AgentName, CallId, SessionId
from brainpilot_rt.domain.memory import MemoryItem
from brainpilot_rt.domain.tools import ToolStatus

Operation: TypeAlias = Literal["tool_call", "append", "remove", "evict", "summarise"]

CALLS: Final = frozenset(
    {"tool_planned", "tool_judged", "approval_requested", "approval_decided", "tool_finished"}
    | {"guardrail_fired"}
)
MEMORY: Final = frozenset({"memory_added", "memory_removed", "memory_evicted", "memory_summarised"})
ARGUMENTS_CHARS_MAX: Final = 4_000
"""Arguments longer than this, as JSON, are left out."""


@dataclass(slots=True, kw_only=True)
class CallRow:
    """A tool call from its plan to its end."""

    session: SessionId
    pos: int
    """Place in the order of commits."""
    at_ms: int
    call_id: CallId
    run_id: str
    agent: AgentName
    tool: str
    arguments: dict[str, Any] | None = None
    """None: they did not parse, or are too long to be shown."""
    action: JudgedAction = "pass"
    """What the inspection came to."""
    reasons: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()
    """Those that found something in its arguments or its result."""
    approval: Literal["none", "pending"] | ApprovalDecision = "none"
    approved_by: str = ""
    status: Literal["open"] | ToolStatus = "open"
    duration_ms: int = 0

    @property
    def operation(self) -> Operation:
        """For a trail with other rows in it."""
        return "tool_call"


@dataclass(slots=True, kw_only=True)
class MemoryRow:
    """A change of what a session remembers."""

    session: SessionId
    pos: int
    """Place in the order of commits."""
    at_ms: int
    operation: Operation
    agent: AgentName
    section: str
    item_ids: tuple[str, ...]
    block: str | None = None
    """Of a fact that was written."""


AuditRow: TypeAlias = CallRow | MemoryRow


def trail(events: Iterable[ev.Recorded]) -> list[AuditRow]:
    """The rows, oldest first. A call whose plan is not among the events has none."""
    rows: list[AuditRow] = []
    calls: dict[CallId, CallRow] = {}
    asked: dict[str, CallRow] = {}
    for recorded in events:
        match recorded.event:
            case ev.ToolPlanned() as event:
                if event.call_id not in calls:
                    calls[event.call_id] = _planned(recorded, event)
                    rows.append(calls[event.call_id])
            case ev.ApprovalRequested(call_id=call_id) as event if call_id in calls:
                asked[event.approval_id] = calls[call_id]
                calls[call_id].approval = "pending"
            case ev.ApprovalDecided() as event if event.approval_id in asked:
                asked[event.approval_id].approval = event.decision
                asked[event.approval_id].approved_by = event.by
            case ev.ToolJudged() | ev.GuardrailFired() | ev.ToolFinished() as event:
                if event.call_id is not None and event.call_id in calls:
                    _known(calls[event.call_id], event)
            case _:
                rows += _memory(recorded)
    return rows


def _planned(recorded: ev.Recorded, event: ev.ToolPlanned) -> CallRow:
    said = event.arguments
    short = said is not None and len(json.dumps(said)) <= ARGUMENTS_CHARS_MAX
    return CallRow(
        session=recorded.session,
        pos=recorded.pos,
        at_ms=recorded.at_ms,
        call_id=event.call_id,
        run_id=event.run_id,
        agent=event.agent,
        tool=event.name,
        arguments=said if short else None,
    )


def _known(row: CallRow, event: ev.ToolJudged | ev.GuardrailFired | ev.ToolFinished) -> None:
    match event:
        case ev.ToolJudged():
            row.action, row.reasons = event.action, event.reasons
        case ev.GuardrailFired():
            row.guardrails = (*row.guardrails, f"{event.guardrail}: {event.action}")
        case ev.ToolFinished():
            row.status, row.duration_ms = event.status, event.duration_ms


def _memory(recorded: ev.Recorded) -> list[AuditRow]:
    def row(
        operation: Operation, agent: AgentName, section: str, *ids: str, block: str | None = None
    ) -> MemoryRow:
        return MemoryRow(
            session=recorded.session,
            pos=recorded.pos,
            at_ms=recorded.at_ms,
            operation=operation,
            agent=agent,
            section=section,
            item_ids=ids,
            block=block,
        )

    match recorded.event:
        case ev.MemoryAdded() as event:
            return [
                row("append", event.agent, one.section, one.id, block=block_of(one))
                for one in event.items
            ]
        case ev.MemoryRemoved() as event:
            return [row("remove", event.agent, event.section, *event.item_ids)]
        case ev.MemoryEvicted() as event:
            return [row("evict", event.agent, event.section, *event.item_ids)]
        case ev.MemorySummarised() as event:
            return [row("summarise", event.agent, event.section, *event.item_ids)]
        case _:
            return []


def block_of(item: MemoryItem) -> str | None:
    """The block of a fact; None for what is no fact."""
    return (item.block or "general") if item.section == "facts" else None
