"""Routes about registered agents: who they are, what they may spend, what they read.

An agent's own token may ask about itself and delegate from its budget; registering agents and
changing them is for whoever holds the token of the daemon or of a client.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, Forbidden, NotFound
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.governance.access import SCOPES
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import calling_agent, refuse_agents
from brainpilot_rt.server.idempotency import json_response, unrecorded
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.resources import Row
from brainpilot_rt.supervision.agent_limits import Limits
from brainpilot_rt.supervision.agent_records import TENANT, Changes
from brainpilot_rt.supervision.profiles import Identity

_FILENAME: Final = r"[^/\\\x00-\x1f]{1,200}"


class DelegateBody(Body):
    """POST /v1/agent/delegate. `parent_agent_id`: whose budget, for who is no agent itself."""

    budget_allocation_usd: Annotated[Decimal, Field(max_digits=18, decimal_places=12)]
    ttl_seconds: int = 3600
    parent_agent_id: str | None = None


class StateBody(Body):
    """PATCH /v1/agent/profiles/lifecycle/{id}."""

    state: str


class FileBody(Body):
    """PUT /v1/workspace/files: a text that an agent reads."""

    agent_id: str
    filename: Annotated[str, Field(pattern=f"^{_FILENAME}$")]
    content: Annotated[str, Field(max_length=200_000)]
    file_type: Literal["soul", "workspace", "reference"] = "workspace"
    description: Annotated[str, Field(max_length=2_000)] = ""
    tags: list[str] = Field(default_factory=list[str])


class CreateBody(Body):
    """POST /v1/agent/profiles: beside what a change may say."""

    state: Annotated[Literal["provisioned", "active"] | None, Field(alias="lifecycleState")] = None


class _Routes:
    """Who asks, and for what."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.agents = backend.agents

    def owners(self, request: Request) -> dict[str, Any]:
        """The body of a request that no agent may make with its own token."""
        refuse_agents(request, self.agents, "manage agents")
        return sent(request)

    def caller(self, request: Request) -> AgentName | None:
        """The agent whose token was used, if it was one's."""
        return calling_agent(request, self.agents)

    def named(self, request: Request) -> AgentName:
        """The agent a path names, which there is."""
        return AgentName(self.agents.get(request.path_params["id"])["agentId"])


class AgentProfileRoutes(_Routes):
    """Handlers about who registered agents are."""

    def _me(self, request: Request) -> AgentName:
        """The agent that asks, or the one an owner asks about."""
        agent = self.caller(request) or request.query_params.get("agent_id")
        if agent is None:
            raise NotFound(
                "this token is no agent's: use one that bootstrap gave, or name agent_id",
                code="no_agent",
            )
        return AgentName(self.agents.get(agent)["agentId"])

    # --- identity ---------------------------------------------------------------------------

    async def bootstrap(self, request: Request) -> Response:
        """POST /v1/agent/bootstrap."""
        values = self.owners(request)
        unrecorded(request)  # the answer holds a token
        made = await self.agents.bootstrap(_id_in(values), parse(Changes, values))
        return json_response((201 if made.created else 200, self._introduced(made)))

    def _introduced(self, made: Identity) -> dict[str, Any]:
        profile = made.profile
        enforced = self.agents.limits.of(profile["agentId"])
        agent = profile["agentId"]
        return {
            "profile": profile,
            "jwt": made.token,
            "jwt_expires_at": made.expires_at,
            "budget": {
                "profile_daily_usd": profile["budgetDailyUsd"],
                "profile_monthly_usd": profile["budgetMonthlyUsd"],
                "enforced_daily_usd": enforced["daily_usd"],
                "enforced_rpm": enforced["rpm"],
            },
            "next_steps": {
                "run": f"POST /v1/agents/{agent}/run",
                "completions": "POST /v1/chat/completions",
                "self_status": "GET /v1/agent/status",
                "delegate": "POST /v1/agent/delegate",
            },
        }

    async def myself(self, request: Request) -> Response:
        """GET /v1/self."""
        agent = self.caller(request)
        held = request.scope["brainpilot_rt.scope"]
        scopes = list(SCOPES[: SCOPES.index(held) + 1])
        identity = {
            "tenant_id": TENANT,
            "auth_method": "api_key" if agent is None else "agent_token",
            "key_id": "owner" if agent is None else f"agent-{agent}",
            "agent_id": agent,
            "roles": ["owner"] if agent is None else [self.agents.get(agent)["role"]],
            "scopes": scopes,
        }
        return json_response((200, {"identity": identity, "capabilities": {"granted": scopes}}))

    async def status(self, request: Request) -> Response:
        """GET /v1/agent/status."""
        agent = self._me(request)
        day, month = await self.agents.limits.spent(agent)
        limits = {"daily": day.json(), "monthly": month.json()}
        waiting = [one for one in self.backend.approvals.open() if one.agent == agent]
        profile = self.agents.get(agent)
        return json_response(
            (
                200,
                {
                    "profile": profile,
                    "limits": {**self.agents.limits.of(agent), **limits},
                    "anomaly": await self.agents.limits.anomaly(agent),
                    "governance": {
                        "role": profile["role"],
                        "lifecycle_state": profile["lifecycleState"],
                        "pending_approvals": len(waiting),
                    },
                },
            )
        )

    async def delegate(self, request: Request) -> Response:
        """POST /v1/agent/delegate."""
        values = sent(request)
        unrecorded(request)
        body = parse(DelegateBody, values)
        parent = self.caller(request) or body.parent_agent_id
        if parent is None:
            raise BadRequest(
                "use the token of the agent that delegates, or name parent_agent_id",
                code="no_parent",
            )
        made = await self.agents.delegate(
            parent,
            _id_in(values),
            body.budget_allocation_usd,
            body.ttl_seconds,
            parse(Changes, values),
        )
        return json_response((201, self._introduced(made)))

    # --- profiles ---------------------------------------------------------------------------

    async def index(self, request: Request) -> Response:
        """GET /v1/agent/profiles."""
        del request
        profiles = self.agents.listed()
        return json_response((200, {"profiles": profiles, "total": len(profiles)}))

    async def create(self, request: Request) -> Response:
        """POST /v1/agent/profiles."""
        values = self.owners(request)
        state = parse(CreateBody, values).state or "provisioned"
        profile = await self.agents.create(_id_in(values), parse(Changes, values), state)
        return json_response((201, {"profile": profile}))

    async def me(self, request: Request) -> Response:
        """GET /v1/agent/profiles/me."""
        return json_response((200, {"profile": self.agents.get(self._me(request))}))

    async def show(self, request: Request) -> Response:
        """GET /v1/agent/profiles/{id}."""
        return json_response((200, {"profile": self.agents.get(request.path_params["id"])}))

    async def update(self, request: Request) -> Response:
        """PATCH /v1/agent/profiles/{id}."""
        said = parse(Changes, self.owners(request))
        profile = await self.agents.update(request.path_params["id"], said)
        return json_response((200, {"profile": profile}))

    async def transition(self, request: Request) -> Response:
        """PATCH /v1/agent/profiles/lifecycle/{id}."""
        body = parse(StateBody, self.owners(request))
        profile = await self.agents.transition(request.path_params["id"], body.state)
        return json_response((200, {"profile": profile}))

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/agent/profiles/{id}."""
        self.owners(request)
        agent = request.path_params["id"]
        await self.agents.delete(agent)
        return json_response((200, {"deleted": True, "agentId": agent}))


class AgentLimitRoutes(_Routes):
    """Handlers about what registered agents may spend and what they read."""

    async def limits(self, request: Request) -> Response:
        """GET /v1/agent-limits."""
        del request
        found = [self.agents.limits.of(one["agentId"]) for one in self.agents.listed()]
        return json_response((200, {"limits": found, "total": len(found)}))

    async def limit(self, request: Request) -> Response:
        """GET /v1/agent-limits/{id}."""
        return json_response((200, {"limit": self.agents.limits.of(self.named(request))}))

    async def set_limit(self, request: Request) -> Response:
        """POST /v1/agent-limits, and PUT /v1/agent-limits/{id}."""
        values = self.owners(request)
        named = request.path_params.get("id") or str(_id_in(values))
        agent = AgentName(self.agents.get(named)["agentId"])
        found = await self.agents.limits.put(agent, parse(Limits, values))
        return json_response((200, {"limit": found}))

    async def drop_limit(self, request: Request) -> Response:
        """DELETE /v1/agent-limits/{id}."""
        self.owners(request)
        agent = self.named(request)
        await self.agents.limits.drop(agent)
        return json_response((200, {"deleted": True, "limit": self.agents.limits.of(agent)}))

    async def put_file(self, request: Request) -> Response:
        """PUT /v1/workspace/files."""
        body = parse(FileBody, sent(request))
        caller = self.caller(request)
        if caller is not None and caller != body.agent_id:
            raise Forbidden(f"agent {caller!r} may change its own files only", code="rbac")
        kept = body.model_dump(include={"content", "description", "tags"})
        created = await self.agents.put_file(body.agent_id, body.file_type, body.filename, kept)
        named = body.model_dump(exclude={"content"})
        status = 201 if created else 200
        return json_response((status, {"file": named, "chars": len(body.content)}))


def _id_in(values: Mapping[str, Any]) -> object:
    return values.get("agent_id", values.get("agentId"))


_SHOWN: Final = {200: "found", 404: "no such agent"}
_CHANGED: Final = {
    200: "done",
    400: "malformed",
    403: "not with an agent's token",
    404: "no such agent",
    409: "contradicts its state",
}
_MADE: Final = {
    200: "it was there",
    201: "made",
    400: "malformed, or a name that is taken",
    402: "no budget for it",
    403: "not with an agent's token",
    409: "there is one of that name",
}
_WHO: Final = {"agent_id": "whom an owner asks about"}


def profile_rows(to: AgentProfileRoutes) -> list[Row]:
    """The routes about who agents are. A literal stands before what could swallow it."""
    one = "/v1/agent/profiles/{id}"
    said: tuple[type[BaseModel], ...] = (Changes,)
    return [
        Row("POST", "/v1/agent/bootstrap", to.bootstrap, "Register an agent", _MADE, body=said),
        Row("GET", "/v1/agent/profiles", to.index, "Registered agents", _SHOWN),
        Row("POST", "/v1/agent/profiles", to.create, "Register one", _MADE, body=said),
        Row("GET", "/v1/agent/profiles/me", to.me, "Whose token this is", _SHOWN, query=_WHO),
        Row("GET", one, to.show, "One of them", _SHOWN),
        Row("PATCH", one, to.update, "Change one", _CHANGED, body=said),
        Row("DELETE", one, to.delete, "Forget one", _CHANGED),
        Row(
            "PATCH",
            "/v1/agent/profiles/lifecycle/{id}",
            to.transition,
            "Move one along its life",
            _CHANGED,
            body=(StateBody,),
        ),
        Row("GET", "/v1/agent/status", to.status, "How an agent stands", _SHOWN, query=_WHO),
        Row(
            "POST",
            "/v1/agent/delegate",
            to.delegate,
            "Lend a part of a budget",
            _MADE,
            body=(DelegateBody,),
        ),
        Row("GET", "/v1/self", to.myself, "Who asks", {200: "found"}),
    ]


def limit_rows(to: AgentLimitRoutes) -> list[Row]:
    """The routes about their limits and files."""
    limit = "/v1/agent-limits/{id}"
    return [
        Row("GET", "/v1/agent-limits", to.limits, "What is enforced", _SHOWN),
        Row("POST", "/v1/agent-limits", to.set_limit, "Enforce more", _CHANGED, body=(Limits,)),
        Row("GET", limit, to.limit, "What is enforced for one", _SHOWN),
        Row("PUT", limit, to.set_limit, "Enforce more", _CHANGED, body=(Limits,)),
        Row("DELETE", limit, to.drop_limit, "Enforce no more", _CHANGED),
        Row(
            "PUT",
            "/v1/workspace/files",
            to.put_file,
            "A text an agent reads",
            {**_MADE, 404: "no such agent"},
            body=(FileBody,),
            write=True,
        ),
    ]
