"""Counters of how the team thinks: folded from events like the rest, with bounded labels."""

from collections import Counter

from brainpilot_rt.domain import events as ev


class Thoughts:
    """What was remembered, evicted and refused, by section of memory."""

    def __init__(self) -> None:
        self.remembered: Counter[str] = Counter()
        self.evicted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def fold(self, event: ev.Event) -> None:
        """Count one fact."""
        match event:
            case ev.MemoryAdded(items=items):
                self.remembered.update(item.section for item in items)
            case ev.MemoryEvicted(section=section, item_ids=ids):
                self.evicted[section] += len(ids)
            case ev.MemoryRefused(section=section):
                self.refused[section] += 1
            case _:
                pass
