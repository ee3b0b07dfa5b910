"""The folds of `evolve` that concern memory: which items there are and how large, not their words.

`context/memory.py` folds the same events with the words; the two agree on what is there.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.memory import POLICIES, MemoryItem, Place, place_of
from brainpilot_rt.sessions.mappings import changed, having, without
from brainpilot_rt.sessions.state import Remembered, SessionState

Book: TypeAlias = Mapping[Place, Mapping[str, Remembered]]
Change: TypeAlias = ev.MemoryAdded | ev.MemoryRemoved | ev.MemoryEvicted | ev.MemorySummarised


def entry(item: MemoryItem) -> Remembered:
    """What is kept of an item."""
    digest = hashlib.sha256(item.content.encode("utf-8", "replace")).hexdigest()[:16]
    return Remembered(item.tokens, digest, item.agent, item.pinned, item.block)


def folded(book: Book, event: Change) -> Book:
    """The book after one fact about memory."""
    match event:
        case ev.MemoryAdded(items=items):
            for item in items:
                place = place_of(item.section, item.agent)
                book = having(book, place, having(book.get(place, {}), item.id, entry(item)))
            return book
        case ev.MemoryRemoved(section=section, item_ids=ids):
            for place in [one for one in book if one[0] == section]:
                book = _left(book, place, ids)
            return book
        case ev.MemoryEvicted(section=section, agent=owner, item_ids=ids):
            return _left(book, (section, owner), ids)
        case ev.MemorySummarised(section=section, agent=owner, item=item):
            place = (section, owner)
            return having(book, place, {item.id: entry(item), **book.get(place, {})})


def begun(state: SessionState, event: ev.RunStarted) -> SessionState:
    """A run starts with empty ephemeral sections; one that goes on keeps them."""
    if event.resumes is not None:
        return state
    gone = [place for place in state.memory if ends_with_run(place, event)]
    return changed(state, memory=without(state.memory, *gone)) if gone else state


def ends_with_run(place: Place, event: ev.RunStarted) -> bool:
    """Whether the start of a run empties this place."""
    return POLICIES[place[0]].ephemeral and place[1] == event.agent


def _left(book: Book, place: Place, ids: Iterable[str]) -> Book:
    left = without(book.get(place, {}), *ids)
    return having(book, place, left) if left else without(book, place)
