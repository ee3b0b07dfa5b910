"""What the server needs of the daemon, as one small protocol: the server holds no session logic.

Every method raises only errors of `domain/errors.py`; `problems.py` turns them into HTTP.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, Protocol

from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.domain.events import Chunk, Recorded, Thinking
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import AgentName, CallId, RequestId, SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.views import LetterView, OpenText, SessionSummary, SessionView
from brainpilot_rt.supervision.answers import (
    Interrupted,
    Liveness,
    NewSession,
    Posted,
    ReceiptOf,
)
from brainpilot_rt.supervision.approvals import Approvals
from brainpilot_rt.supervision.budget_views import BudgetViews
from brainpilot_rt.supervision.completions import Completions
from brainpilot_rt.supervision.mcp_calls import Mcp
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.oversight import Oversight
from brainpilot_rt.supervision.profiles import AgentProfiles
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.skills import Skills
from brainpilot_rt.supervision.traces import TraceViews
from brainpilot_rt.supervision.turns import Turns
from brainpilot_rt.workspace.files import Workspace


class Backend(Protocol):
    """The daemon as the server sees it; implemented in `supervision/backend.py`."""

    version: str
    instance_id: str

    @property
    def trace_views(self) -> TraceViews:
        """The reasoning graph and the causal record."""
        ...

    @property
    def memory(self) -> Memories:
        """What sessions remember."""
        ...

    @property
    def turns(self) -> Turns:
        """What agents read, turn by turn."""
        ...

    @property
    def skills(self) -> Skills:
        """Written instructions that agents find."""
        ...

    @property
    def agents(self) -> AgentProfiles:
        """Agents that were registered over HTTP."""
        ...

    @property
    def approvals(self) -> Approvals:
        """Calls that wait for somebody's word, or for their client."""
        ...

    @property
    def records(self) -> Records:
        """What is kept for all sessions, by kind and key."""
        ...

    @property
    def budgets(self) -> BudgetViews:
        """Money: what may be spent, and what was."""
        ...

    @property
    def oversight(self) -> Oversight:
        """What the log tells of agents, the rules for them, and the shared memory."""
        ...

    @property
    def mcp(self) -> Mcp:
        """MCP servers and calls of their tools."""
        ...

    @property
    def completions(self) -> Completions:
        """Answers of a model that belong to no session."""
        ...

    @property
    def new_id(self) -> NewId:
        """Gives fresh ids."""
        ...

    @property
    def log(self) -> EventLog:
        """The log, for reading and for receipts that belong to no session."""
        ...

    # liveness -------------------------------------------------------------------------------
    @property
    def no_shell(self) -> str | None:
        """Why agents can not run commands although they should; None while all is as wanted."""
        ...

    @property
    def read_only(self) -> str | None:
        """Why nothing is accepted at present: the code of the log's trouble; None when all is."""
        ...

    @property
    def gauges(self) -> Callable[[], Mapping[str, float]]:
        """More numbers of `/metrics`, by name."""
        ...

    def liveness(self) -> Liveness:
        """The facts of `/metrics`, from memory."""
        ...

    def ready(self) -> list[str]:
        """What is not ready; empty means ready."""
        ...

    def touch(self) -> None:
        """An accepted HTTP mutation moved `lastActivityAt` and the idle epoch."""
        ...

    def shutdown_if_idle(self, idle_epoch: int) -> tuple[str, ...]:
        """Begin a clean stop and return (), or change nothing and return the reasons why not."""
        ...

    # sessions -------------------------------------------------------------------------------
    async def list_sessions(self) -> list[SessionSummary]:
        """All sessions, evicted ones too, in the order of their creation."""
        ...

    async def create_session(
        self, new: NewSession, receipt: ReceiptOf | None = None
    ) -> SessionSummary:
        """Create a session, or answer with the one that has the wanted id."""
        ...

    async def session(self, session: SessionId) -> SessionSummary:
        """One line about a session, without loading it; NotFound if unknown."""
        ...

    async def update_session(
        self,
        session: SessionId,
        title: str | None = None,
        thinking: Thinking | None = None,
        *,
        cap_usd: Decimal | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> SessionSummary:
        """Change something of the session itself; None leaves a field as it is."""
        ...

    async def delete_session(self, session: SessionId) -> bool:
        """Stop it and remove all its data; False when there is no such session."""
        ...

    async def evict_session(self, session: SessionId) -> int:
        """Stop it and drop it from memory; the number of agents stopped. NotFound if unknown."""
        ...

    async def view(self, session: SessionId) -> SessionView:
        """Load the session if it is not in memory, and fold its view; NotFound if unknown."""
        ...

    async def post_message(
        self,
        session: SessionId,
        *,
        agent: str | None,
        content: str,
        message_id: str | None = None,
        receipt: ReceiptOf | None = None,
        limits: RunLimits | None = None,
    ) -> Posted:
        """Accept a user's message; None as agent is whom the session is for.

        `limits`: of the request it opens; they do not count when it joins one.
        """
        ...

    async def answer(
        self, session: SessionId, request_id: RequestId, answer: str, receipt: ReceiptOf | None
    ) -> Literal["ok", "stale"]:
        """Answer an open question; `stale`: it is not open (any more)."""
        ...

    async def interrupt(self, session: SessionId, agent: AgentName | None) -> Interrupted:
        """Stop one agent or all (None), and return once the state is idle."""
        ...

    async def interrupt_tool(
        self, session: SessionId, call_id: CallId
    ) -> Literal["interrupted", "already_finished", "not_cancellable"]:
        """Stop one running tool call."""
        ...

    async def letters(self, session: SessionId) -> list[LetterView]:
        """Every letter of the session with its receipt, oldest first."""
        ...

    async def stats(self, session: SessionId) -> dict[str, Any]:
        """`/stats` of wire-brainpilot 1.3."""
        ...

    def workspace(self, session: SessionId) -> Workspace:
        """The files of a session; also for `local` and for ids no session has (yet)."""
        ...

    def mcp_status(self) -> dict[str, Any]:
        """`/mcp/status` of wire-brainpilot 1.3."""
        ...

    # the live feed --------------------------------------------------------------------------
    def listen(self, on_item: Callable[[Recorded | Chunk], None]) -> Callable[[], None]:
        """Call `on_item` on the loop for every commit and chunk, in order; returns the undo.

        At each call `snapshot` already holds the item, and nothing that was not yet told: a commit
        is evolved, a chunk is added to its open text, then the listeners hear of it.
        """
        ...

    def snapshot(self, session: SessionId) -> tuple[SessionView, tuple[OpenText, ...]]:
        """View and open texts of a session in memory, taken at one instant (no await).

        Open texts in the order of their starts. NotFound when the session is not in memory.
        """
        ...
