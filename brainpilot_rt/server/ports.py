"""What the server needs of the daemon, as one small protocol: the server holds no session logic.

Every method raises only errors of `domain/errors.py`; `problems.py` turns them into HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from brainpilot_rt.domain.events import Chunk, Recorded, Thinking
from brainpilot_rt.domain.ids import AgentName, CallId, RequestId, SessionId
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.sessions.views import LetterView, OpenText, SessionSummary, SessionView
from brainpilot_rt.workspace.files import Workspace


@dataclass(frozen=True, slots=True)
class NewSession:
    """Body of POST /sessions. `workspace`: an existing folder, for local callers only."""

    title: str | None = None
    session: str | None = None
    provider_id: str | None = None
    model_id: str | None = None
    thinking: Thinking = "off"
    domain_resources: Literal["full", "base"] = "full"
    workspace: str | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    """A user message was accepted: committed, never to be lost."""

    host_run_id: str
    message_id: str
    letter_id: str
    queued: bool


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The state is idle now. `interrupted` False: there was nothing to stop."""

    interrupted: bool
    scope: Literal["session", "agent"]


@dataclass(frozen=True, slots=True)
class Liveness:
    """Facts of `/metrics`. `reasons`: why the daemon may not be reclaimed, empty when it may."""

    active_sessions: int
    running_agents: int
    last_activity_ms: int | None
    idle_epoch: int
    leases: dict[str, int]
    unread_letters: int
    audit_violations: int
    reasons: tuple[str, ...]
    loop_lag_ms: float


ReceiptOf = Callable[[Any], Receipt]
"""Builds the durable answer (status, body) from a method's result, to be stored in the commit."""


class Backend(Protocol):
    """The daemon as the server sees it; implemented in `supervision/backend.py`."""

    version: str
    instance_id: str
    log: EventLog

    # liveness -------------------------------------------------------------------------------
    def liveness(self) -> Liveness: ...
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
    async def list_sessions(self) -> list[SessionSummary]: ...
    async def create_session(
        self, new: NewSession, receipt: ReceiptOf | None = None
    ) -> SessionSummary: ...
    async def session(self, session: SessionId) -> SessionSummary: ...
    async def update_session(
        self, session: SessionId, title: str | None, thinking: Thinking | None
    ) -> SessionSummary: ...
    async def delete_session(self, session: SessionId) -> bool: ...
    async def evict_session(self, session: SessionId) -> int: ...
    async def view(self, session: SessionId) -> SessionView:
        """Load the session if it is not in memory, and fold its view; NotFound if unknown."""
        ...

    async def post_message(  # noqa: PLR0913 - one argument per field of the body
        self,
        session: SessionId,
        *,
        agent: str | None,
        content: str,
        message_id: str | None,
        receipt: ReceiptOf | None = None,
    ) -> Posted: ...
    async def answer(
        self, session: SessionId, request_id: RequestId, answer: str, receipt: ReceiptOf | None
    ) -> Literal["ok", "stale"]: ...
    async def interrupt(self, session: SessionId, agent: AgentName | None) -> Interrupted: ...
    async def interrupt_tool(
        self, session: SessionId, call_id: CallId
    ) -> Literal["interrupted", "already_finished", "not_cancellable"]: ...
    async def letters(self, session: SessionId) -> list[LetterView]: ...
    async def trace(self, session: SessionId) -> dict[str, Any]:
        """The BrainPilot V1 TraceGraph."""
        ...

    async def stats(self, session: SessionId) -> dict[str, Any]:
        """`/stats` of wire-brainpilot 1.3."""
        ...

    def workspace(self, session: SessionId) -> Workspace: ...
    def mcp_status(self) -> dict[str, Any]: ...

    # the live feed --------------------------------------------------------------------------
    def listen(self, on_item: Callable[[Recorded | Chunk], None]) -> Callable[[], None]:
        """Call `on_item` on the loop for every commit and chunk, in order; returns the undo."""
        ...

    def snapshot(self, session: SessionId) -> tuple[SessionView, tuple[OpenText, ...]]:
        """View and open texts of a session in memory, taken at one instant (no await)."""
        ...



