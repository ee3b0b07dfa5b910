"""Routes about money: budgets, their bounds, the ledger, usage, and the killswitch.

An agent's own token reads them; its bounds are for whoever holds the token of the daemon or of a
client to change.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.ids import parse_agent_name, parse_session_id
from brainpilot_rt.eventlog.ledger import ROWS_MAX, Which
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import Tokens, refuse_agents
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.resources import Row
from brainpilot_rt.supervision.budget_views import BudgetViews, By

ROWS_SHOWN: Final = 100
_CHANGE: Final = "change budgets"


class KillBody(Body):
    """POST /v1/budget/killswitch/activate."""

    reason: str = Field(default="", max_length=500)


class BudgetRoutes:
    """Handlers about money."""

    def __init__(self, budgets: BudgetViews, agents: Tokens) -> None:
        self._budgets = budgets
        self._agents = agents

    async def status(self, request: Request) -> Response:
        """GET /v1/budget/status."""
        named = request.query_params.get("agent")
        agent = parse_agent_name(named) if named else None
        return json_response((200, self._budgets.status(agent)))

    async def set_limits(self, request: Request) -> Response:
        """PUT /v1/budget/limits: bounds of everything; null takes one away."""
        changes = self._changes(request)
        return json_response((200, await self._budgets.limit(None, changes)))

    async def forecast(self, _request: Request) -> Response:
        """GET /v1/budget/forecast."""
        return json_response((200, await self._budgets.forecast()))

    async def agents(self, _request: Request) -> Response:
        """GET /v1/budget/agents."""
        return json_response((200, await self._budgets.agents()))

    async def agent(self, request: Request) -> Response:
        """GET /v1/budget/agents/{id}."""
        agent = parse_agent_name(request.path_params["id"])
        return json_response((200, self._budgets.agent(agent)))

    async def set_agent(self, request: Request) -> Response:
        """PUT /v1/budget/agents/{id}: bounds of an agent; null takes one away."""
        agent = parse_agent_name(request.path_params["id"])
        changes = self._changes(request)
        return json_response((200, await self._budgets.limit(agent, changes)))

    async def ledger(self, request: Request) -> Response:
        """GET /v1/budget/ledger: one row for each model call, oldest first."""
        asked = request.query_params
        agent, session = asked.get("agent"), asked.get("session")
        which = Which(
            agent=parse_agent_name(agent) if agent else None,
            session=parse_session_id(session) if session else None,
        )
        after = number(request, "after", 0)
        limit = number(request, "limit", ROWS_SHOWN, least=1, most=ROWS_MAX)
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
        body = parse(KillBody, self._changes(request))
        return json_response((200, await self._budgets.switch(active=True, reason=body.reason)))

    async def deactivate(self, request: Request) -> Response:
        """POST /v1/budget/killswitch/deactivate."""
        refuse_agents(request, self._agents, _CHANGE)
        return json_response((200, await self._budgets.switch(active=False)))

    def _changes(self, request: Request) -> dict[str, Any]:
        refuse_agents(request, self._agents, _CHANGE)
        return sent(request)


_SHOWN: Final = {200: "As it is now.", 400: "The question is wrong."}
_CHANGED: Final = {
    200: "As it is from now on.",
    400: "That is no bound.",
    403: "An agent may not change budgets.",
}
_PAGE: Final = {
    "after": "`next` of the page before.",
    "limit": f"Rows, at most {ROWS_MAX:,}.",
    "agent": "Only calls of this agent.",
    "session": "Only calls of this session.",
}
_PERIOD: Final = {"period": "`day`, `week`, `month` or `all`; by default `month`."}
_USAGE: Final[tuple[By, ...]] = (
    "summary",
    "by-cost-center",
    "by-owner",
    "by-model",
    "by-provider",
    "by-agent",
    "by-session",
    "by-day",
    "by-purpose",
)


def budget_rows(to: BudgetRoutes) -> list[Row]:
    """The routes about money."""
    one, kill = "/v1/budget/agents/{id}", "/v1/budget/killswitch"
    of = {"agent": "Of this agent; by default of everything."}
    return [
        Row("GET", "/v1/budget/status", to.status, "Spent and left", _SHOWN, query=of),
        Row("PUT", "/v1/budget/limits", to.set_limits, "Bound everything", _CHANGED),
        Row("GET", "/v1/budget/forecast", to.forecast, "What the month comes to", _SHOWN),
        Row("GET", "/v1/budget/agents", to.agents, "Bounds of agents", _SHOWN),
        Row("GET", one, to.agent, "Bounds of one agent", _SHOWN),
        Row("PUT", one, to.set_agent, "Bound an agent", _CHANGED),
        Row("GET", "/v1/budget/ledger", to.ledger, "A row for each call", _SHOWN, query=_PAGE),
        Row("GET", kill, to.killswitch, "Whether spending is stopped", _SHOWN),
        Row("POST", f"{kill}/activate", to.activate, "Stop spending", _CHANGED, body=(KillBody,)),
        Row("POST", f"{kill}/deactivate", to.deactivate, "Allow spending", _CHANGED),
        *(
            Row("GET", f"/v1/usage/{by}", to.usage(by), "What was used", _SHOWN, query=_PERIOD)
            for by in _USAGE
        ),
    ]
