"""Counters of how the team thinks: folded from events like the rest, with bounded labels."""

from collections import Counter

from brainpilot_rt.domain import events as ev


class Thoughts:
    """How runs were answered, which bounds they met, and what became of memory."""

    def __init__(self) -> None:
        self.intents: Counter[str] = Counter()
        self.programs: Counter[str] = Counter()
        self.limits: Counter[str] = Counter()
        """Bounds that were met, by kind."""
        self.circuits: Counter[str] = Counter()
        """Changes of tools' circuit breakers, by state."""
        self.evidence_insufficient = 0
        """Research that could not show what it says."""
        self.remembered: Counter[str] = Counter()
        self.evicted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """These three by section of memory."""

    def fold(self, event: ev.Event) -> None:
        """Count one fact."""
        match event:
            case ev.MemoryAdded(items=items):
                self.remembered.update(item.section for item in items)
            case ev.MemoryEvicted(section=section, item_ids=ids):
                self.evicted[section] += len(ids)
            case ev.MemoryRefused(section=section):
                self.refused[section] += 1
            case ev.IntentClassified(intent=intent, program=program):
                self.intents[intent] += 1
                self.programs[program] += 1
            case ev.LimitExceeded(kind=kind):
                self.limits[kind] += 1
            case ev.CircuitChanged(state=state):
                self.circuits[state] += 1
            case ev.EvidenceInsufficient():
                self.evidence_insufficient += 1
            case _:
                pass
