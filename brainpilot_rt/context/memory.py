"""What a session remembers, with its words: a fold of the log. Pure, and kept current by the feed.

Sections and their budgets are those of `domain/memory.py`. What is remembered on purpose (facts,
lessons, findings, ...) is exactly what `memory_*` events say: the authority has decided what had
to make room. The derived sections are made here, from what happened:

    messages      what an agent has read and answered   letters taken up by runs, answers of runs
    actions       what an agent has done                tool calls with their results
    documents     what retrieval has shown              passages, each range of lines once
    last_intent   what the last message wanted          intent_classified
    plan_history  plans as they changed                 plan_changed

and kept within their budgets by the same fold, so that every replay agrees: the oldest goes first,
or (`lru`) what was not shown to a model or written for longest. Memory belongs to the session: the
end of an agent takes nothing out of it.
"""

import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from sys import maxsize
from typing import Any, Final

from brainpilot_rt.context.ranking import Ranking
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import USER, AgentName, CallId, LetterId, RunId
from brainpilot_rt.domain.letters import Letter
from brainpilot_rt.domain.memory import (
    POLICIES,
    MemoryItem,
    Place,
    SectionName,
    item_id,
    place_of,
)
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.domain.thinking import ContextSection, Plan

KEPT: Final = frozenset(
    {"memory_added", "memory_removed", "memory_evicted", "memory_summarised", "run_started"}
)
"""Types of events that decide what is remembered on purpose."""
MATTERS: Final = KEPT | {
    "letter_accepted",
    "letter_received",
    "letter_consumed",
    "letter_expired",
    "letter_died",
    "letters_joined",
    "tool_planned",
    "tool_finished",
    "run_finished",
    "passages_retrieved",
    "intent_classified",
    "plan_changed",
    "context_assembled",
}
"""Types of all events the fold looks at."""
RANKED_FROM: Final = 21
"""A place with so many items keeps a ranking; that of a smaller one is made when it is asked."""
MESSAGE_CHARS_MAX: Final = 7_900
"""Of one derived item; what is over it is cut and said."""
ACTION_CHARS_MAX: Final = 300
"""Of the arguments, and of the result, of a call."""


@dataclass(slots=True)
class _Shelf:
    """The items of one place, oldest first."""

    items: dict[str, MemoryItem] = field(default_factory=dict[str, MemoryItem])
    used: dict[str, None] = field(default_factory=dict[str, None])
    """Ids, the one used longest ago first."""
    tokens: int = 0
    version: int = 0
    ranking: Ranking | None = None
    listed: tuple[MemoryItem, ...] | None = None
    """`items` as a tuple, until the next change."""

    def all(self) -> tuple[MemoryItem, ...]:
        if self.listed is None:
            self.listed = tuple(self.items.values())
        return self.listed

    def put(self, item: MemoryItem, *, first: bool = False) -> None:
        known = self.items.get(item.id)
        self.tokens += item.tokens - (known.tokens if known else 0)
        self.items = {item.id: item, **self.items} if first else self.items
        self.items[item.id] = item
        self.use(item.id)
        self.version += 1
        self.listed = None
        if self.ranking is not None:
            self.ranking.add(item.id, item.content)
        elif len(self.items) >= RANKED_FROM:
            self.ranking = self._ranked()

    def drop(self, item_id: str) -> None:
        gone = self.items.pop(item_id, None)
        if gone is not None:
            self.tokens -= gone.tokens
            self.version += 1
            self.listed = None
            self.used.pop(item_id, None)
            if self.ranking is not None:
                self.ranking.remove(item_id)

    def use(self, item_id: str) -> None:
        self.used.pop(item_id, None)
        self.used[item_id] = None

    def top(self, query: str, k: int) -> list[tuple[str, float]]:
        return (self.ranking or self._ranked()).top(query, k)

    def _ranked(self) -> Ranking:
        ranking = Ranking()
        for item in self.items.values():
            ranking.add(item.id, item.content)
        return ranking


class Memory:
    """The memory of one session. `apply` never fails."""

    def __init__(self) -> None:
        self._shelves: dict[Place, _Shelf] = {}
        self._where: dict[str, Place] = {}
        self._mail: dict[LetterId, Letter] = {}
        """Letters no run has taken up."""
        self._calls: dict[CallId, tuple[RunId, str]] = {}
        """Calls without a result: their run, and the call in words."""
        self._passages: dict[tuple[str, ...], str] = {}
        """Path and lines -> item."""

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._where)

    # --- reading --------------------------------------------------------------------------

    def items(self, section: SectionName, agent: AgentName | None = None) -> tuple[MemoryItem, ...]:
        """The items of a section, oldest first; those of one place are one tuple until it changes.

        Of a section that each agent has its own of: the agent's, or those of all.
        """
        shelves = [shelf for _, shelf in self._of(section, agent)]
        if len(shelves) == 1:
            return shelves[0].all()
        found = (item for shelf in shelves for item in shelf.all())
        return tuple(sorted(found, key=lambda one: one.at_ms))

    def get(self, item_id: str) -> MemoryItem | None:
        """The item of that id."""
        place = self._where.get(item_id)
        return None if place is None else self._shelves[place].items[item_id]

    def version(self, section: SectionName, agent: AgentName | None = None) -> int:
        """Grows with every change of what `items` gives for the same arguments."""
        return sum(shelf.version for _, shelf in self._of(section, agent))

    def tokens(self, section: SectionName, agent: AgentName | None = None) -> int:
        """Estimated tokens of what `items` gives for the same arguments."""
        return sum(shelf.tokens for _, shelf in self._of(section, agent))

    def search(
        self,
        query: str,
        top_k: int,
        section: SectionName | None = None,
        agent: AgentName | None = None,
        *,
        kept: bool = False,
    ) -> list[tuple[MemoryItem, float]]:
        """The items that fit a few words best, with their scores, best first.

        Words are weighed per section (and agent), so that scores of different sections are only
        roughly comparable. `agent`: the team's sections and the agent's own. `kept`: only what is
        remembered on purpose, not what is derived.
        """
        found = [
            (score, -at, shelf.items[key])
            for at, (place, shelf) in enumerate(self._of(section, agent))
            if not (kept and POLICIES[place[0]].derived)
            for key, score in shelf.top(query, top_k)
        ]
        best = heapq.nlargest(max(0, top_k), found, key=lambda one: one[:2])
        return [(item, score) for score, _, item in best]

    def _of(
        self, section: SectionName | None, agent: AgentName | None
    ) -> list[tuple[Place, _Shelf]]:
        if section is not None and agent is not None:
            place = place_of(section, agent)
            shelf = self._shelves.get(place)
            return [] if shelf is None else [(place, shelf)]
        return [
            (place, shelf)
            for place, shelf in self._shelves.items()
            if section in (None, place[0]) and (agent is None or place == place_of(place[0], agent))
        ]

    # --- following ------------------------------------------------------------------------

    def apply(self, recorded: ev.Recorded) -> None:
        """Take the next event of the session."""
        match recorded.event:
            case ev.MemoryAdded(items=items):
                self._put(*items)
            case ev.MemoryRemoved(item_ids=ids) | ev.MemoryEvicted(item_ids=ids):
                self._drop(ids)
            case ev.MemorySummarised(item=item):
                self._put(item, first=True)
            case ev.LetterAccepted(letter=letter) | ev.LetterReceived(letter=letter):
                self._mail[letter.id] = letter
            case ev.LetterConsumed(letter_ids=ids):
                self._gone(ids)
            case ev.LetterExpired(letter_id=letter_id) | ev.LetterDied(letter_id=letter_id):
                self._gone((letter_id,))
            case ev.PassagesRetrieved(agent=agent, passages=passages):
                self._show(passages, agent, recorded.at_ms)
            case ev.ContextAssembled(sections=sections):
                self._use(sections)
            case _:
                self._apply_run(recorded)

    def _apply_run(self, recorded: ev.Recorded) -> None:
        at_ms = recorded.at_ms
        match recorded.event:
            case ev.RunStarted() as event:
                if event.resumes is None:
                    self._clear(event.agent)
                self._take_up(event.letter_ids, event.agent, at_ms)
            case ev.LettersJoined() as event:
                self._take_up(event.letter_ids, event.agent, at_ms)
            case ev.ToolPlanned() as event:
                said = _arguments(event.arguments, event.raw_arguments)
                self._calls[event.call_id] = (event.run_id, f"{event.name}({said})")
            case ev.ToolFinished() as event:
                _, called = self._calls.pop(event.call_id, (event.run_id, f"{event.name}()"))
                failed = "" if event.status == "completed" else f"{event.status}: "
                said = f"Tool: {called} -> {failed}{_cut(event.content)}"
                self._derive("actions", event.agent, at_ms, said)
            case ev.RunFinished() as event:
                self._calls = {
                    key: one for key, one in self._calls.items() if one[0] != event.run_id
                }
                if event.answer:
                    self._derive("messages", event.agent, at_ms, f"assistant: {event.answer}")
            case ev.IntentClassified() as event:
                said = f"{event.intent} ({event.confidence:.2f}): {event.reasoning}"
                self._derive("last_intent", event.agent, at_ms, said)
            case ev.PlanChanged() as event:
                self._derive("plan_history", event.agent, at_ms, _planned(event.op, event.plan))
            case _:
                pass

    def _put(self, *items: MemoryItem, first: bool = False) -> None:
        for item in items:
            place = place_of(item.section, item.agent)
            self._where[item.id] = place
            self._shelves.setdefault(place, _Shelf()).put(item, first=first)

    def _drop(self, ids: Iterable[str]) -> None:
        for one in ids:
            place = self._where.pop(one, None)
            if place is not None:
                self._shelves[place].drop(one)

    def _gone(self, ids: Iterable[LetterId]) -> None:
        for letter_id in ids:
            self._mail.pop(letter_id, None)

    def _clear(self, agent: AgentName) -> None:
        for place, shelf in self._shelves.items():
            if POLICIES[place[0]].ephemeral and place[1] == agent:
                self._drop(list(shelf.items))

    def _use(self, shown: Iterable[ContextSection]) -> None:
        for one in (key for section in shown for key in section.item_ids):
            place = self._where.get(one)
            if place is not None and POLICIES[place[0]].eviction == "lru":
                self._shelves[place].use(one)

    def _take_up(self, ids: Iterable[LetterId], agent: AgentName, at_ms: int) -> None:
        for letter_id in ids:
            letter = self._mail.pop(letter_id, None)
            if letter is not None:
                said = "user" if letter.from_ == USER else letter.from_
                self._derive("messages", agent, at_ms, f"{said}: {letter.content}")

    def _show(self, passages: Iterable[Passage], agent: AgentName, at_ms: int) -> None:
        """A range of lines once, with the text it had when it was shown last."""
        for passage in passages:
            lines = f"{passage.start_line}-{passage.end_line}"
            content = f"{passage.path}:{lines}\n{passage.text}"
            tags = (passage.path, lines)
            known = self.get(self._passages.get(tags, ""))
            if known is None or known.content != _whole(content):
                self._drop((known.id,) if known else ())
                self._passages[tags] = self._derive("documents", agent, at_ms, content, tags)

    def _derive(
        self,
        section: SectionName,
        agent: AgentName,
        at_ms: int,
        content: str,
        tags: tuple[str, ...] = (),
    ) -> str:
        """Add to a derived section and keep it within its bounds; the item's id."""
        content = _whole(content)
        place = place_of(section, agent)
        made = item_id(section, at_ms, content, place[1])
        self._put(
            MemoryItem(
                id=made, section=section, agent=agent, content=content, at_ms=at_ms, tags=tags
            )
        )
        self._trim(place)
        return made

    def _trim(self, place: Place) -> None:
        shelf = self._shelves[place]
        policy = POLICIES[place[0]]
        items_max, tokens_max = policy.items_max or maxsize, policy.tokens_max or maxsize
        order = shelf.used if policy.eviction == "lru" else shelf.items
        while len(order) > items_max or shelf.tokens > tokens_max:
            oldest = next(iter(order))
            if len(shelf.items) == 1:
                return
            if place[0] == "documents":
                self._passages.pop(shelf.items[oldest].tags, None)
            self._drop((oldest,))


def _whole(content: str) -> str:
    """The content, or as much of it as an item may have."""
    more = len(content) - MESSAGE_CHARS_MAX
    return content if more <= 0 else f"{content[:MESSAGE_CHARS_MAX]}… ({more:,} more characters)"


def _arguments(arguments: dict[str, Any] | None, raw: str) -> str:
    return _cut(raw if arguments is None else json.dumps(arguments, ensure_ascii=False))


def _cut(text: str) -> str:
    line = " ".join(text[: 4 * ACTION_CHARS_MAX].split())
    short = line[:ACTION_CHARS_MAX]
    return short if short == line and len(text) <= 4 * ACTION_CHARS_MAX else f"{short}…"


def _planned(op: str, plan: Plan) -> str:
    steps = [
        f"{number}. [{step.status}] {step.text}" + (f" - {step.note}" if step.note else "")
        for number, step in enumerate(plan.steps, start=1)
    ]
    return "\n".join([f"{op} (version {plan.version}): {plan.goal}", *steps])
