"""Routes about sessions: create, list, rename, drop, and what is known of one."""

from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, Forbidden, NotFound
from brainpilot_rt.domain.events import Thinking
from brainpilot_rt.domain.ids import SessionId, parse_session_id
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.idempotency import Answer, json_response, receipt_of
from brainpilot_rt.server.ports import Backend, NewSession
from brainpilot_rt.server.wires.brainpilot_views import (
    agent_json,
    letter_json,
    session_json,
    state_json,
)
from brainpilot_rt.sessions.views import SessionSummary

STAGING = SessionId("local")
"""Where a client puts files before it has a session; never a session."""


class CreateSessionBody(Body):
    """POST /sessions. An `id` that exists answers with that session."""

    id: str | None = None
    title: Annotated[str, Field(max_length=500)] | None = None
    provider_id: Annotated[str | None, Field(alias="providerId")] = None
    model_id: Annotated[str | None, Field(alias="modelId")] = None
    thinking_level: Annotated[Thinking, Field(alias="thinkingLevel")] = "off"
    domain_resources: Annotated[Literal["full", "base"], Field(alias="domainResources")] = "full"
    workspace: str | None = None
    """An existing folder to work in, by its absolute path."""


class UpdateSessionBody(Body):
    """PUT /sessions/{id}. A blank title changes nothing."""

    title: Annotated[str, Field(max_length=500)] | None = None
    thinking_level: Annotated[Thinking | None, Field(alias="thinkingLevel")] = None


def session_of(request: Request) -> SessionId:
    """The session a path names."""
    return parse_session_id(request.path_params["id"])


def _created(summary: SessionSummary) -> Answer:
    return 201, {"id": summary.session, "session": session_json(summary)}


class SessionRoutes:
    """Handlers about sessions."""

    def __init__(self, backend: Backend, config: ServerConfig) -> None:
        self._backend = backend
        self._config = config

    async def create(self, request: Request) -> Response:
        """POST /sessions."""
        body = parse(CreateSessionBody, sent(request))
        if body.id is not None and parse_session_id(body.id) == STAGING:
            raise BadRequest(f"{STAGING!r} is the staging area for files, not a session")
        if body.workspace is not None and not self._config.workspaces_allowed:
            raise Forbidden("this daemon does not work in folders of a caller's choice")
        new = NewSession(
            title=body.title,
            session=body.id,
            provider_id=body.provider_id,
            model_id=body.model_id,
            thinking=body.thinking_level,
            domain_resources=body.domain_resources,
            workspace=body.workspace,
        )
        made = await self._backend.create_session(new, receipt_of(request, _created))
        return json_response(_created(made))

    async def index(self, _: Request) -> Response:
        """GET /sessions."""
        found = await self._backend.list_sessions()
        return json_response((200, {"sessions": [session_json(one) for one in found]}))

    async def show(self, request: Request) -> Response:
        """GET /sessions/{id}. Loads it: what it was created with is told by its events only."""
        session = session_of(request)
        await self._backend.view(session)
        return json_response((200, session_json(await self._backend.session(session))))

    async def update(self, request: Request) -> Response:
        """PUT /sessions/{id}."""
        session = session_of(request)
        body = parse(UpdateSessionBody, sent(request))
        title = (body.title or "").strip() or None
        if title is None and body.thinking_level is None:
            return await self.show(request)
        changed = await self._backend.update_session(session, title, body.thinking_level)
        return json_response((200, session_json(changed)))

    async def delete(self, request: Request) -> Response:
        """DELETE /sessions/{id}."""
        session = session_of(request)
        if await self._backend.delete_session(session):
            return json_response((200, {"id": session, "deleted": True}))
        return json_response((404, _missing(session) | {"id": session, "deleted": False}))

    async def evict(self, request: Request) -> Response:
        """POST /sessions/{id}/evict."""
        session = session_of(request)
        try:
            stopped = await self._backend.evict_session(session)
        except NotFound:
            gone = {"evicted": False, "agentsKilled": 0}
            return json_response((404, _missing(session) | gone))
        return json_response((200, {"evicted": True, "agentsKilled": stopped}))

    async def state(self, request: Request) -> Response:
        """GET /sessions/{id}/state."""
        return json_response((200, state_json(await self._backend.view(session_of(request)))))

    async def agents(self, request: Request) -> Response:
        """GET /sessions/{id}/agents; an unknown session has none."""
        try:
            view = await self._backend.view(session_of(request))
        except NotFound:
            return json_response((200, {"agents": []}))
        return json_response((200, {"agents": [agent_json(agent) for agent in view.agents]}))

    async def letters(self, request: Request) -> Response:
        """GET /sessions/{id}/letters."""
        found = await self._backend.letters(session_of(request))
        return json_response((200, {"letters": [letter_json(letter) for letter in found]}))

    async def stats(self, request: Request) -> Response:
        """GET /sessions/{id}/stats."""
        return json_response((200, await self._backend.stats(session_of(request))))


def _missing(session: SessionId) -> dict[str, Any]:
    message = f"there is no session {session}"
    return {"error": message, "detail": message, "code": "not_found"}
