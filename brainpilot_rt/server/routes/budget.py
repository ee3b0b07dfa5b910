"""Routes about money: budgets, their bounds, the ledger, usage, and the killswitch."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import parse_agent_name, parse_session_id
from brainpilot_rt.eventlog.ledger import ROWS_MAX, Which
from brainpilot_rt.server.bodies import Body, parse, parse_object, read_body
from brainpilot_rt.server.budget_port import HasBudgets
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.supervision.budget_views import By

ROWS_SHOWN: Final = 100
_DIGITS_MAX: Final = 15


class KillBody(Body):
    """POST /v1/budget/killswitch/activate."""

    reason: str = Field(default="", max_length=500)


class BudgetRoutes:
    """Handlers about money."""

    def __init__(self, backend: HasBudgets, config: ServerConfig) -> None:
        self._budgets = backend.budgets
        self._body_bytes_max = config.http.body_bytes_max

    async def status(self, request: Request) -> Response:
        """GET /v1/budget/status."""
        named = request.query_params.get("agent")
        agent = parse_agent_name(named) if named else None
        return json_response((200, self._budgets.status(agent)))

    async def set_limits(self, request: Request) -> Response:
        """PUT /v1/budget/limits: bounds of everything; null takes one away."""
        changes = await self._object(request)
        return json_response((200, await self._budgets.limit(None, changes)))

    async def forecast(self, _request: Request) -> Response:
        """GET /v1/budget/forecast."""
        return json_response((200, await self._budgets.forecast()))

    async def agents(self, _request: Request) -> Response:
        """GET /v1/budget/agents."""
        return json_response((200, await self._budgets.agents()))

    async def agent(self, request: Request) -> Response:
        """GET /v1/budget/agents/{agent}."""
        agent = parse_agent_name(request.path_params["agent"])
        return json_response((200, self._budgets.agent(agent)))

    async def set_agent(self, request: Request) -> Response:
        """PUT /v1/budget/agents/{agent}: bounds of an agent; null takes one away."""
        agent = parse_agent_name(request.path_params["agent"])
        changes = await self._object(request)
        return json_response((200, await self._budgets.limit(agent, changes)))

    async def ledger(self, request: Request) -> Response:
        """GET /v1/budget/ledger: one row for each model call, oldest first."""
        asked = request.query_params
        agent, session = asked.get("agent"), asked.get("session")
        which = Which(
            agent=parse_agent_name(agent) if agent else None,
            session=parse_session_id(session) if session else None,
        )
        after = _number(request, "after", 0)
        limit = min(max(1, _number(request, "limit", ROWS_SHOWN)), ROWS_MAX)
        return json_response((200, await self._budgets.rows(which, after, limit)))

    def usage(self, by: By) -> Callable[[Request], Awaitable[Response]]:
        """GET /v1/usage/{by}: calls, tokens and money of a period."""

        async def handler(request: Request) -> Response:
            period = request.query_params.get("period", "month")
            return json_response((200, await self._budgets.usage(period, by)))

        return handler

    async def killswitch(self, _request: Request) -> Response:
        """GET /v1/budget/killswitch."""
        return json_response((200, self._budgets.killswitch()))

    async def activate(self, request: Request) -> Response:
        """POST /v1/budget/killswitch/activate: nothing may be spent any more."""
        body = parse(KillBody, await self._object(request))
        return json_response((200, await self._budgets.switch(active=True, reason=body.reason)))

    async def deactivate(self, _request: Request) -> Response:
        """POST /v1/budget/killswitch/deactivate."""
        return json_response((200, await self._budgets.switch(active=False)))

    async def _object(self, request: Request) -> dict[str, Any]:
        return parse_object(await read_body(request, self._body_bytes_max))


def _number(request: Request, name: str, standard: int) -> int:
    text = request.query_params.get(name, str(standard))
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise BadRequest(f"{name}: a whole number")
    return int(text)
