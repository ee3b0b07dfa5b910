"""The table of managed agents; what of that family is not here is said in `server/absent.py`.

`latest` and `.../state` are of another client's session state; they are matched before sessions.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.bodies import sent
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.managed_streams import ManagedStreams
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.routes.environments import EnvironmentRoutes
from brainpilot_rt.server.routes.managed_agents import ManagedAgentRoutes
from brainpilot_rt.server.routes.managed_events import ManagedEventRoutes, SentBody
from brainpilot_rt.server.routes.managed_sessions import ManagedSessionRoutes
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.server.wires.managed_bodies import (
    AgentBody,
    AgentChange,
    EnvironmentBody,
    SessionBody,
    SessionChange,
)

STATE: Final = "session_state"
_OK: Final = {200: "done"}
_MADE: Final = {200: "done", 400: "malformed, or not to be had here"}
_FOUND: Final = {200: "found", 404: "no such thing"}
_CHANGED: Final = {**_MADE, 404: "no such thing", 409: "changed meanwhile"}
_STREAM: Final = {200: "server-sent events", 404: "no such session", 429: "too many streams"}
_PAGE: Final = {"limit": "items wanted, at most 100 (20)", "page": "token of a page"}


class StateRoutes:
    """What a client keeps about its own sessions, whichever they are."""

    def __init__(self, backend: Backend, config: ServerConfig) -> None:
        self._backend = backend
        self._config = config

    async def put(self, request: Request) -> Response:
        """POST /v1/sessions/{id}/state: any JSON object; `project` names what it belongs to."""
        session = session_of(request)
        kept: dict[str, Any] = {
            "session_id": session,
            "state": sent(request),
            "updated_at": iso(self._config.clock.now_ms()),
        }
        # The latest stands last, whenever it was first kept.
        await self._backend.records.delete(STATE, session)
        await self._backend.records.put(STATE, session, kept)
        return json_response((200, {"saved": True, **kept}))

    async def latest(self, request: Request) -> Response:
        """GET /v1/sessions/latest: the state that was kept last, of a `project` or of all."""
        project = request.query_params.get("project")
        for kept in reversed(list(self._backend.records.of(STATE).values())):
            if project in (None, kept["state"].get("project")):
                return json_response((200, kept))
        raise NotFound("no state was kept for this project", code="no_state")


def managed_rows(backend: Backend, config: ServerConfig, hub: Hub) -> list[Row]:
    """All rows of the family."""
    streams = ManagedStreams(backend, hub, config.http.heartbeat_s)
    agents = ManagedAgentRoutes(backend, config)
    events = ManagedEventRoutes(backend, streams)
    sessions = ManagedSessionRoutes(backend, config, agents, events)
    return [
        *_agent_rows(agents),
        *_environment_rows(EnvironmentRoutes(backend, config)),
        *_state_rows(StateRoutes(backend, config)),
        *_session_rows(sessions),
        *_event_rows(events),
        *_thread_rows(sessions),
    ]


def _agent_rows(to: ManagedAgentRoutes) -> list[Row]:
    one = "/v1/agents/{id}"
    new, changed = (AgentBody,), (AgentChange,)
    return [
        Row("POST", "/v1/agents", to.create, "Make an agent", _MADE, body=new),
        Row("GET", "/v1/agents", to.index, "Agents", _OK, query=_PAGE),
        Row("GET", one, to.show, "An agent", _FOUND),
        Row("POST", one, to.update, "A new version of it", _CHANGED, body=changed),
        Row("POST", f"{one}/archive", to.archive, "Make no more sessions with it", _FOUND),
        Row("GET", f"{one}/versions", to.versions, "Its versions", _FOUND, query=_PAGE),
    ]


def _environment_rows(to: EnvironmentRoutes) -> list[Row]:
    all_, one = "/v1/environments", "/v1/environments/{id}"
    body = (EnvironmentBody,)
    return [
        Row("POST", all_, to.create, "Make an environment", _MADE, body=body, write=True),
        Row("GET", all_, to.index, "Environments", _OK, query=_PAGE),
        Row("GET", one, to.show, "An environment", _FOUND),
        Row("POST", one, to.update, "Change it", _CHANGED, body=body, write=True),
        Row("DELETE", one, to.delete, "Delete it", _FOUND, write=True),
        Row("POST", f"{one}/archive", to.archive, "Archive it", _FOUND, write=True),
    ]


def _state_rows(to: StateRoutes) -> list[Row]:
    query = {"project": "of which project"}
    path = "/v1/sessions/{id}/state"
    return [
        Row("GET", "/v1/sessions/latest", to.latest, "The latest state", _FOUND, query=query),
        Row("POST", path, to.put, "Keep state for a client", _MADE, write=True),
    ]


def _session_rows(to: ManagedSessionRoutes) -> list[Row]:
    all_, one = "/v1/sessions", "/v1/sessions/{id}"
    new, changed = (SessionBody,), (SessionChange,)
    return [
        Row("POST", all_, to.create, "Begin a session", _CHANGED, body=new),
        Row("GET", all_, to.index, "Sessions", _OK, query=_PAGE),
        Row("GET", one, to.show, "A session", _FOUND),
        Row("POST", one, to.update, "Change it", _CHANGED, body=changed),
        Row("DELETE", one, to.delete, "Delete it with its data", _FOUND),
        Row("POST", f"{one}/archive", to.archive, "Stop and archive it", _FOUND),
    ]


def _event_rows(to: ManagedEventRoutes) -> list[Row]:
    path = "/v1/sessions/{id}/events"
    query = _PAGE | {"types[]": "only these", "order": "asc or desc"}
    deltas = {"event_deltas[]": "agent.message: pieces of it while it is said"}
    return [
        Row("GET", path, to.index, "What happened", _FOUND, query=query),
        Row("POST", path, to.send, "Say, answer, confirm, stop", _CHANGED, body=(SentBody,)),
        Row(
            "GET", f"{path}/stream", to.stream, "What happens now", _STREAM, query=deltas,
            stream=True,
        ),
    ]  # fmt: skip


def _thread_rows(to: ManagedSessionRoutes) -> list[Row]:
    path = "/v1/sessions/{id}/threads"
    one = f"{path}/{{tid}}"
    return [
        Row("GET", path, to.threads, "Who works in it", _FOUND, query=_PAGE),
        Row("GET", one, to.thread, "One of them", _FOUND),
        Row("GET", f"{one}/events", to.thread_events, "Events of its own thread", _FOUND),
        Row("GET", f"{one}/stream", to.thread_stream, "The same as they come", _STREAM),
    ]
