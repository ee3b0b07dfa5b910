"""`skill_search`: instructions for kinds of work, kept in folders beside the data directory.

A library is a folder of `<category>/<skill>/SKILL.md`; the front matter of SKILL.md (YAML between
two `---` lines) has a description. Libraries are read when asked, so a skill that was added is
found at once. They are opened as work trees are: no path that a model writes leads out of its
library.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import yaml
from pydantic import Field

from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, on_thread, tool
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.walk import walk

_SKILL: Final = "SKILL.md"
_SKILL_BYTES_MAX: Final = 256 * 1024
_SKILLS_MAX: Final = 2_000
_FRONT: Final = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n?", re.DOTALL)
_WORD: Final = re.compile(r"\w+")
_NAME_WEIGHT: Final = 5
_DESCRIPTION_WEIGHT: Final = 2


class SkillSearch(Arguments):
    """Find and read skills: written instructions for kinds of work.

    mode query ranks skills by keywords. mode browse lists all skills; with skill_name it shows that
    skill's instructions and files, with relative_path one of its files.
    """

    mode: Literal["query", "browse"]
    keywords: Annotated[
        str | tuple[str, ...] | None, Field(description="For mode query: what the work is about.")
    ] = None
    topk: Annotated[int, Field(ge=1, le=50)] = 5
    skill_name: Annotated[str | None, Field(max_length=200)] = None
    relative_path: Annotated[str | None, Field(max_length=1_000)] = None


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill of a library. `folder` is a path in it."""

    library: Workspace
    folder: LogicalPath
    name: str
    description: str
    text: str


def skills_in(libraries: Sequence[Path]) -> list[Skill]:
    """All readable skills, the first of a name winning. Blocks."""
    found: dict[str, Skill] = {}
    for root in libraries:
        for skill in _skills_of(Workspace(root)):
            found.setdefault(skill.name, skill)
    return list(found.values())


def skill_tool(libraries: Sequence[Path]) -> Tool:
    """The skill tool over these libraries; a missing one is an empty one."""

    def run(_: ToolContext, wanted: SkillSearch) -> ToolOutput:
        skills = skills_in(libraries)
        if wanted.mode == "query":
            return _query(skills, wanted)
        return _browse(skills, wanted)

    return tool(on_thread(run), SkillSearch, name="skill_search", effect=Effect.PURE)


def _skills_of(library: Workspace) -> Iterator[Skill]:
    try:
        files = [
            one.path
            for one in walk(library, LogicalPath("workspace"))
            if not one.is_folder and one.path.name == _SKILL and len(one.path.parts) > 1
        ]
    except CommandRejected:
        return
    for path in files[:_SKILLS_MAX]:
        try:
            text = library.read_text(str(path), _SKILL_BYTES_MAX)
        except CommandRejected:
            continue
        front = _front_matter(text)
        name, description = front.get("name"), front.get("description")
        yield Skill(
            library=library,
            folder=path.parent,
            name=name if isinstance(name, str) and name else path.parent.name,
            description=" ".join(description.split()) if isinstance(description, str) else "",
            text=text,
        )


def _front_matter(text: str) -> dict[str, Any]:
    match = _FRONT.match(text)
    if match is None:
        return {}
    try:
        front = yaml.safe_load(match[1])
    except (yaml.YAMLError, RecursionError):
        return {}
    return cast("dict[str, Any]", front) if isinstance(front, dict) else {}


def _query(skills: list[Skill], wanted: SkillSearch) -> ToolOutput:
    given = wanted.keywords or wanted.skill_name or ()
    text = given if isinstance(given, str) else " ".join(given)
    words = {word.casefold() for word in _WORD.findall(text)}
    if not words:
        return ToolOutput("mode query needs keywords.", failed=True)
    ranked = sorted(
        ((_score(skill, words), skill) for skill in skills), key=lambda one: (-one[0], one[1].name)
    )
    lines = [_line(skill) for score, skill in ranked[: wanted.topk] if score]
    return ToolOutput("\n".join(lines) or "No skill matches; mode browse lists all.")


def _score(skill: Skill, words: set[str]) -> int:
    """Each keyword counts where it occurs: name, description, text (three times at most)."""
    name = _WORD.findall(f"{skill.name} {skill.folder.short}".replace("_", " ").casefold())
    description = _WORD.findall(skill.description.casefold())
    body = _WORD.findall(skill.text.casefold())
    return sum(
        _NAME_WEIGHT * (word in name)
        + _DESCRIPTION_WEIGHT * description.count(word)
        + min(3, body.count(word))
        for word in words
    )


def _browse(skills: list[Skill], wanted: SkillSearch) -> ToolOutput:
    if wanted.skill_name is None:
        lines = sorted(_line(skill) for skill in skills)
        return ToolOutput("\n".join(lines) or "There are no skills.")
    skill = next((one for one in skills if one.name == wanted.skill_name), None)
    if skill is None:
        known = ", ".join(sorted(one.name for one in skills)[:50]) or "none"
        return ToolOutput(f"No skill {wanted.skill_name!r}. Known: {known}.", failed=True)
    if wanted.relative_path is not None:
        path = f"{skill.folder}/{wanted.relative_path}"
        return ToolOutput(skill.library.read_text(path, _SKILL_BYTES_MAX))
    depth = len(skill.folder.parts)
    files = [
        "/".join(one.path.parts[depth:])
        for one in walk(skill.library, skill.folder, entries_max=500)
        if not one.is_folder and one.path.name != _SKILL
    ]
    listed = "\n".join(f"- {name}" for name in sorted(files))
    return ToolOutput(skill.text + (f"\n\nFiles of this skill:\n{listed}" if listed else ""))


def _line(skill: Skill) -> str:
    return f"{skill.name}: {skill.description or '(no description)'}"
