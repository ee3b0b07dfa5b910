"""Who asks: the agent whose own token a request carries, if it is one's."""

from typing import Protocol

from starlette.requests import Request

from brainpilot_rt.domain.errors import Forbidden
from brainpilot_rt.domain.ids import AgentName


class Tokens(Protocol):
    """Who knows the tokens of agents: `AgentProfiles`."""

    def agent_of(self, token: str) -> AgentName | None:
        """Whose token it is; None for one that is not an agent's."""
        ...


def calling_agent(request: Request, agents: Tokens) -> AgentName | None:
    """The agent, wherever its token stands; None for the owner and for other clients."""
    scope, headers = request.scope, request.headers
    tokens = [scope.get("brainpilot_rt.capability"), headers.get("x-api-key")]
    tokens.append(headers.get("authorization", "").partition(" ")[2].strip())
    found = (agents.agent_of(token) for token in tokens if token)
    return next((agent for agent in found if agent is not None), None)


def refuse_agents(request: Request, agents: Tokens, what: str) -> None:
    """`Forbidden` for an agent's token."""
    if (agent := calling_agent(request, agents)) is not None:
        raise Forbidden(f"the token of agent {agent!r} may not {what}", code="rbac")
