"""What a tool may touch: the identity of the call, the work tree, and ports to the authority.

A tool has no other way to act. Who is asking (`session`, `agent`, `run_id`, `call_id`) is set by
the run that produced the call and never by text a model wrote (reliability.md S10). The ports of
a context belong to one call: ids of what they create derive from the call id, so that running an
idempotent call again does nothing twice (D7).

Ports raise `CommandRejected` when the authority refuses; its message is shown to the model.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId, TaskId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.passages import Passages
from brainpilot_rt.domain.thinking import StepStatus
from brainpilot_rt.domain.trace import TraceArtifact, TraceNode
from brainpilot_rt.workspace.files import Workspace


class TraceRules(Protocol):
    """How nodes of the reasoning graph are chained; the module `brainpilot_rt.trace.graph` is one.

    `nodes` are all nodes in the order of their creation.
    """

    def place(
        self, nodes: Sequence[TraceNode], node: TraceNode, parent_id: str | None
    ) -> TraceNode:
        """The node with its first edge, or the known one that it would repeat.

        NotFound for an unknown parent, TooLarge when the graph is full.
        """
        ...

    def attach(self, node: TraceNode, artifacts: Sequence[TraceArtifact]) -> TraceNode:
        """The node with these files too; TooLarge when there are too many."""
        ...

    def relate(
        self, nodes: Sequence[TraceNode], from_id: str, to_id: str, explanation: str
    ) -> TraceNode:
        """The child node with the new edge; NotFound or Conflict when there can be none."""
        ...

    def trace_graph(
        self, session: SessionId, created_at: str, nodes: Sequence[TraceNode]
    ) -> dict[str, Any]:
        """The graph as JSON."""
        ...


class Planning(Protocol):
    """The plan of an agent. Each says what to tell the model, and whether the call failed.

    The same `call_id` again changes nothing twice.
    """

    def propose(
        self, call_id: CallId, goal: str, steps: tuple[str, ...]
    ) -> Awaitable[tuple[str, bool]]:
        """Make a plan."""
        ...

    def revise(
        self, call_id: CallId, steps: tuple[str, ...], reason: str
    ) -> Awaitable[tuple[str, bool]]:
        """Replace the open steps."""
        ...

    def close(self, call_id: CallId, status: StepStatus, note: str) -> Awaitable[tuple[str, bool]]:
        """End the open step."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A letter an agent wants sent."""

    to: AgentName
    content: str
    kind: LetterKind | None = None
    task_id: TaskId | None = None
    budget: Decimal | None = None
    """US dollars of the sender's own that a delegation may spend; None: the usual part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Handed to a tool with its arguments, once per call."""

    session: SessionId
    agent: AgentName
    role: str
    run_id: RunId
    call_id: CallId
    workspace: Workspace
    clock: Clock
    trace_rules: TraceRules

    send: Callable[[Outgoing], Awaitable[str]]
    """Send a letter (to, content, kind, task); returns the receipt in words, for the model."""
    ask: Callable[[str, tuple[str, ...], bool], Awaitable[str]]
    """Ask the user (question, options, allow free text); waits for as long as it takes."""
    create_agent: Callable[[AgentName], Awaitable[str]]
    """Create or revive an agent; returns what happened, in words."""
    destroy_agent: Callable[[AgentName], Awaitable[str]]
    """Stop an agent for good; returns what happened, in words."""
    save_trace: Callable[[Literal["created", "updated"], TraceNode], Awaitable[None]]
    """Commit a node as it is now."""
    trace_nodes: Callable[[], Sequence[TraceNode]]
    """All nodes of the session, in the order of their creation."""
    search: Callable[[str, int], Awaitable[Passages]]
    """Passages of the work tree for a query, best first (query, how many)."""
    planning: Planning | None = None
    """The plan of the calling agent."""
    redact: Callable[[str], str] = str
    """Takes known secrets out of what a tool keeps beside its result."""
