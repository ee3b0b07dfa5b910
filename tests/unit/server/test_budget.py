"""The routes about money."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.server.bodies import read_body
from brainpilot_rt.server.problems import answer_to
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.routes.budget import BudgetRoutes, budget_rows
from brainpilot_rt.supervision.budget_views import BudgetViews
from tests.unit.supervision.bank import CHAT, D, bank


class _Tokens:
    def agent_of(self, token: str) -> AgentName | None:
        return AgentName("bot") if token == "bots-own" else None


@asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[httpx.AsyncClient]:
    it = await bank(**settings)
    for usd in ("0.25", "0.5"):
        await it.spend(CHAT, usd)
    views = BudgetViews(it.budgets, it.log.ledger, it.records, it.clock)

    def served(row: Row) -> Route:
        async def handler(request: Request) -> Response:
            await read_body(request, 10_000)
            return await row.handler(request)

        return Route(row.path, handler, methods=[row.method])

    async def told(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, RuntimeFault)
        return answer_to(fault, request.url.path, request.headers, str)

    routes = [served(row) for row in budget_rows(BudgetRoutes(views, _Tokens()))]
    app = Starlette(routes=routes, exception_handlers={RuntimeFault: told})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client


async def test_status_forecast_agents_usage_and_ledger_answer_with_what_was_spent():
    async with serving(daily_usd=D(2)) as client:
        status = (await client.get("/v1/budget/status")).json()
        assert (status["daily"]["spent_usd"], status["daily"]["remaining_usd"]) == (0.75, 1.25)
        chat = (await client.get("/v1/budget/status?agent=chat")).json()
        assert chat["monthly"]["spent_usd"] == 0.75
        assert (await client.get("/v1/budget/forecast")).json()["avgDailySpendUsd"] == 0.75
        assert (await client.get("/v1/budget/agents")).json()["total"] == 1
        for by in ("summary", "by-cost-center", "by-owner", "by-model", "by-agent", "by-day"):
            usage = (await client.get(f"/v1/usage/{by}?period=month")).json()
            assert (usage["requests"], usage["cost_usd"]) == (2, 0.75)
        page = (await client.get("/v1/budget/ledger?limit=1&agent=chat")).json()
        assert [row["counted_usd"] for row in page["rows"]] == [0.25]
        page = (await client.get(f"/v1/budget/ledger?after={page['next']}")).json()
        assert [row["counted_usd"] for row in page["rows"]] == [0.5]


async def test_bounds_are_set_shown_and_taken_away():
    async with serving() as client:
        answer = await client.put("/v1/budget/limits", json={"daily_usd": 1.5, "monthly_usd": 20})
        assert answer.json()["daily"]["limit_usd"] == 1.5
        answer = await client.put("/v1/budget/agents/bot", json={"perDayUsd": 0, "rpm": 3})
        assert (answer.json()["perDayUsd"], answer.json()["rpm"]) == (0.0, 3)
        await client.put("/v1/budget/agents/bot", json={"rpm": None})
        shown = (await client.get("/v1/budget/agents/bot")).json()
        assert (shown["perDayUsd"], shown["rpm"]) == (0.0, None)


async def test_the_killswitch_is_turned_on_and_off():
    async with serving() as client:
        on = await client.post("/v1/budget/killswitch/activate", content='{"reason": "why"}')
        assert on.json()["reason"] == "why"
        assert (await client.get("/v1/budget/killswitch")).json()["active"]
        off = await client.post("/v1/budget/killswitch/deactivate")
        assert off.json() == {"active": False}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/budget/limits", {"daily_usd": -1}),
        ("PUT", "/v1/budget/agents/bot", {"perDayUsd": -0.5}),
        ("PUT", "/v1/budget/agents/Not a name", {"perDayUsd": 1}),
        ("PUT", "/v1/budget/limits", {"rpm": 3}),
        ("PUT", "/v1/budget/limits", {"daily": 3}),
        ("GET", "/v1/budget/ledger?after=-1", None),
        ("GET", "/v1/budget/ledger?session=..", None),
        ("GET", "/v1/usage/summary?period=fortnight", None),
    ],
)
async def test_what_is_wrong_is_said(method: str, path: str, body: Any):
    async with serving() as client:
        answer = await client.request(method, path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_an_agent_reads_budgets_and_changes_none(header: str):
    token = "Bearer bots-own" if header == "authorization" else "bots-own"
    async with serving() as client:
        client.headers[header] = token
        assert (await client.get("/v1/budget/status")).status_code == 200
        for method, path in (
            ("PUT", "/v1/budget/limits"),
            ("PUT", "/v1/budget/agents/bot"),
            ("POST", "/v1/budget/killswitch/activate"),
            ("POST", "/v1/budget/killswitch/deactivate"),
        ):
            assert (await client.request(method, path, json={})).status_code == 403
