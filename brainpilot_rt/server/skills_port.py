"""What the server needs to show skills."""

from collections.abc import Sequence
from typing import Protocol

from brainpilot_rt.domain.skills import Skill
from brainpilot_rt.workspace.files import Workspace


class SkillViews(Protocol):
    """The skills that work in a work tree may use."""

    def find(self, workspace: Workspace) -> Sequence[Skill]:
        """Every skill, nearest first; broken and hidden ones too. Blocks."""
        ...
