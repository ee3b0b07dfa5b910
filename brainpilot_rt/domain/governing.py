"""What governs a turn, as values: who may spend what, who may do what, and what was decided."""

from decimal import Decimal
from typing import Final, Literal, TypeAlias

from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.values import Value

PICO: Final = Decimal("1e-12")
"""Money in the ledger is counted in whole picodollars, so that sums are exact."""

BudgetScope: TypeAlias = Literal[
    "run",
    "root",
    "envelope",
    "session",
    "agent_day",
    "agent_month",
    "global_day",
    "global_month",
]
"""Of one run; of a request with all that follows from it (its causal chain); what a delegation was
given of its sender's; of a session; of an agent or of everything in a day or month (UTC)."""

SpendPurpose: TypeAlias = Literal["turn", "classify", "compact", "summarise", "chat"]
RoutePhase: TypeAlias = Literal[
    "pinned", "only", "held", "unsampled", "ucb1", "thompson", "fallback"
]
GuardStage: TypeAlias = Literal["input", "output", "tool_args", "tool_result"]
GuardAction: TypeAlias = Literal["block", "redact", "warn", "log"]
JudgedAction: TypeAlias = Literal["pass", "warn", "mask", "substitute", "downgrade", "ask", "block"]
ApprovalScope: TypeAlias = Literal["once", "run", "session", "agent"]
"""How far an approval reaches: this very call; the same tool for the rest of the run, of the
session, or for this agent everywhere."""
ApprovalDecision: TypeAlias = Literal["approved", "denied", "expired", "withdrawn"]


class Candidate(Value):
    """A model that could have been chosen, and what was known of it."""

    model: ModelRef
    samples: int = 0
    mean: float | None = None
    """Of its rewards in the window; None: no sample."""
    score: float | None = None
    """What it was compared by; None: it was not."""
    excluded: str = ""
    """Why it could not be chosen; empty: it could."""


class RunLimits(Value):
    """What one request may take, as whoever made it says."""

    max_turns: int | None = None
    """Model calls of the addressed agent for the whole request."""
    cap_usd: Decimal | None = None
    """Of the request with all that follows from it."""


NO_LIMITS: Final = RunLimits()
