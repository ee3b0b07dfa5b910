"""The memory of the user: facts that agents of every session read, over the memory of one session.

That session, `memory`, is made by the first fact and is like any other: its events are in the log,
its facts are bounded by the same settings. What an agent wants to add waits for the owner's word,
as a record of kind `memory_pending`, unless the owner has said otherwise.
"""

import asyncio
import re
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.errors import BadRequest, NotFound, SectionFull
from brainpilot_rt.domain.ids import USER, AgentName
from brainpilot_rt.domain.memory import Block, Draft, MemoryItem
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.supervision.memories import SHARED, Memories
from brainpilot_rt.supervision.records import Records

PENDING: Final = "memory_pending"
CONFIG: Final = "memory"
BLOCKS: Final[tuple[Block, ...]] = get_args(Block)
STATEMENT_CHARS_MAX: Final = 1_000
_TITLE: Final = "Shared memory"
_ITEM: Final = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of some documents."""

    items: tuple[MemoryItem, ...]
    left_out: int
    """Statements for which there was no room."""


class SharedMemory:
    """Facts for all sessions."""

    def __init__(
        self,
        memories: Memories,
        records: Records,
        create: Callable[[NewSession], Awaitable[object]],
        limits: SessionLimits,
        sources: tuple[Clock, NewId],
    ) -> None:
        """`create`: makes the session, or finds it there."""
        self._memories = memories
        self._records = records
        self._create = create
        self._clock, self._new_id = sources
        self.limits: Mapping[Block, int] = {
            "human": limits.facts_human_max,
            "system": limits.facts_system_max,
            "project": limits.facts_project_max,
            "general": limits.facts_general_max,
        }

    # --- facts ------------------------------------------------------------------------------

    async def facts(self, block: Block | None = None) -> list[MemoryItem]:
        """The facts, oldest first."""
        memory = await self._memories.shared()
        return [one for one in memory.items("facts") if block in (None, one.block or "general")]

    async def others(self) -> int:
        """How much the session remembers that is no fact."""
        memory = await self._memories.shared()
        return len(memory) - len(memory.items("facts"))

    async def search(self, query: str, top_k: int) -> list[tuple[MemoryItem, float]]:
        """The facts that fit a few words best."""
        return (await self._memories.shared()).search(query, top_k, "facts")

    async def remember(
        self, fact: str, block: Block, *, pinned: bool = False, by: AgentName = USER
    ) -> MemoryItem:
        """Keep a fact; the one that is there when the words are known."""
        await self._create(NewSession(session=SHARED, title=_TITLE))
        draft = Draft(section="facts", content=fact, agent=by, pinned=pinned, block=block)
        return await self._memories.remember(SHARED, draft)

    async def edit(self, item_id: str, changes: dict[str, Any]) -> MemoryItem:
        """Change a fact; `NotFound` when there is none of that id."""
        await self._known(item_id)
        return await self._memories.edit(SHARED, item_id, changes)

    async def forget(self, item_id: str) -> None:
        """Forget a fact; `NotFound` when there is none of that id."""
        await self._known(item_id)
        await self._memories.forget(SHARED, (item_id,))

    async def take_in(self, documents: Iterable[tuple[str, Block]]) -> TakenIn:
        """Keep what documents state, statement by statement, as far as there is room."""
        items: list[MemoryItem] = []
        full: set[Block] = set()
        left_out = 0
        for text, block in documents:
            for statement in await asyncio.to_thread(statements, text):
                try:
                    if block not in full:
                        items.append(await self.remember(statement, block))
                except SectionFull:
                    full.add(block)  # said once, not for every statement
                left_out += block in full
        return TakenIn(tuple(items), left_out)

    async def _known(self, item_id: str) -> None:
        if all(one.id != item_id for one in await self.facts()):
            raise NotFound(f"there is no fact {item_id[:80]!r}", code="unknown_memory_item")

    # --- what waits for the owner's word ----------------------------------------------------

    @property
    def asks_first(self) -> bool:
        """Whether what agents want to add waits for the owner's word."""
        return bool((self._records.get(CONFIG, CONFIG) or {}).get("requireApproval", True))

    async def ask_first(self, *, wanted: bool) -> None:
        """Let it wait, or not."""
        await self._records.put(CONFIG, CONFIG, {"requireApproval": wanted})

    async def propose(self, fact: str, block: Block, by: AgentName) -> str:
        """Let a fact wait; the id of its approval."""
        if not fact.strip():
            raise BadRequest("fact: some words")
        approval = f"mem_{self._new_id()}"
        body = {"fact": fact, "block": block, "by": by, "at_ms": self._clock.now_ms()}
        await self._records.put(PENDING, approval, body)
        return approval

    def pending(self) -> Mapping[str, Mapping[str, Any]]:
        """What waits, by approval, oldest first."""
        return self._records.of(PENDING)

    async def decide(self, approval: str, *, approve: bool) -> MemoryItem | None:
        """The owner's word; the fact if it is kept. `NotFound` when nothing waits (any more)."""
        body = self._records.get(PENDING, approval)
        if body is None:
            raise NotFound(f"no memory {approval[:80]!r} waits", code="no_approval")
        kept = None
        if approve:
            kept = await self.remember(body["fact"], body["block"], by=AgentName(body["by"]))
        await self._records.delete(PENDING, approval)
        return kept


def statements(text: str) -> list[str]:
    """What a document states: its paragraphs and the items of its lists, without headings."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines: list[str] = []
        for line in paragraph.splitlines():
            if _ITEM.match(line) or not lines:
                lines.append(_ITEM.sub("", line))
            else:
                lines[-1] += f" {line}"
        found += [" ".join(one.split()) for one in lines if not one.lstrip().startswith("#")]
    return [part for one in found for part in textwrap.wrap(one, STATEMENT_CHARS_MAX)]
