"""The program of a run: what its letters want, and how that is answered.

Decisions are in `agents/programs/`, pure; here they meet the log, the tools and the model.
"""

from brainpilot_rt.agents.definition import AgentDefinition
from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.domain import events as ev
from brainpilot_rt.supervision.organs import Organs


class RunProgram:
    """The program of one run."""

    def __init__(self, organs: Organs, identity: RunIdentity, definition: AgentDefinition) -> None:
        self._organs = organs
        self._identity = identity
        self._definition = definition

    def offer(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Of the agent's tools, those the program allows in the next turn."""
        return names

    def guidance(self) -> str:
        """What the program adds to the system prompt of the next turn; may be empty."""
        return ""

    async def proceed(
        self, turn: int, said: str
    ) -> tuple[ev.ProgramPrompted | None, tuple[ev.Event, ...]]:
        """The model wants to end with `said`: what it is told to do next, and what is recorded."""
        del turn, said
        return None, ()
