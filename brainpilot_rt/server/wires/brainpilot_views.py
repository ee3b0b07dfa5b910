"""The BrainPilot wire, values that are not events: sessions, agents, letters, the state.

The state frame is the authority on what is going on: it comes first and last on every connect, and
after every change. It carries the open questions and approvals too, so that whoever joins late can
answer them without a second copy of the frame that asked.
"""

from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.ports import Liveness
from brainpilot_rt.server.wires.approvals import approval_json
from brainpilot_rt.server.wires.brainpilot_bodies import Frame, custom, present
from brainpilot_rt.sessions.views import (
    ActiveTool,
    AgentView,
    LetterView,
    QuestionView,
    SessionSummary,
    SessionView,
)


def session_json(summary: SessionSummary) -> Frame:
    """A session as the list of sessions shows it."""
    body: Frame = {
        "id": summary.session,
        "title": summary.title,
        "createdAt": iso(summary.created_ms),
        "updatedAt": iso(summary.updated_ms),
        "busy": summary.busy,
    }
    return body | present(
        providerId=summary.provider_id,
        modelId=summary.model_id,
        domainResources=summary.domain_resources,
        thinkingLevel=summary.thinking,
    )


def agent_json(agent: AgentView) -> Frame:
    """The status of one agent."""
    body: Frame = {
        "name": agent.name,
        "status": agent.status.value,
        "task": "",
        "updatedAt": iso(agent.updated_ms),
        "alive": agent.status.value != "stopped",
        "role": agent.role,
        "kind": agent.kind,
        "description": agent.description,
        "unread": agent.unread,
        "paused": agent.paused,
        "activeToolExecutions": [_tool_json(tool) for tool in agent.active_tools],
        "activeTools": [tool.name for tool in agent.active_tools],
    }
    if agent.last_error is not None:
        body["lastError"] = {
            "message": agent.last_error,
            "timestamp": iso(agent.last_error_ms),
            "consecutiveCount": agent.errors_in_a_row,
        }
    if agent.retry_at_ms is not None:
        body["retryAt"] = iso(agent.retry_at_ms)
    return body | present(activeRunId=agent.run_id)


def _tool_json(tool: ActiveTool) -> Frame:
    return {
        "toolCallId": tool.call_id,
        "toolName": tool.name,
        "startedAt": iso(tool.started_ms),
    }


def _question_json(question: QuestionView) -> Frame:
    return {
        "requestId": question.request_id,
        "agent": question.agent,
        "question": question.question,
        "options": list(question.options),
        "allowFreeText": question.allow_free_text,
        "visible": question.visible,
    }


def tasks_json(view: SessionView) -> list[Frame]:
    """The open tasks."""
    return [
        {
            "id": task.task_id,
            "from": task.creator,
            "to": task.assignee,
            "title": task.title,
            "status": "pending",
            "createdAt": iso(task.opened_ms),
        }
        for task in view.tasks
    ]


def letter_json(letter: LetterView) -> Frame:
    """A letter and what became of it."""
    body: Frame = {
        "letter_id": letter.letter_id,
        "from": letter.sender,
        "to": letter.to,
        "kind": letter.kind.value,
        "receipt": letter.receipt,
    }
    more = present(reason=letter.reason, run_id=letter.run_id, task_id=letter.task_id)
    return body | more


def state_json(view: SessionView) -> Frame:
    """The body of GET state, and the value of every state frame."""
    by_agent = {name: usage.counters() for name, usage in view.usage_by_agent.items()}
    body: Frame = {
        "sessionId": view.session,
        "title": view.title,
        "seq": view.seq,
        "runState": {"active": view.host_run_id is not None, "runId": view.host_run_id},
        "workState": {"active": view.working},
        "agents": [agent_json(agent) for agent in view.agents],
        "subagents": [],
        "lastActivityTs": iso(view.last_activity_ms),
        "tokenUsage": {"total": view.usage.counters(), "byAgent": by_agent},
        "costUsd": None if view.cost_usd is None else str(view.cost_usd),
        "questions": [_question_json(question) for question in view.questions],
        "approvals": [approval_json(one) for one in view.approvals],
        "budget": {
            "capUsd": None if view.cap_usd is None else str(view.cap_usd),
            "spentUsd": str(view.spent_usd),
        },
        "tasks": tasks_json(view),
        "domainResources": view.domain_resources,
        "thinkingLevel": view.thinking,
    }
    return body | present(providerId=view.provider_id, modelId=view.model_id)


def state_frame(view: SessionView) -> Frame:
    """What is going on right now. It has no cursor: it is not part of the log."""
    return _of(view, "session_state", "state", state_json(view))


def tasks_frame(view: SessionView) -> Frame:
    """The open tasks, for a reader that has just caught up."""
    value: Frame = {"op": "snapshot", "tasks": tasks_json(view)}
    return _of(view, "task_state", "tasks", value)


def daemon_frame(version: str, instance_id: str, pos: int, busy: Frame) -> Frame:
    """The first frame of the stream of all sessions."""
    return custom(
        "daemon_state", {"version": version, "instanceId": instance_id, "pos": pos} | busy
    )


def liveness_json(live: Liveness) -> Frame:
    """The facts a reaper asks for."""
    at = live.last_activity_ms
    return {
        "activeSessions": live.active_sessions,
        "runningAgents": live.running_agents,
        "lastActivityAt": None if at is None else iso(at),
        "reclaimable": not live.reasons,
        "idleEpoch": live.idle_epoch,
        "leases": live.leases,
        "unreadLetters": live.unread_letters,
        "auditViolations": live.audit_violations,
    }


def _of(view: SessionView, name: str, stem: str, value: Frame) -> Frame:
    return custom(name, value) | {
        "session_id": view.session,
        "_ts": iso(view.last_activity_ms),
        "_event_id": f"{stem}:{view.session}:{view.seq}",
    }
