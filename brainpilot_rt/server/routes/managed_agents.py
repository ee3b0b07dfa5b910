"""Routes about managed agents: registered agents with their versions, for Anthropic's client.

A version is what the profile was when it was last saved under its number: the log has them all.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.bodies import parse, sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import whole
from brainpilot_rt.server.routes.paging import flag, in_time, is_in, moment_ms, page_of
from brainpilot_rt.server.wires.managed import agent_json
from brainpilot_rt.server.wires.managed_bodies import (
    AgentBody,
    AgentChange,
    AgentParts,
    Json,
    kept_tools,
    merged,
)
from brainpilot_rt.supervision.agent_limits import AGENT
from brainpilot_rt.supervision.agent_records import Changes

ARCHIVED: Final = "archived_agent"
MANAGE: Final = "manage agents"
_SAVED: Final = frozenset({"record_saved"})
_PAGE: Final = 500


class ManagedAgentRoutes:
    """Handlers about managed agents."""

    def __init__(self, backend: Backend, config: ServerConfig) -> None:
        self._backend = backend
        self._config = config

    async def create(self, request: Request) -> Response:
        """POST /v1/agents."""
        refuse_agents(request, self._backend.agents, MANAGE)
        body = parse(AgentBody, sent(request))
        said = self.changes(body) | {"display_name": body.name, "metadata": body.metadata}
        made = await self._backend.agents.create(
            f"agent-{self._backend.new_id()}", parse(Changes, said), "active"
        )
        return json_response((200, agent_json(made)))

    async def index(self, request: Request) -> Response:
        """GET /v1/agents: newest first."""
        archived, between = flag(request, "include_archived"), in_time(request)
        found = [
            self._json(one)
            for one in reversed(self._backend.agents.listed())
            if is_in(moment_ms(one["createdAt"]), between)
        ]
        shown = [one for one in found if archived or one["archived_at"] is None]
        return json_response((200, page_of(request, shown)))

    async def show(self, request: Request) -> Response:
        """GET /v1/agents/{id}, also as it was at a `version`."""
        agent: str = request.path_params["id"]
        wanted = request.query_params.get("version")
        if wanted is None:
            return json_response((200, self._json(self._backend.agents.get(agent))))
        version = whole(wanted, "version")
        return json_response((200, self._json(await self.version(agent, version))))

    async def update(self, request: Request) -> Response:
        """POST /v1/agents/{id}: a new version."""
        refuse_agents(request, self._backend.agents, MANAGE)
        agent: str = request.path_params["id"]
        body = parse(AgentChange, sent(request))
        before = self._backend.agents.get(agent)
        self.check_not_archived(agent)
        said = self.changes(body)
        if body.name is not None:
            said["display_name"] = body.name
        if body.metadata is not None:
            said["metadata"] = merged(before["metadata"], body.metadata)
        if not said:
            return json_response((200, self._json(before)))
        made = await self._backend.agents.update(agent, parse(Changes, said), body.version)
        return json_response((200, self._json(made)))

    async def archive(self, request: Request) -> Response:
        """POST /v1/agents/{id}/archive. Sessions with it go on; no more are made."""
        refuse_agents(request, self._backend.agents, MANAGE)
        agent: str = request.path_params["id"]
        body = self._backend.agents.get(agent)
        if self._backend.records.get(ARCHIVED, agent) is None:
            await self._backend.records.put(
                ARCHIVED, agent, {"at": iso(self._config.clock.now_ms())}
            )
        return json_response((200, self._json(body)))

    async def versions(self, request: Request) -> Response:
        """GET /v1/agents/{id}/versions: newest first."""
        agent: str = request.path_params["id"]
        self._backend.agents.get(agent)
        kept = await self._versions(agent)
        # Versions share the agent's id: pages are turned by number.
        found = [self._json(kept[number]) for number in sorted(kept, reverse=True)]
        page = page_of(request, [{"id": str(one["version"]), "of": one} for one in found])
        return json_response((200, page | {"data": [one["of"] for one in page["data"]]}))

    # --- for sessions too -------------------------------------------------------------------

    async def version(self, agent: str, number: int) -> Mapping[str, Any]:
        """The profile as it was at a version."""
        present = self._backend.agents.get(agent)
        if present["version"] == number:
            return present
        kept = await self._versions(agent)
        if number not in kept:
            raise NotFound(f"agent {agent!r} has no version {number}", code="unknown_version")
        return kept[number]

    def check_not_archived(self, agent: str) -> None:
        """Raise if it is."""
        if self._backend.records.get(ARCHIVED, agent) is not None:
            raise BadRequest(f"agent {agent!r} is archived", code="agent_archived")

    def changes(self, body: AgentParts) -> Json:
        """What is said of an agent, in the words of profiles. `BadRequest` for what can not be."""
        body.check()
        said: Json = body.model_dump(include=body.model_fields_set & {"system", "description"})
        if (model := body.model_json) is not None:
            said["model"] = self._known(model)
        if body.mcp_servers is not None:
            for one in body.mcp_servers:
                if wrong := self._backend.mcp.admin.mismatch(one.get("name"), one.get("url")):
                    raise BadRequest(f"mcp_servers: {wrong}", code="unsupported_parameter")
            said["mcp_servers"] = body.mcp_servers
        if body.tools is not None:
            said["tools"], said["custom_tools"] = kept_tools(body.tools)
        elif "tools" in body.model_fields_set:
            said["tools"], said["custom_tools"] = [], []
        return said

    def _known(self, model: Json) -> Json:
        try:
            pinned = self._backend.completions.pinned(model["id"])
        except NotFound as missing:
            there = ", ".join(one.model for one in self._backend.completions.models()[:20])
            raise BadRequest(
                f"{missing.message}; there are auto, {there}", code="model_not_found"
            ) from None
        return model if pinned is None else model | pinned.model_dump()

    def _json(self, profile: Mapping[str, Any]) -> Json:
        kept = self._backend.records.get(ARCHIVED, profile["agentId"])
        return agent_json(profile, kept["at"] if kept is not None else None)

    async def _versions(self, agent: str) -> dict[int, Mapping[str, Any]]:
        found: dict[int, Mapping[str, Any]] = {}
        log = self._backend.log
        before: int | None = None
        while page := await log.read_back(DAEMON_STREAM, before=before, limit=_PAGE, types=_SAVED):
            before = page[0].seq
            for recorded in reversed(page):
                match recorded.event:
                    case ev.RecordSaved(kind=kind, key=key, body=body) if (kind, key) == (
                        AGENT,
                        agent,
                    ):
                        found.setdefault(body["version"], body)
                    case _:
                        pass
        return found
