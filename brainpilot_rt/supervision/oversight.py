"""What the owner oversees agents with: what the log tells, the rules, and the shared memory."""

from dataclasses import dataclass

from brainpilot_rt.supervision.guard_providers import GuardProviders
from brainpilot_rt.supervision.guarding import Guards
from brainpilot_rt.supervision.insight import Insight
from brainpilot_rt.supervision.shared_memory import SharedMemory
from brainpilot_rt.supervision.toolgate import Governor


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversight:
    """All of it."""

    insight: Insight
    guards: Guards
    guard_providers: GuardProviders
    tools: Governor
    memory: SharedMemory
