"""Managed agents as Anthropic's client reads them: agents, environments, sessions, threads. Pure.

A managed agent is the profile of a registered agent seen through other names.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.server.wires.managed_bodies import Json
from brainpilot_rt.sessions.views import SessionView

_CENTS: Final = Decimal("0.01")


def agent_json(profile: Mapping[str, Any], archived_at: str | None = None) -> Json:
    """An agent."""
    snapshot = parts_json(profile)
    return snapshot | {
        "metadata": {key: str(value) for key, value in profile["metadata"].items()},
        "created_at": profile["createdAt"],
        "updated_at": profile["updatedAt"],
        "archived_at": archived_at,
    }


def parts_json(profile: Mapping[str, Any]) -> Json:
    """What an agent is made of, as sessions show it."""
    model = profile.get("model") or "auto"
    said: Json = {"id": model} if isinstance(model, str) else dict(model)
    named = said.pop("model", None)
    provider = said.pop("provider", None)
    tools: list[Any] = profile.get("tools") or []
    effort = said.get("effort")
    if isinstance(effort, str):
        said["effort"] = {"type": effort}
    return {
        "id": profile["agentId"],
        "type": "agent",
        "version": profile["version"],
        "name": profile["displayName"],
        "model": {"id": f"{provider}:{named}"} | said,
        "system": profile.get("system"),
        "description": profile.get("description"),
        "tools": [one for one in tools if isinstance(one, dict)],
        "mcp_servers": [one for one in profile.get("mcpServers", []) if isinstance(one, dict)],
        "skills": [],
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
    }


def environment_json(env_id: str, body: Mapping[str, Any]) -> Json:
    """An environment."""
    return {"id": env_id, "type": "environment", **body}


def session_json(view: SessionView) -> Json:
    """A session."""
    labels = view.labels
    waits = bool(view.approvals or view.client_calls or view.questions)
    at_ms = max(view.last_activity_ms, view.created_ms)
    return {
        "id": view.session,
        "type": "session",
        "status": "running" if view.host_run_id and not waits else "idle",
        "agent": parts_json(labels["agent"]),
        "environment_id": labels.get("environment_id", ""),
        "metadata": labels.get("metadata", {}),
        "title": view.title,
        "resources": [],
        "outcome_evaluations": [],
        "vault_ids": [],
        "stats": {"duration_seconds": round((at_ms - view.created_ms) / 1000, 3)},
        "usage": usage_json(view.usage, view.spent_usd),
        "budget": budget_json(view.cap_usd),
        "created_at": iso(view.created_ms),
        "updated_at": iso(at_ms),
        "archived_at": labels.get("archived_at"),
    }


def usage_json(usage: Usage, spent_usd: Decimal) -> Json:
    """What a session took so far."""
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "list_cost": _amount(spent_usd),
    }


def budget_json(cap_usd: Decimal | None) -> Json | None:
    """What a session may cost."""
    return None if cap_usd is None else {"type": "limit", "max_list_cost": _amount(cap_usd)}


def thread_json(view: SessionView, thread: str, agent: Json, *, running: bool) -> Json:
    """A thread: the work of one agent of a session."""
    main = thread == thread_id(view, None)
    return {
        "id": thread,
        "type": "session_thread",
        "session_id": view.session,
        "agent": agent,
        "parent_thread_id": None if main else thread_id(view, None),
        "status": "running" if running else "idle",
        "created_at": iso(view.created_ms),
        "updated_at": iso(max(view.last_activity_ms, view.created_ms)),
        "archived_at": None,
        "stats": None,
        "usage": None,
    }


def thread_id(view: SessionView, agent: str | None) -> str:
    """The thread of an agent; of the session's own when none is named."""
    return f"thread-{agent or view.agent}"


def _amount(usd: Decimal) -> Json:
    cents = usd.quantize(_CENTS, ROUND_HALF_UP) * 100
    return {"amount": str(int(cents)), "currency": "USD"}
