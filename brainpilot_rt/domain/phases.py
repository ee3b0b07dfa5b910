"""The life of an agent as a table.

Rule 1: everything that decides whether a change of status is legal lives here.
Rule 2: this file does not know who asks, or why.
"""

from enum import StrEnum
from typing import Final


class AgentPhase(StrEnum):
    """Status of an agent, as every wire shows it."""

    IDLE = "idle"
    RUNNING = "running"
    ERROR = "error"
    STOPPED = "stopped"


TRANSITIONS: Final[dict[AgentPhase, dict[str, AgentPhase]]] = {
    AgentPhase.IDLE: {"run_started": AgentPhase.RUNNING, "agent_stopped": AgentPhase.STOPPED},
    AgentPhase.RUNNING: {
        "run_completed": AgentPhase.IDLE,
        "run_failed": AgentPhase.ERROR,
        "agent_stopped": AgentPhase.STOPPED,
    },
    AgentPhase.ERROR: {"run_started": AgentPhase.RUNNING, "agent_stopped": AgentPhase.STOPPED},
    AgentPhase.STOPPED: {"agent_created": AgentPhase.IDLE},
}


def advance(phase: AgentPhase, what: str) -> AgentPhase:
    """Return the next phase; `ValueError` when the table has no such move."""
    row = TRANSITIONS[phase]
    if what not in row:
        raise ValueError(f"an agent that is {phase.value} can not take {what}")
    return row[what]
