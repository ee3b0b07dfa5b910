"""The route about skills: which a session has, from where, and what is wrong with them."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.skills import facts_of
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.routes.sessions import session_of


class SkillRoutes:
    """The handler about skills."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def index(self, request: Request) -> Response:
        """GET /sessions/{id}/skills."""
        session = session_of(request)
        await self._backend.view(session)  # only a session in memory knows its work tree
        workspace = self._backend.workspace(session)
        found = await asyncio.to_thread(self._backend.skills.find, workspace)
        return json_response((200, {"skills": [facts_of(skill) for skill in found]}))
