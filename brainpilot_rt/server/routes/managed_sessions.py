"""Routes about managed sessions: a session of ours with one agent, held to a version of it.

What a client keeps with a session is in its labels: the environment, the metadata, and the profile
its agent has there. Only sessions that were made here are shown here.
"""

from collections.abc import AsyncGenerator, Mapping
from decimal import Decimal
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.events import Thinking
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.bodies import parse, sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend, NewSession
from brainpilot_rt.server.routes.environments import ENVIRONMENT, environment
from brainpilot_rt.server.routes.managed_agents import MANAGE, ManagedAgentRoutes
from brainpilot_rt.server.routes.managed_events import (
    API,
    ManagedEventRoutes,
    managed,
    parsed,
)
from brainpilot_rt.server.routes.paging import flag, in_time, is_in, many, page_of
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.server.wires.managed import (
    parts_json,
    session_json,
    thread_id,
    thread_json,
)
from brainpilot_rt.server.wires.managed_bodies import (
    AgentOfSession,
    Json,
    SessionBody,
    SessionChange,
    merged,
)
from brainpilot_rt.sessions.views import SessionSummary, SessionView
from brainpilot_rt.supervision.agent_records import Changes, changed

_THINKING: Final[Mapping[str, Thinking]] = {"low": "low", "medium": "medium"}
"""Effort -> thinking; any other that is said is `high`."""


class ManagedSessionRoutes:
    """Handlers about managed sessions."""

    def __init__(
        self,
        backend: Backend,
        config: ServerConfig,
        agents: ManagedAgentRoutes,
        events: ManagedEventRoutes,
    ) -> None:
        self._backend = backend
        self._config = config
        self._agents = agents
        self._events = events

    async def create(self, request: Request) -> Response:
        """POST /v1/sessions."""
        body = parse(SessionBody, sent(request))
        if not isinstance(body.agent, str) and body.agent.type != "agent":
            refuse_agents(request, self._backend.agents, MANAGE)
        if body.resources or body.vault_ids:
            raise BadRequest(
                "resources and vaults are not mounted here: put files into the session's work "
                "tree, and secrets into the daemon's own vault",
                code="unsupported_parameter",
            )
        place = environment(
            self._backend.records.get(ENVIRONMENT, body.environment_id), body.environment_id
        )
        if place["archived_at"] is not None:
            raise BadRequest("this environment is archived", code="environment_archived")
        events = parsed(body.initial_events)
        if any(one.type != "user.message" for one in events):
            raise BadRequest("initial_events are of type user.message here")
        cap = _cap(body.budget.usd) if body.budget is not None else None
        profile = await self._profile(body.agent)
        if events:
            self._backend.agents.admit(profile["agentId"])
        labels = {
            "api": API,
            "environment_id": body.environment_id,
            "metadata": body.metadata,
            "agent": profile,
            "custom_tools": _custom(profile),
        }
        made = await self._backend.create_session(
            NewSession(
                title=body.title,
                thinking=_thinking(profile),
                agent=AgentName(profile["agentId"]),
                cap_usd=cap,
                labels=labels,
            )
        )
        for one in events:
            await self._events.say(made.session, one)
        return await self._shown(made.session)

    async def _profile(self, wanted: str | AgentOfSession) -> Mapping[str, Any]:
        """The agent as the session has it: at a version, with parts of its own."""
        said = AgentOfSession(id=wanted) if isinstance(wanted, str) else wanted
        profile = self._backend.agents.get(said.id)
        self._agents.check_not_archived(said.id)
        if said.version is not None:
            profile = await self._agents.version(said.id, said.version)
        if said.type == "agent":
            return profile
        own = self._agents.changes(said)
        changes = parse(Changes, own)
        news = changed(profile, changes, self._config.clock.now_ms())
        return news | {"version": profile["version"], "updatedAt": profile["updatedAt"]}

    async def index(self, request: Request) -> Response:
        """GET /v1/sessions: newest first unless the order is `asc`."""
        query = request.query_params
        archived, between = flag(request, "include_archived"), in_time(request)
        states, agent = many(request, "statuses"), query.get("agent_id")
        found = [one async for one in self._made_here() if is_in(one.created_ms, between)]
        found.sort(key=lambda one: one.created_ms, reverse=query.get("order") != "asc")
        shown: list[Json] = []
        for one in found:
            said = session_json(await self._backend.view(one.session))
            if (
                (archived or said["archived_at"] is None)
                and (not states or said["status"] in states)
                and agent in (None, said["agent"]["id"])
            ):
                shown.append(said)
        return json_response((200, page_of(request, shown, back=True)))

    async def _made_here(self) -> AsyncGenerator[SessionSummary, None]:
        """By the first event of each, so that none has to be loaded to be passed over."""
        for row in await self._backend.list_sessions():
            first = await self._backend.log.read(row.session, limit=1)
            made = first[0].event if first else None
            if isinstance(made, ev.SessionCreated) and made.labels.get("api") == API:
                yield row

    async def show(self, request: Request) -> Response:
        """GET /v1/sessions/{id}."""
        return await self._shown(session_of(request))

    async def update(self, request: Request) -> Response:
        """POST /v1/sessions/{id}."""
        session = session_of(request)
        view = await managed(self._backend, session)
        body = parse(SessionChange, sent(request))
        if body.agent is not None or body.budget is not None:
            refuse_agents(request, self._backend.agents, "change what a session may do")
        if body.vault_ids:
            raise BadRequest("there are no vaults here", code="unsupported_parameter")
        labels = dict(view.labels)
        if body.metadata is not None:
            labels["metadata"] = merged(labels.get("metadata", {}), body.metadata)
        if body.agent is not None:
            changes = parse(Changes, self._agents.changes(body.agent))
            kept = changed(labels["agent"], changes, self._config.clock.now_ms())
            labels["agent"] = kept | {"version": labels["agent"]["version"]}
            labels["custom_tools"] = _custom(kept)
        await self._backend.update_session(
            session,
            body.title,
            cap_usd=_cap(body.budget.usd) if body.budget is not None else None,
            labels=labels if labels != view.labels else None,
        )
        return await self._shown(session)

    async def archive(self, request: Request) -> Response:
        """POST /v1/sessions/{id}/archive: it stops, and takes no more events."""
        session = session_of(request)
        view = await managed(self._backend, session)
        if view.labels.get("archived_at") is None:
            await self._backend.interrupt(session, None)
            at = iso(self._config.clock.now_ms())
            labels = {**view.labels, "archived_at": at}
            await self._backend.update_session(session, labels=labels)
        return await self._shown(session)

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/sessions/{id}, with all its data."""
        session = session_of(request)
        await managed(self._backend, session)
        await self._backend.delete_session(session)
        return json_response((200, {"id": session, "type": "session_deleted"}))

    # --- threads ----------------------------------------------------------------------------

    async def threads(self, request: Request) -> Response:
        """GET /v1/sessions/{id}/threads: the session's own agent, then those that work for it."""
        view = await managed(self._backend, session_of(request))
        return json_response((200, page_of(request, _threads(view))))

    async def thread(self, request: Request) -> Response:
        """GET /v1/sessions/{id}/threads/{tid}."""
        view = await managed(self._backend, session_of(request))
        wanted = request.path_params["tid"]
        for one in _threads(view):
            if one["id"] == wanted:
                return json_response((200, one))
        raise NotFound(f"this session has no thread {wanted[:80]!r}", code="unknown_thread")

    async def thread_events(self, request: Request) -> Response:
        """GET /v1/sessions/{id}/threads/{tid}/events: of the session's own thread."""
        await self._own_thread(request)
        return await self._events.index(request)

    async def thread_stream(self, request: Request) -> Response:
        """GET /v1/sessions/{id}/threads/{tid}/stream: of the session's own thread."""
        await self._own_thread(request)
        return await self._events.stream(request)

    async def _own_thread(self, request: Request) -> None:
        view = await managed(self._backend, session_of(request))
        if request.path_params["tid"] != thread_id(view, None):
            raise NotFound(
                "what other agents say among themselves is shown on this daemon's own wire: "
                f"/sessions/{view.session}/history",
                code="thread_not_shown",
            )

    async def _shown(self, session: SessionId) -> Response:
        return json_response((200, session_json(await managed(self._backend, session))))


def _threads(view: SessionView) -> list[Json]:
    own = session_json(view)
    found = [
        thread_json(view, thread_id(view, None), own["agent"], running=own["status"] == "running")
    ]
    for one in view.agents:
        if one.name != view.agent and (one.run_id is not None or one.unread):
            named: Json = {"id": one.name, "name": one.name, "tools": [], "version": 1}
            agent: Json = {**own["agent"], **named}
            running = one.run_id is not None
            found.append(thread_json(view, thread_id(view, one.name), agent, running=running))
    return found


def _custom(profile: Mapping[str, Any]) -> list[str]:
    return [str(one["name"]) for one in profile.get("custom_tools") or ()]


def _thinking(profile: Mapping[str, Any]) -> Thinking:
    effort = parts_json(profile)["model"].get("effort")
    return "off" if effort is None else _THINKING.get(str(effort.get("type")), "high")


def _cap(usd: Decimal) -> Decimal:
    if usd <= 0:
        raise BadRequest("a budget is more than 0; without one the daemon's own limits hold")
    return usd
