"""Memory as values: items, findings, and the policy of each section.

What a team remembers belongs to its session and survives every agent. Sections are those of KAOS
(turn-loop.md 1.3) and `facts` (what the user wants known, agent-runs.md 1.3). `messages`,
`actions`, `last_intent` and `plan_history` are projections of the log and never stored twice;
`documents` are passages that retrieval found. Everything else enters by `memory_added`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from pydantic import Field

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.values import Value

SectionName: TypeAlias = Literal[
    "role",
    "playbooks",
    "plan_examples",
    "messages",
    "actions",
    "documents",
    "findings",
    "plan_history",
    "reflection",
    "lessons",
    "last_intent",
    "working",
    "planning_context",
    "facts",
]
Place: TypeAlias = tuple[SectionName, AgentName]
"""Where an item is: its section, and whose section that is (`TEAM`: everybody's)."""
TEAM: Final = AgentName("")
UNTRUSTED: Final = "untrusted"
"""Tag of what was kept by a run that read letters of somebody outside the team."""
Block: TypeAlias = Literal["human", "system", "project", "general"]
"""Of a fact: whom or what it is about."""
Eviction: TypeAlias = Literal["none", "fifo", "lifo", "lru"]
"""`none`: what does not fit is refused. `lifo`: the new one replaces. `lru`: least recently shown
to a model or written."""


class Finding(Value):
    """A claim with its evidence. Confidence is 0 to 1."""

    claim: str
    citation: Citation | None = None
    confidence: float = Field(default=0.5, ge=0, le=1)
    verified: bool = False
    """True only when the quote occurs in the cited lines of the file."""
    reason: str = ""
    """Of one that is not verified: why."""


class MemoryItem(Value):
    """One thing remembered."""

    id: str
    section: SectionName
    agent: AgentName
    """Whose it is: who wrote it, or `user`."""
    content: str
    at_ms: int
    tags: tuple[str, ...] = ()
    pinned: bool = False
    """Shown first and never evicted."""
    block: Block | None = None
    """Of a fact."""
    finding: Finding | None = None

    @property
    def tokens(self) -> int:
        """Estimated tokens: characters / 4, at least one."""
        return tokens_of(self.content)


class Draft(Value):
    """What shall be remembered, before it has an id and a time."""

    section: SectionName
    content: str
    agent: AgentName
    """Whose it is."""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    block: Block | None = None
    finding: Finding | None = None

    def item(self, at_ms: int) -> MemoryItem:
        """The item it becomes at that time."""
        owner = place_of(self.section, self.agent)[1]
        made = item_id(self.section, at_ms, self.content, owner)
        return MemoryItem(id=made, at_ms=at_ms, **dict(self))


def tokens_of(text: str) -> int:
    """Estimated tokens of a text."""
    return max(1, len(text) // 4)


def item_id(section: SectionName, at_ms: int, content: str, owner: AgentName = TEAM) -> str:
    """The id of an item: 16 hexadecimal digits of the SHA-256 of section, time and content.

    `owner`: of a section that each agent has its own of; two agents may write the same.
    """
    where = f"{section}/{owner}" if owner else section
    said = f"{where}:{at_ms}:{content}".encode("utf-8", "replace")
    return hashlib.sha256(said).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionPolicy:
    """What may be in a section, and what happens when there is more."""

    tokens_max: int | None
    """None: no bound of its own (the session's bounds hold)."""
    eviction: Eviction
    items_max: int | None = None
    of_agent: bool = False
    """True: each agent has its own; False: the team shares it."""
    ephemeral: bool = False
    """Cleared when a run of its agent starts."""
    derived: bool = False
    """A projection of other events: nobody can add to it."""
    summarise: Literal["never", "on_overflow"] = "never"
    """`on_overflow`: what is evicted is first put into one shorter item by a model."""


POLICIES: Final[Mapping[SectionName, SectionPolicy]] = MappingProxyType(
    {
        "role": SectionPolicy(tokens_max=2_000, eviction="none", of_agent=True),
        "playbooks": SectionPolicy(tokens_max=8_000, eviction="none"),
        "plan_examples": SectionPolicy(tokens_max=8_000, eviction="none"),
        "messages": SectionPolicy(tokens_max=32_000, eviction="fifo", of_agent=True, derived=True),
        "actions": SectionPolicy(tokens_max=16_000, eviction="lru", of_agent=True, derived=True),
        "documents": SectionPolicy(
            tokens_max=None, eviction="fifo", items_max=10_000, derived=True
        ),
        "findings": SectionPolicy(tokens_max=16_000, eviction="none"),
        "plan_history": SectionPolicy(
            tokens_max=8_000, eviction="lru", of_agent=True, derived=True
        ),
        "reflection": SectionPolicy(
            tokens_max=8_000, eviction="fifo", of_agent=True, summarise="on_overflow"
        ),
        "lessons": SectionPolicy(tokens_max=16_000, eviction="fifo", summarise="on_overflow"),
        "last_intent": SectionPolicy(
            tokens_max=2_000, eviction="lifo", items_max=1, of_agent=True, derived=True
        ),
        "working": SectionPolicy(tokens_max=16_000, eviction="fifo", of_agent=True, ephemeral=True),
        "planning_context": SectionPolicy(
            tokens_max=16_000, eviction="fifo", of_agent=True, ephemeral=True
        ),
        "facts": SectionPolicy(tokens_max=None, eviction="none"),
    }
)
"""Budgets and policies as turn-loop.md 1.3 gives them; documents, unbounded there, are bounded by
count, so that a process can not grow without end. Facts are bounded by block (settings).
KAOS' `audit` and `graph` are the log and the Graph-of-Trace themselves."""


def place_of(section: SectionName, agent: AgentName) -> Place:
    """Where an item of this agent in this section is."""
    return section, agent if POLICIES[section].of_agent else TEAM


def section_of(name: str) -> SectionName:
    """The section of that name; `NotFound` naming all there are."""
    for section in POLICIES:
        if section == name:
            return section
    raise NotFound(
        f"there is no section of memory {name[:80]!r}; there are {', '.join(POLICIES)}",
        code="unknown_section",
    )
