"""Graph-of-Trace values, in the BrainPilot V1 shape (edges live on the child)."""

from typing import Any, Final, Literal

from pydantic import Field

from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.values import Value

ARTIFACTS_MAX: Final = 100
"""Of one node."""


class TraceParent(Value):
    """An edge to a parent node."""

    id: str
    relation: Literal["parent", "follows", "depends_on"]
    explanation: str | None = None


class TraceArtifact(Value):
    """A file a node stands for."""

    path: str
    type: str | None = None


class TraceNode(Value):
    """One node of the reasoning graph. Times are ISO 8601."""

    id: str
    title: str
    type: str = "task"
    status: str = "pending"
    agent: AgentName | None = None
    description: str | None = None
    summary: str | None = None
    content: str | None = None
    parents: tuple[TraceParent, ...] = ()
    artifacts: tuple[TraceArtifact, ...] = ()
    created_at: str
    updated_at: str
    metadata: dict[str, Any] = Field(default_factory=dict)
