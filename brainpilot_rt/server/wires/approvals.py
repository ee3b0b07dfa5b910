"""A call that waits for a person, as JSON: open, and decided."""

from typing import Any

from brainpilot_rt.domain.times import iso
from brainpilot_rt.governance.approvals import scopes_of
from brainpilot_rt.governance.sanitising import escaped
from brainpilot_rt.server.wires.shown import shown
from brainpilot_rt.sessions.views import ApprovalView
from brainpilot_rt.supervision.answers import Decided


def approval_json(one: ApprovalView) -> dict[str, Any]:
    """An approval that is open. The names are those of agent runs, and some more."""
    reasons = [escaped(reason) for reason in one.reasons]
    return {
        "id": one.approval_id,
        "sessionId": one.session,
        "agentId": one.agent,
        "runId": one.run_id,
        "callId": one.call_id,
        "toolName": one.tool,
        "args": dict(one.arguments),
        "shown": shown(one.arguments),
        "reason": "; ".join(reasons),
        "reasons": reasons,
        "digest": one.digest,
        "scopes": list(scopes_of(one.reasons)),
        "requestedAt": iso(one.asked_ms),
        "expiresAt": None if one.expires_ms is None else iso(one.expires_ms),
        "status": "pending",
    }


def decided_json(one: Decided) -> dict[str, Any]:
    """An approval that was decided."""
    word = one.word
    return approval_json(one.asked) | {
        "status": word.decision,
        "scope": word.scope,
        "decidedBy": word.by,
        "decidedAt": iso(one.at_ms),
        "note": word.note,
        "validUntil": None if word.until_ms is None else iso(word.until_ms),
    }
