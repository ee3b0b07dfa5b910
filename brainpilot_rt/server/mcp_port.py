"""What the server needs of MCP servers: to manage them, and to call their tools under rules."""

from collections.abc import Mapping
from typing import Any, Protocol

from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.governance.policy import ToolPolicy
from brainpilot_rt.supervision.mcp_calls import Called


class McpServersPort(Protocol):
    """The servers as JSON; implemented in `supervision/mcp_admin.py`, which says what is raised."""

    async def listed(self, session: SessionId | None = None) -> list[dict[str, Any]]:
        """All, or those of a session."""
        ...

    async def show(self, ident: str) -> dict[str, Any]:
        """One."""
        ...

    async def register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Add one."""
        ...

    async def update(self, ident: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change a registered one."""
        ...

    async def remove(self, ident: str) -> None:
        """Forget a registered one."""
        ...

    async def discover(self, ident: str) -> dict[str, Any]:
        """Connect if need be; with its tools."""
        ...

    async def allow(self, ident: str, digest: str | None = None) -> dict[str, Any]:
        """Consent to one of a work tree; `digest`: of what was shown."""
        ...

    async def restart(self, ident: str) -> dict[str, Any]:
        """Connect anew."""
        ...

    async def tools(self, ident: str | None = None) -> list[dict[str, Any]]:
        """The tools of one, or of all."""
        ...

    def mismatch(self, name: object, url: object) -> str:
        """Why there is no such server for an agent; empty when there is."""
        ...


class McpCallsPort(Protocol):
    """Calls of no run; implemented in `supervision/mcp_calls.py`."""

    async def call(
        self, server: str, tool: str, arguments: Mapping[str, Any], agent: AgentName | None
    ) -> Called:
        """Call a tool once it may run."""
        ...


class PoliciesPort(Protocol):
    """The owner's policies for tools; `Governor`."""

    def policies(self) -> tuple[ToolPolicy, ...]:
        """The latest first."""
        ...

    async def set_policy(self, body: Mapping[str, Any]) -> ToolPolicy:
        """Make or replace one; BadRequest says what is wrong."""
        ...


class McpPort(Protocol):
    """All of it."""

    @property
    def admin(self) -> McpServersPort:
        """The servers."""
        ...

    @property
    def calls(self) -> McpCallsPort:
        """Calls."""
        ...

    @property
    def governor(self) -> PoliciesPort:
        """Policies."""
        ...
