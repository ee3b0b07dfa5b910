"""Who asks: the owner of the daemon, or one of its agents with a token of its own."""

from starlette.requests import Request

from brainpilot_rt.domain.errors import Forbidden
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.server.ports import Backend


def agent_asking(backend: Backend, request: Request) -> AgentName | None:
    """The agent whose token was used, wherever it stood; None: the owner or another client."""
    headers = request.headers
    tokens = [
        request.scope.get("brainpilot_rt.capability") or "",
        *(value.partition(" ")[2].strip() for value in headers.getlist("authorization")),
        *headers.getlist("x-api-key"),
    ]
    found = (backend.agents.agent_of(token) for token in tokens if token)
    return next((agent for agent in found if agent is not None), None)


def check_owner(backend: Backend, request: Request) -> None:
    """Refuse an agent: rules that hold for agents are not theirs to change."""
    if (agent := agent_asking(backend, request)) is not None:
        raise Forbidden(f"the token of agent {agent!r} may not change this", code="rbac")
