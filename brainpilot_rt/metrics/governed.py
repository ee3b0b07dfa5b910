"""Counters of what governs runs: folded from events like the rest, with bounded labels."""

from collections import Counter
from decimal import Decimal

from brainpilot_rt.domain import events as ev


class Governed:
    """How models were chosen, what was stopped, who was asked, and what was charged."""

    def __init__(self) -> None:
        self.selections: Counter[str] = Counter()
        """By phase of the choice."""
        self.guardrails: Counter[str] = Counter()
        """Interventions, by action."""
        self.judged: Counter[str] = Counter()
        """Tool calls the inspection did not simply pass, by action."""
        self.approvals: Counter[str] = Counter()
        """`asked`, and by decision."""
        self.budgets: Counter[str] = Counter()
        """`warned` and `exhausted`."""
        self.cost_usd = Decimal(0)
        """What model calls cost; known prices only."""
        self.counted_usd = Decimal(0)
        """What the budgets were charged."""
        self._reserved: set[str] = set()

    @property
    def reservations_open(self) -> int:
        """Calls that money is kept free for; a start settles what an earlier life left."""
        return len(self._reserved)

    def fold(self, event: ev.Event) -> None:
        """Count one fact."""
        match event:
            case ev.SpendReserved(reservation_id=key):
                self._reserved.add(key)
            case ev.SpendSettled(reservation_id=key, counted_usd=counted):
                self._reserved.discard(key)
                self.counted_usd += counted
            case ev.ModelSelected(phase=phase):
                self.selections[phase] += 1
            case ev.GuardrailFired(action=action):
                self.guardrails[action] += 1
            case ev.ToolJudged(action=action):
                self.judged[action] += 1
            case ev.ApprovalRequested():
                self.approvals["asked"] += 1
            case ev.ApprovalDecided(decision=decision):
                self.approvals[decision] += 1
            case ev.BudgetWarned():
                self.budgets["warned"] += 1
            case ev.BudgetExhausted():
                self.budgets["exhausted"] += 1
            case _:
                pass
