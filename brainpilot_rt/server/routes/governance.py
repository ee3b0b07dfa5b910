"""Routes about what agents were allowed: the firewall, the trail of calls, what it comes to.

Shapes are those clients of BrainstormRouter read. All of it is of this daemon's log.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, get_args

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.memory import Block
from brainpilot_rt.domain.times import iso
from brainpilot_rt.governance.audit import AuditRow, CallRow, MemoryRow, Operation
from brainpilot_rt.governance.firewall import interception
from brainpilot_rt.governance.inspections.requests import FirewallConfig
from brainpilot_rt.models.bandit import WINDOW_DAYS
from brainpilot_rt.server.bodies import sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.resources import Row
from brainpilot_rt.supervision.insight import ROWS_MAX

OPERATIONS: Final = get_args(Operation)
_BLOCKS: Final = get_args(Block)
_QUIET: Final = (
    "memory_summarised",
    "memory_evicted",
    "conversation_compacted",
    "compaction_failed",
    "turn_summarised",
)


class GovernanceRoutes:
    """Handlers about rules and what became of them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._insight = backend.oversight.insight
        self._tools = backend.oversight.tools
        self._guards = backend.oversight.guards

    # --- the firewall -----------------------------------------------------------------------

    async def firewall(self, _request: Request) -> Response:
        """GET /v1/firewall/config."""
        return json_response((200, _firewall_json(self._tools.firewall())))

    async def set_firewall(self, request: Request) -> Response:
        """PUT /v1/firewall/config: what is not named stays as it is."""
        refuse_agents(request, self._backend.agents, "change the rules for tools")
        body = sent(request)
        return json_response((200, _firewall_json(await self._tools.set_firewall(body))))

    async def interceptions(self, request: Request) -> Response:
        """GET /v1/firewall/interceptions, newest first."""
        limit, offset = number(request, "limit", 50, most=ROWS_MAX), number(request, "offset", 0)
        found = await self._insight.interceptions()
        page = {"total": len(found), "limit": limit, "offset": offset}
        shown = [_interception(one) for one in found[offset : offset + limit]]
        return json_response((200, {"interceptions": shown, **page}))

    # --- the trail --------------------------------------------------------------------------

    async def audit(self, request: Request) -> Response:
        """GET /v1/governance/audit: calls of tools and changes of memory, newest first."""
        asked, limit = request.query_params, number(request, "limit", 100, most=ROWS_MAX)
        block, operation = asked.get("block"), asked.get("operation")
        if block is not None and block not in _BLOCKS:
            raise BadRequest(f"block: one of {', '.join(_BLOCKS)}")
        if operation is not None and operation not in OPERATIONS:
            raise BadRequest(f"operation: one of {', '.join(OPERATIONS)}")

        def wanted(row: AuditRow) -> bool:
            of_block = block is None or (isinstance(row, MemoryRow) and row.block == block)
            return of_block and operation in (None, row.operation)

        rows = await self._insight.audit(limit, wanted, memory=operation != "tool_call")
        listed = [row_json(row) for row in rows]
        return json_response((200, {"entries": listed, "total": len(listed), "limit": limit}))

    async def audit_stats(self, _request: Request) -> Response:
        """GET /v1/governance/audit/stats: over the newest rows of the trail."""
        rows = await self._insight.audit(ROWS_MAX)
        calls = [row for row in rows if isinstance(row, CallRow)]
        body = {
            "total": len(rows),
            "oldest": iso(rows[-1].at_ms) if rows else None,
            "byOperation": _counted(row.operation for row in rows),
            "byAgent": _counted(row.agent for row in rows),
            "byTool": _counted(row.tool for row in calls),
            "byStatus": _counted(row.status for row in calls),
            "byAction": _counted(row.action for row in calls),
            "byApproval": _counted(row.approval for row in calls if row.approval != "none"),
        }
        return json_response((200, body))

    # --- what it comes to -------------------------------------------------------------------

    async def summary(self, _request: Request) -> Response:
        """GET /v1/governance/summary: the last seven days, and what waits now."""
        happened = await self._insight.since(
            WINDOW_DAYS, "tool_planned", "tool_judged", "guardrail_fired", "budget_exhausted"
        )
        calls = sum(isinstance(one, ev.ToolPlanned) for one in happened)
        judged = [one for one in happened if isinstance(one, ev.ToolJudged)]
        flagged = [one for one in judged if one.action != "pass"]
        fired = [one for one in happened if isinstance(one, ev.GuardrailFired)]
        firewall, guards = self._tools.firewall(), self._guards.config
        body = {
            "windowDays": WINDOW_DAYS,
            "audit_stats": {"total_requests": calls, "flagged": len(flagged)},
            "anomaly_score": round(len(flagged) / calls, 4) if calls else 0.0,
            "firewall": {
                "mode": firewall.mode,
                "byAction": _counted(one.action for one in flagged),
            },
            "guardrails": {
                "enabled": guards.enabled,
                "mode": guards.mode,
                "fired": len(fired),
                "byAction": _counted(one.action for one in fired),
                "byGuardrail": _counted(one.guardrail for one in fired),
            },
            "policies": len(self._tools.policies()),
            "approvals": {"pending": len(self._backend.approvals.open())},
            "agents": _counted(one["lifecycleState"] for one in self._backend.agents.listed()),
            "budgets_exhausted": sum(isinstance(one, ev.BudgetExhausted) for one in happened),
        }
        return json_response((200, body))

    async def sleep_time(self, _request: Request) -> Response:
        """GET /v1/governance/sleep-time/report: what was tidied up beside the work itself."""
        happened = await self._insight.since(WINDOW_DAYS, *_QUIET)
        summed = [one for one in happened if isinstance(one, ev.MemorySummarised)]
        compacted = [one for one in happened if isinstance(one, ev.ConversationCompacted)]
        evicted = [one for one in happened if isinstance(one, ev.MemoryEvicted)]
        body = {
            "windowDays": WINDOW_DAYS,
            "memory": {
                "summaries": len(summed),
                "items_summarised": sum(len(one.item_ids) for one in summed),
                "tokens_before": sum(one.tokens_before for one in summed),
                "tokens_after": sum(one.item.tokens for one in summed),
                "items_evicted": sum(len(one.item_ids) for one in evicted),
            },
            "conversations": {
                "compacted": len(compacted),
                "failed": sum(isinstance(one, ev.CompactionFailed) for one in happened),
                "chars_before": sum(one.chars_before for one in compacted),
                "chars_after": sum(one.chars_after for one in compacted),
            },
            "turns_summarised": sum(isinstance(one, ev.TurnSummarised) for one in happened),
        }
        return json_response((200, body))


def _firewall_json(config: FirewallConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True)


def _interception(recorded: ev.Recorded) -> dict[str, Any]:
    judged = recorded.event
    assert isinstance(judged, ev.ToolJudged)
    return {
        "id": f"{recorded.session}:{recorded.seq}",
        "actorId": judged.agent,
        "actorType": "agent",
        "sessionId": recorded.session,
        "callId": judged.call_id,
        "createdAt": iso(recorded.at_ms),
        **interception(judged.tool, judged.action, judged.reasons),
    }


def row_json(row: AuditRow) -> dict[str, Any]:
    """A row of the trail."""
    who = {
        "timestamp": iso(row.at_ms),
        "sessionId": row.session,
        "agent": row.agent,
        "operation": row.operation,
    }
    if isinstance(row, MemoryRow):
        items = {"section": row.section, "block": row.block, "itemIds": list(row.item_ids)}
        return {"id": f"{row.pos}:{row.item_ids[0]}", **who, **items}
    return {
        "id": row.call_id,
        **who,
        "runId": row.run_id,
        "tool": row.tool,
        "arguments": row.arguments,
        "action": row.action,
        "reasons": list(row.reasons),
        "guardrails": list(row.guardrails),
        "approval": row.approval,
        "approvedBy": row.approved_by or None,
        "status": row.status,
        "durationMs": row.duration_ms,
    }


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def governance_rows(to: GovernanceRoutes) -> list[Row]:
    """The routes about rules and what became of them."""
    read = {200: "found", 400: "not a value of that parameter"}
    changed = {
        200: "the rules as they are now",
        400: "which of them is wrong, and why",
        403: "not with an agent's token",
    }
    page = {"limit": f"at most {ROWS_MAX} (50)", "offset": "rows to leave out"}
    which = {
        "block": ", ".join(_BLOCKS),
        "operation": ", ".join(OPERATIONS),
        "limit": f"newest rows wanted, at most {ROWS_MAX} (100)",
    }
    here = "/v1/governance"
    return [
        Row("GET", "/v1/firewall/config", to.firewall, "Rules of the firewall", {200: "found"}),
        Row("PUT", "/v1/firewall/config", to.set_firewall, "Change some", changed),
        Row(
            "GET",
            "/v1/firewall/interceptions",
            to.interceptions,
            "Calls that did not just pass",
            read,
            query=page,
        ),
        Row("GET", f"{here}/summary", to.summary, "How governance stands", {200: "found"}),
        Row("GET", f"{here}/audit", to.audit, "Calls and changes of memory", read, query=which),
        Row("GET", f"{here}/audit/stats", to.audit_stats, "The trail in numbers", {200: "found"}),
        Row("GET", f"{here}/sleep-time/report", to.sleep_time, "What was tidied", {200: "found"}),
    ]
