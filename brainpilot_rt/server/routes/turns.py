"""Routes about turns: which there were, and what the model read in each."""

from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number, whole
from brainpilot_rt.server.routes.sessions import session_of

TURNS_SHOWN: Final = 50
TURNS_MAX: Final = 1_000


class TurnRoutes:
    """Handlers about turns."""

    def __init__(self, backend: Backend) -> None:
        self._turns = backend.turns

    async def index(self, request: Request) -> Response:
        """GET /sessions/{id}/turns."""
        limit = number(request, "limit", TURNS_SHOWN, most=TURNS_MAX)
        found = await self._turns.recent(session_of(request), limit)
        return json_response((200, found))

    async def context(self, request: Request) -> Response:
        """GET /sessions/{id}/turns/{n}/context."""
        session, text = session_of(request), request.path_params["n"]
        n: int | Literal["latest"] = "latest" if text == "latest" else whole(text, "turn")
        return json_response((200, await self._turns.context(session, n)))
