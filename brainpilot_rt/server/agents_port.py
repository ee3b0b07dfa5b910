"""What the server needs to know of registered agents, and of what waits for somebody's word."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from brainpilot_rt.domain.ids import AgentName, CallId, SessionId
from brainpilot_rt.sessions.views import ApprovalView
from brainpilot_rt.supervision.agent_limits import Limits, Spent
from brainpilot_rt.supervision.agent_records import Changes, FileType, Lifecycle, Profile
from brainpilot_rt.supervision.answers import Decided, ReceiptOf
from brainpilot_rt.supervision.approvals import Word
from brainpilot_rt.supervision.profiles import Identity


class LimitsPort(Protocol):
    """Caps and rates of registered agents."""

    async def spent(self, agent: AgentName) -> tuple[Spent, Spent]:
        """Today's and this month's money."""
        ...

    async def anomaly(self, agent: AgentName) -> dict[str, Any]:
        """Today's spend beside that of the days before it."""
        ...

    def of(self, agent: AgentName) -> dict[str, Any]:
        """What is enforced for an agent."""
        ...

    async def put(self, agent: AgentName, limits: Limits) -> dict[str, Any]:
        """Enforce something beside the profile."""
        ...

    async def drop(self, agent: AgentName) -> None:
        """Enforce nothing beside the profile any more; NotFound when nothing was."""
        ...


class AgentsPort(Protocol):
    """Registered agents; implemented in `supervision/profiles.py`, which says what is raised."""

    @property
    def limits(self) -> LimitsPort:
        """What they may spend, and how often they may be asked."""
        ...

    def listed(self) -> list[Profile]:
        """All profiles, oldest first."""
        ...

    def get(self, agent: str) -> Profile:
        """One profile; NotFound when there is none."""
        ...

    def knows(self, agent: str) -> bool:
        """Whether it is registered, whatever its state."""
        ...

    def agent_of(self, token: str) -> AgentName | None:
        """Whose token it is; None for one that is not an agent's."""
        ...

    async def admit(self, agent: str) -> Profile:
        """The profile of an agent that is asked for a run; raises why it can not be."""
        ...

    async def bootstrap(self, agent_id: object, said: Changes) -> Identity:
        """Register an active agent, or find the one there is."""
        ...

    async def create(self, agent_id: object, said: Changes, state: Lifecycle) -> Profile:
        """Register an agent; Conflict when there is one of that name."""
        ...

    async def update(self, agent: str, said: Changes, version: int | None = None) -> Profile:
        """Change what is named."""
        ...

    async def transition(self, agent: str, state: str) -> Profile:
        """Move it to another state of its life."""
        ...

    async def delete(self, agent: str) -> None:
        """Forget it."""
        ...

    async def delegate(
        self, parent: str, agent_id: object, amount: Decimal, ttl_s: int, said: Changes
    ) -> Identity:
        """Make an agent that lives on a share of another's budget, for a time."""
        ...

    async def put_file(
        self, agent: str, kind: FileType, filename: str, content: Mapping[str, Any]
    ) -> bool:
        """Keep a text an agent reads; True when it is new."""
        ...


class ApprovalsPort(Protocol):
    """Calls that wait; implemented in `supervision/approvals.py`."""

    def open(self, session: SessionId | None = None) -> list[ApprovalView]:
        """What waits, oldest first."""
        ...

    def find(self, approval_id: str) -> ApprovalView:
        """An open approval by its id, or by the id of its call."""
        ...

    async def decide(
        self,
        approval_id: str,
        word: Word,
        digest: str | None = None,
        receipt: ReceiptOf | None = None,
    ) -> ApprovalView:
        """Decide; the first word counts: Conflict for a later one."""
        ...

    async def decided(self, session: SessionId | None = None, limit: int = 1_000) -> list[Decided]:
        """The latest decisions, newest first."""
        ...

    async def find_decided(self, approval_id: str) -> Decided:
        """A decision by the id of its approval, or of its call."""
        ...

    async def answer_call(
        self, session: SessionId, call_id: CallId, content: str, *, is_error: bool
    ) -> None:
        """The client has run a call."""
        ...
