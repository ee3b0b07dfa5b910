"""Routes about MCP servers: which there are, what they can do, and calls of their tools.

Shapes are those clients of BrainstormRouter read. What waits for a person is at `/v1/mcp/approvals`
(`routes/approvals.py`).
"""

from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.ids import parse_session_id
from brainpilot_rt.domain.tools import FOREIGN
from brainpilot_rt.governance.policy import ToolPolicy
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import calling_agent, refuse_agents
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.routes.governance import row_json
from brainpilot_rt.server.wires.approvals import approval_json
from brainpilot_rt.supervision.insight import ROWS_MAX
from brainpilot_rt.supervision.mcp_calls import Called

_MANAGE: Final = "manage MCP servers"


class CallBody(Body):
    """POST /v1/mcp/tools/call."""

    server_id: Annotated[str, Field(min_length=1, max_length=200)]
    tool: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any])


class AllowBody(Body):
    """POST /v1/mcp/servers/{id}/allow. `digest`: of what was shown; another is not consented to."""

    digest: Annotated[str | None, Field(max_length=128)] = None


class McpRoutes:
    """Handlers about MCP servers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._servers = backend.mcp.admin

    # --- servers ----------------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """GET /v1/mcp/servers: all of them, or those of a session."""
        named = request.query_params.get("session")
        found = await self._servers.listed(None if named is None else parse_session_id(named))
        return json_response((200, {"servers": found, "total": len(found)}))

    async def register(self, request: Request) -> Response:
        """POST /v1/mcp/servers."""
        body = await self._owned(request)
        return json_response((201, await self._servers.register(body)))

    async def show(self, request: Request) -> Response:
        """GET /v1/mcp/servers/{id}."""
        return json_response((200, await self._servers.show(request.path_params["id"])))

    async def update(self, request: Request) -> Response:
        """PUT /v1/mcp/servers/{id}: what is not named stays as it is."""
        body = await self._owned(request)
        return json_response((200, await self._servers.update(request.path_params["id"], body)))

    async def remove(self, request: Request) -> Response:
        """DELETE /v1/mcp/servers/{id}."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        ident: str = request.path_params["id"]
        await self._servers.remove(ident)
        return json_response((200, {"id": ident, "deleted": True}))

    async def discover(self, request: Request) -> Response:
        """POST /v1/mcp/servers/{id}/discover: the tools there are, connected to if need be."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        return json_response((200, await self._servers.discover(request.path_params["id"])))

    async def allow(self, request: Request) -> Response:
        """POST /v1/mcp/servers/{id}/allow: consent to what a work tree's file says now."""
        body = parse(AllowBody, await self._owned(request))
        ident: str = request.path_params["id"]
        return json_response((200, await self._servers.allow(ident, body.digest)))

    async def restart(self, request: Request) -> Response:
        """POST /v1/mcp/servers/{id}/restart."""
        refuse_agents(request, self._backend.agents, _MANAGE)
        return json_response((200, await self._servers.restart(request.path_params["id"])))

    # --- tools ------------------------------------------------------------------------------

    async def tools(self, request: Request) -> Response:
        """GET /v1/mcp/tools: of one server (`server_id`), or of all."""
        found = await self._servers.tools(request.query_params.get("server_id"))
        return json_response((200, {"tools": found, "total": len(found)}))

    async def call(self, request: Request) -> Response:
        """POST /v1/mcp/tools/call."""
        raw = sent(request)
        return await self._call(request, parse(CallBody, raw))

    async def call_named(self, request: Request) -> Response:
        """POST /v1/mcp/tools/{server}/{tool}: the body is the arguments, or has them."""
        raw = sent(request)
        wrapped = raw.keys() == {"arguments"} and isinstance(raw["arguments"], dict)
        named = request.path_params
        values: dict[str, Any] = {"server_id": named["server"], "tool": named["tool"]}
        values["arguments"] = raw["arguments"] if wrapped else raw
        return await self._call(request, parse(CallBody, values))

    async def _call(self, request: Request, body: CallBody) -> Response:
        agent = calling_agent(request, self._backend.agents)
        called = await self._backend.mcp.calls.call(
            body.server_id, body.tool, body.arguments, agent
        )
        if called.waits is None:
            return json_response((200, _called_json(called, body.server_id)))
        asked = approval_json(called.waits)
        waiting = {"status": "pending_approval", "approvalId": asked["id"], "approval": asked}
        response = json_response((202, waiting))
        # The same request is to be made again: its answer is not the answer of its key for ever.
        response.headers["retry-after"] = "1"
        return response

    # --- governance -------------------------------------------------------------------------

    async def audit(self, request: Request) -> Response:
        """GET /v1/mcp/audit: calls of foreign tools, of runs and outside of them, newest first."""
        limit = number(request, "limit", 100, most=ROWS_MAX)
        insight = self._backend.oversight.insight
        rows = await insight.calls(limit, lambda tool: tool.startswith(FOREIGN))
        listed = [row_json(row) for row in rows]
        return json_response((200, {"entries": listed, "total": len(listed), "limit": limit}))

    async def governance(self, _request: Request) -> Response:
        """GET /v1/mcp/governance: the rules for tools as they are now."""
        firewall = self._backend.oversight.tools.firewall()
        waiting = [one for one in self._backend.approvals.open() if one.tool.startswith(FOREIGN)]
        body = {
            "policies": [_policy_json(one) for one in self._backend.mcp.governor.policies()],
            "firewall": {"mode": firewall.mode, "denyList": list(firewall.deny_list)},
            "approvals": {"pending": len(waiting)},
            "servers": self._backend.mcp_status(),
        }
        return json_response((200, body))

    async def set_policy(self, request: Request) -> Response:
        """PUT /v1/mcp/governance/policy: of the tools whose name matches `tool_name`."""
        refuse_agents(request, self._backend.agents, "change policies")
        body = sent(request)
        return json_response((200, _policy_json(await self._backend.mcp.governor.set_policy(body))))

    async def _owned(self, request: Request) -> dict[str, Any]:
        refuse_agents(request, self._backend.agents, _MANAGE)
        return sent(request)


def _called_json(called: Called, server_id: str) -> dict[str, Any]:
    """As MCP has results, with what became of the call beside it."""
    return {
        "content": [{"type": "text", "text": called.content}],
        "isError": called.status != "completed",
        "status": called.status,
        "server_id": server_id,
        "tool": called.tool,
        "callId": called.call_id,
        "durationMs": called.duration_ms,
    }


def _policy_json(policy: ToolPolicy) -> dict[str, Any]:
    most = policy.max_cost_usd
    return policy.model_dump(mode="json") | {"max_cost_usd": None if most is None else float(most)}


def mcp_rows(to: McpRoutes) -> list[Row]:
    """The routes about MCP servers."""
    here, one = "/v1/mcp", "/v1/mcp/servers/{id}"
    no = {403: "an agent's token", 404: "no such server"}
    found = {200: "found", 404: "no such server"}
    made = {201: "registered", 400: "malformed", 403: no[403], 409: "the name is taken"}
    changed = {200: "done", 400: "malformed", **no, 409: "it is not one of these"}
    called = {
        200: "what came of it; `status` says whether it failed, or nobody knows",
        202: "it needs a person's word; make the same call again once that is given",
        400: "malformed",
        403: "it may not run, and why",
        404: "no such server or tool",
        429: "too many calls",
        503: "the server is not ready",
    }
    newest = {"limit": f"newest rows wanted, at most {ROWS_MAX} (100)"}
    of = {"server_id": "only of this server"}
    policy = {200: "the policy", 400: "malformed", 403: no[403]}
    return [
        Row(
            "GET",
            f"{here}/servers",
            to.index,
            "MCP servers",
            {200: "done"},
            query={"session": "only those of this session, its work tree looked at"},
        ),
        Row("POST", f"{here}/servers", to.register, "Register one", made),
        Row("GET", one, to.show, "One of them", found),
        Row("PUT", one, to.update, "Change a registered one", changed),
        Row("DELETE", one, to.remove, "Forget a registered one", changed),
        Row("POST", f"{one}/discover", to.discover, "Connect, and list its tools", changed),
        Row(
            "POST",
            f"{one}/allow",
            to.allow,
            "Consent to one of a work tree",
            changed,
            body=(AllowBody,),
        ),
        Row("POST", f"{one}/restart", to.restart, "Connect anew", changed),
        Row("GET", f"{here}/tools", to.tools, "Their tools", found, query=of),
        Row("POST", f"{here}/tools/call", to.call, "Call one", called, body=(CallBody,)),
        Row("POST", f"{here}/tools/{{server}}/{{tool}}", to.call_named, "Call one", called),
        Row("GET", f"{here}/audit", to.audit, "Calls so far", {200: "found"}, query=newest),
        Row("GET", f"{here}/governance", to.governance, "Rules for tools", {200: "found"}),
        Row(
            "PUT",
            f"{here}/governance/policy",
            to.set_policy,
            "Set the policy of some tools",
            policy,
            body=(ToolPolicy,),
        ),
    ]
