"""Decisions about memory: what fits, what has to make room, who may forget. Pure.

A section has a budget of tokens. What is over it evicts the oldest that is not pinned where the
policy of the section allows that, and is refused loudly where it does not: nothing that was to be
kept for good disappears silently. A section whose evicted items are summarised is emptied down to
`KEPT_PART` of its budget, so that there is something to summarise and room for the summary.
"""

from collections.abc import Mapping
from typing import Final

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    SectionFull,
    TooLarge,
)
from brainpilot_rt.domain.ids import USER
from brainpilot_rt.domain.memory import (
    POLICIES,
    UNTRUSTED,
    MemoryItem,
    Place,
    SectionPolicy,
    place_of,
)
from brainpilot_rt.sessions.memory_folds import Book, entry, folded
from brainpilot_rt.sessions.moment import Moment, RefusedLoudly
from brainpilot_rt.sessions.runs import fenced
from brainpilot_rt.sessions.state import Remembered, SessionState
from brainpilot_rt.settings import SessionLimits

KEPT_PART: Final = 0.75


def remember(state: SessionState, command: cmd.Remember, moment: Moment) -> list[ev.Event]:
    """Items into memory, with what has to make room; all of them or none."""
    run = fenced(state, command.run_id) if command.run_id is not None else None
    book: Book = state.memory
    events: list[ev.Event] = []
    for offered in command.items:
        _check(offered, moment.limits)
        item = _once(book, offered)
        if item is not None and run is not None and run.tainted and UNTRUSTED not in item.tags:
            item = item.model_copy(update={"tags": (*item.tags, UNTRUSTED)})
        if item is None:
            continue
        evicted = _room(book, item, command, moment.limits)
        added = ev.MemoryAdded(items=(item,), agent=command.by, run_id=command.run_id)
        for event in (*evicted, added):
            book = folded(book, event)
            events.append(event)
    return events


def forget(state: SessionState, command: cmd.ForgetItems) -> list[ev.Event]:
    """Items out of memory."""
    if command.run_id is not None:
        fenced(state, command.run_id)
    events: list[ev.Event] = []
    for item_id in command.item_ids:
        place, known = _find(state.memory, item_id)
        if command.by not in {USER, known.agent}:
            raise Forbidden(f"memory item {item_id} is of {known.agent}; only they may forget it")
        if command.by != USER and known.pinned:
            raise Forbidden(f"memory item {item_id} is pinned; only the user may forget it")
        events.append(
            ev.MemoryRemoved(
                section=place[0], item_ids=(item_id,), agent=command.by, run_id=command.run_id
            )
        )
    return events


def summarise(
    state: SessionState, evicted: ev.MemoryEvicted, item: MemoryItem
) -> ev.MemorySummarised:
    """One item for what was evicted; `Conflict` when it is no shorter or has no room any more."""
    place = (evicted.section, evicted.agent)
    if not item.content.strip():
        raise Conflict("the summary is empty")
    if item.tokens >= evicted.tokens:
        raise Conflict(f"the summary has {item.tokens} tokens, what it stands for {evicted.tokens}")
    used = _tokens(state.memory, place)
    limit = POLICIES[evicted.section].tokens_max
    if limit is not None and used + item.tokens > limit:
        raise Conflict(f"section {evicted.section} has no room for the summary any more")
    return ev.MemorySummarised(
        section=evicted.section,
        agent=evicted.agent,
        item_ids=evicted.item_ids,
        item=item,
        tokens_before=evicted.tokens,
    )


def _check(item: MemoryItem, limits: SessionLimits) -> None:
    if POLICIES[item.section].derived:
        raise BadRequest(
            f"section {item.section} is made from what happens; nothing can be added to it",
            code="memory_section_derived",
        )
    if not item.content.strip():
        raise BadRequest("an item of memory needs content")
    if len(item.content) > limits.memory_item_chars_max:
        raise TooLarge(
            f"an item of memory has at most {limits.memory_item_chars_max:,} characters; this has "
            f"{len(item.content):,}"
        )


def _once(book: Book, offered: MemoryItem) -> MemoryItem | None:
    """The item as it is added; None when the same words are there already.

    Words that are there and shall be pinned are the item that is there, changed.
    """
    place = place_of(offered.section, offered.agent)
    held = book.get(place, {})
    if offered.id in held:
        return offered
    if any(offered.id in others for others in book.values()):
        raise Conflict(f"memory item {offered.id} is in another section")
    new = entry(offered)
    for item_id, known in held.items():
        if known.digest == new.digest:
            more = new.pinned and not known.pinned
            return offered.model_copy(update={"id": item_id}) if more else None
    return offered


def _room(
    book: Book, item: MemoryItem, command: cmd.Remember, limits: SessionLimits
) -> list[ev.MemoryEvicted]:
    """What has to be evicted for an item; refused loudly when that is not possible."""
    place = place_of(item.section, item.agent)
    held = book.get(place, {})
    policy = POLICIES[item.section]
    known = held.get(item.id)
    _count(book, item, command, limits)
    if policy.tokens_max is None:
        return []
    used = _tokens(book, place) - (known.tokens if known else 0)
    if used + item.tokens <= policy.tokens_max:
        return []
    gone = _oldest(held, item, used, policy) if policy.eviction == "fifo" else {}
    if not gone:
        size = (item.tokens, policy.tokens_max, used)
        raise _refused(item, command, size, "tokens, and nothing in it may be evicted")
    return [
        ev.MemoryEvicted(
            section=place[0],
            agent=place[1],
            item_ids=tuple(gone),
            tokens=sum(one.tokens for one in gone.values()),
            run_id=command.run_id,
        )
    ]


def _oldest(
    held: Mapping[str, Remembered], item: MemoryItem, used: int, policy: SectionPolicy
) -> dict[str, Remembered]:
    """What makes room, oldest first; nothing when even all of it would not."""
    most = policy.tokens_max or 0
    wanted = most if policy.summarise == "never" else int(most * KEPT_PART)
    gone: dict[str, Remembered] = {}
    for item_id, one in held.items():
        if used + item.tokens <= wanted:
            break
        if not one.pinned and item_id != item.id:
            gone[item_id] = one
            used -= one.tokens
    return gone if used + item.tokens <= most else {}


def _count(book: Book, item: MemoryItem, command: cmd.Remember, limits: SessionLimits) -> None:
    """Items are counted too: all of a session, and the facts of a block."""
    held = book.get(place_of(item.section, item.agent), {})
    total = sum(map(len, book.values()))
    if item.id not in held and total >= limits.memory_items_max:
        size = (1, limits.memory_items_max, total)
        raise _refused(item, command, size, "items in all the memory of the session")
    if item.section != "facts":
        return
    block = item.block or "general"
    most = {
        "human": limits.facts_human_max,
        "system": limits.facts_system_max,
        "project": limits.facts_project_max,
        "general": limits.facts_general_max,
    }[block]
    used = sum(
        (one.block or "general") == block for item_id, one in held.items() if item_id != item.id
    )
    if used >= most:
        raise _refused(item, command, (1, most, used), f"facts in block {block}")


def _refused(
    item: MemoryItem, command: cmd.Remember, size: tuple[int, int, int], what: str
) -> RefusedLoudly:
    """`size`: what is wanted, the limit, what is used; `what` they count."""
    wanted, limit, used = size
    reason = f"section {item.section} has {used:,} of {limit:,} {what}; {wanted:,} more do not fit"
    refused = ev.MemoryRefused(
        section=item.section,
        agent=command.by,
        run_id=command.run_id,
        tokens=item.tokens,
        limit=limit,
        used=used,
        reason=reason,
    )
    return RefusedLoudly([refused], SectionFull(reason))


def _tokens(book: Book, place: Place) -> int:
    return sum(one.tokens for one in book.get(place, {}).values())


def _find(book: Book, item_id: str) -> tuple[Place, Remembered]:
    for place, held in book.items():
        if item_id in held:
            return place, held[item_id]
    raise NotFound(f"there is no memory item {item_id[:80]!r}", code="unknown_memory_item")
