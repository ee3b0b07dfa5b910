"""A skill: a folder with `SKILL.md`, written instructions for one kind of work.

Values only. How the file is read is `context/skill_format.py`, where it lies `context/skills.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

SkillScope: TypeAlias = Literal["project", "user"]
"""`project`: from the work tree, so whoever writes there wrote it, and it is not trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What is known of a skill without its instructions (level 1 of three)."""

    name: str
    """Of the front matter; of the folder where that says none."""
    description: str
    """One line; empty where the file says none."""
    scope: SkillScope
    library: str
    """Name of the library it lies in, as in `.agents/skills`. No path of this machine."""
    folder: str
    """Its folder inside the library, as in `science/plot`."""
    license: str = ""
    compatibility: str = ""
    allowed_tools: str = ""
    """Tools the skill asks for. A request that is shown, never a grant."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    problems: tuple[str, ...] = ()
    """What is wrong with it by the published format, each with what to do."""
    broken: bool = False
    """True: nothing says what it is good for, so it is listed but never offered."""
    hidden_by: str = ""
    """Path of the nearer skill that has the same name and is used instead."""
    weights: Mapping[str, int] = field(default_factory=dict[str, int], repr=False)
    """How much each word, in lower case, says that the skill fits."""
    stamp: int = 0
    """When the file was last changed, in nanoseconds since the Unix epoch; 0: unknown."""

    @property
    def path(self) -> str:
        """Where it lies, for people: library and folder, on one line."""
        return " ".join(f"{self.library}/{self.folder}".rstrip("/").split())


def facts_of(skill: Skill) -> dict[str, Any]:
    """A skill as JSON, for programs."""
    return {
        "name": skill.name,
        "description": skill.description,
        "scope": skill.scope,
        "path": skill.path,
        "problems": list(skill.problems),
        "broken": skill.broken,
        "hiddenBy": skill.hidden_by or None,
        "license": skill.license,
        "compatibility": skill.compatibility,
        "allowedTools": skill.allowed_tools,
        "metadata": dict(skill.metadata),
    }


def offered(skills: Sequence[Skill]) -> list[Skill]:
    """Those a model is told of: neither broken nor hidden by a nearer one."""
    return [one for one in skills if not one.broken and not one.hidden_by]
