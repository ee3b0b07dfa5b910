"""What the server needs to show and change budgets. Everything is as JSON has it."""

from collections.abc import Mapping
from typing import Any, Protocol

from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.eventlog.ledger import Which
from brainpilot_rt.supervision.budget_views import By


class BudgetPort(Protocol):
    """Money: what may be spent, what was, and what it was for."""

    def status(self, agent: AgentName | None = None) -> dict[str, Any]:
        """Spent and left today and in this month, of an agent or of everything."""
        ...

    async def forecast(self) -> dict[str, Any]:
        """What the month will come to."""
        ...

    async def agents(self) -> dict[str, Any]:
        """Every agent with bounds or money spent."""
        ...

    def agent(self, agent: AgentName) -> dict[str, Any]:
        """The bounds of one agent, and what it has spent."""
        ...

    async def limit(self, agent: AgentName | None, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Set bounds of an agent, or of everything; BadRequest for what is none."""
        ...

    async def usage(self, period: str, by: By) -> dict[str, Any]:
        """Calls, tokens and money of a period, together and by something."""
        ...

    async def rows(self, which: Which, after: int, limit: int) -> dict[str, Any]:
        """The ledger, page by page."""
        ...

    def killswitch(self) -> dict[str, Any]:
        """Whether all spending is stopped, and why."""
        ...

    async def switch(self, *, active: bool, reason: str = "") -> dict[str, Any]:
        """Stop all spending, or allow it again."""
        ...


class Tokens(Protocol):
    """Whose a token is."""

    def agent_of(self, token: str) -> AgentName | None:
        """The agent that has this token; None: it is no agent's."""
        ...


class HasBudgets(Protocol):
    """The part of the backend that these routes use."""

    @property
    def budgets(self) -> BudgetPort:
        """Money."""
        ...

    @property
    def agents(self) -> Tokens:
        """Registered agents."""
        ...
