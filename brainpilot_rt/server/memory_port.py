"""What the server needs to show and change what sessions remember."""

from collections.abc import Sequence
from typing import Any, Protocol

from brainpilot_rt.context.memory import Memory
from brainpilot_rt.domain.ids import USER, AgentName, RunId, SessionId
from brainpilot_rt.domain.memory import Draft, MemoryItem
from brainpilot_rt.supervision.answers import ReceiptOf


class MemoryPort(Protocol):
    """Memories by session, of those in memory and those that are not."""

    async def of(self, session: SessionId) -> Memory:
        """All a session remembers; NotFound if unknown."""
        ...

    async def remember(
        self,
        session: SessionId,
        draft: Draft,
        by: AgentName = USER,
        run_id: RunId | None = None,
        receipt: ReceiptOf | None = None,
    ) -> MemoryItem:
        """Remember something; SectionFull, TooLarge or BadRequest when it can not be."""
        ...

    async def edit(self, session: SessionId, item_id: str, changes: dict[str, Any]) -> MemoryItem:
        """Change an item; NotFound if unknown."""
        ...

    async def forget(self, session: SessionId, item_ids: Sequence[str]) -> None:
        """Forget items; NotFound for an unknown one."""
        ...
