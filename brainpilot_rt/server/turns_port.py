"""What the server needs to show what agents read."""

from typing import Any, Literal, Protocol

from brainpilot_rt.domain.ids import SessionId


class TurnViews(Protocol):
    """The turns of a session, from the log. NotFound for unknown sessions."""

    async def recent(self, session: SessionId, limit: int) -> dict[str, Any]:
        """The latest turns, oldest first, and how many there are."""
        ...

    async def context(self, session: SessionId, n: int | Literal["latest"]) -> dict[str, Any]:
        """The context of turn `n`, counted from 1; NotFound says how many there are."""
        ...
