"""What the server needs of the reasoning graph and of the causal record."""

from typing import Any, Protocol

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.trace.causes import Causes


class TraceViews(Protocol):
    """Read from the log at each call. NotFound for unknown sessions."""

    async def graph(self, session: SessionId) -> dict[str, Any]:
        """The BrainPilot V1 TraceGraph."""
        ...

    async def nodes(self, session: SessionId) -> list[TraceNode]:
        """The reasoning graph as it is now, in the order of creation."""
        ...

    async def node(self, session: SessionId, node_id: str) -> dict[str, Any]:
        """One node with its versions; NotFound for an unknown one."""
        ...

    async def causes(self, session: SessionId) -> Causes:
        """The causal graph of everything in the log."""
        ...
