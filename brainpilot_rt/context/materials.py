"""What a registered agent brings along to read: texts its owner gave over HTTP.

As sources of a context they stand beside the files of the work tree (agent-runs.md 3.7), and like
those they are read anew for every turn.
"""

from dataclasses import dataclass

from brainpilot_rt.context.references import Reference
from brainpilot_rt.context.sources import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """The texts of one agent."""

    skill: str = ""
    """What it knows of its field."""
    workspace: tuple[tuple[str, str], ...] = ()
    """Working files: name and text."""
    references: tuple[Reference, ...] = ()

    def skills(self) -> tuple[Piece, ...]:
        """For the source of skills."""
        return (Piece(self.skill),) if self.skill else ()

    def working(self) -> tuple[Piece, ...]:
        """For the source of the workspace."""
        return tuple(Piece(f"[{name}]\n{text}") for name, text in self.workspace)


NONE = Materials()
