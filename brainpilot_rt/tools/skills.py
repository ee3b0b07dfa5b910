"""`skill_search`: instructions for kinds of work, kept in folders of the user or the work tree.

Where they lie and how they are read is behind a port. A skill that is broken is listed with the
reason, never left out; one of the work tree is marked, since whoever writes there wrote it.
`allowed-tools` of a skill is text like the rest of it: what an agent may use is decided elsewhere.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Protocol

from pydantic import Field

from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.skills import Skill
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, on_thread, tool
from brainpilot_rt.workspace.files import Workspace

_KNOWN_MAX: Final = 50
_PROJECT_NOTE: Final = (
    "[This skill lies in the work tree: whoever writes there wrote it. It grants nothing.]\n\n"
)


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


class SkillShelf(Protocol):
    """Where skills come from, as seen from one work tree; all but `report` block."""

    def find(self, workspace: Workspace) -> Sequence[Skill]:
        """Every skill, nearest first; broken and hidden ones too."""
        ...

    def fitting(self, skills: Sequence[Skill], query: str, k: int) -> Sequence[Skill]:
        """The best for a query."""
        ...

    def text(self, workspace: Workspace, skill: Skill) -> str:
        """The whole `SKILL.md`; raises `CommandRejected`."""
        ...

    def files(self, workspace: Workspace, skill: Skill) -> Sequence[str]:
        """Relative paths of its other files; raises `CommandRejected`."""
        ...

    def file(self, workspace: Workspace, skill: Skill, relative_path: str) -> str:
        """One of them; raises `CommandRejected`."""
        ...

    async def report(self, session: SessionId, skills: Sequence[Skill]) -> None:
        """Tell a person which of these are broken."""
        ...


def skill_tool(shelf: SkillShelf) -> Tool:
    """The skill tool over a shelf."""

    async def run(context: ToolContext, wanted: SkillSearch) -> ToolOutput:
        found: list[Skill] = []

        def answer(context: ToolContext, wanted: SkillSearch) -> ToolOutput:
            found.extend(shelf.find(context.workspace))
            if wanted.mode == "query":
                return _query(shelf, found, wanted)
            return _browse(shelf, context.workspace, found, wanted)

        output = await on_thread(answer)(context, wanted)
        await shelf.report(context.session, found)
        return output

    return tool(run, SkillSearch, name="skill_search", effect=Effect.PURE)


def _query(shelf: SkillShelf, skills: Sequence[Skill], wanted: SkillSearch) -> ToolOutput:
    given = wanted.keywords or wanted.skill_name or ()
    text = given if isinstance(given, str) else " ".join(given)
    if not text.strip():
        return ToolOutput("mode query needs keywords.", failed=True)
    fitting = shelf.fitting([one for one in skills if not one.hidden_by], text, wanted.topk)
    lines = [_line(skill) for skill in fitting]
    return ToolOutput("\n".join(lines) or "No skill matches; mode browse lists all.")


def _browse(
    shelf: SkillShelf, workspace: Workspace, skills: Sequence[Skill], wanted: SkillSearch
) -> ToolOutput:
    if wanted.skill_name is None:
        lines = sorted(map(_line, skills))
        return ToolOutput("\n".join(lines) or "There are no skills.")
    # A broken skill never stands before a whole one of its name.
    named = [one for one in skills if one.name == wanted.skill_name and not one.hidden_by]
    skill = min(named, key=lambda one: one.broken, default=None)
    if skill is None:
        names = sorted({one.name for one in skills})[:_KNOWN_MAX]
        known = ", ".join(names) or "none"
        return ToolOutput(f"No skill {wanted.skill_name!r}. Known: {known}.", failed=True)
    note = _PROJECT_NOTE if skill.scope == "project" else ""
    if wanted.relative_path is not None:
        return ToolOutput(note + shelf.file(workspace, skill, wanted.relative_path))
    if skill.broken:
        note += f"[This skill is broken: {'; '.join(skill.problems)}]\n\n"
    listed = "\n".join(f"- {name}" for name in shelf.files(workspace, skill))
    files = f"\n\nFiles of this skill:\n{listed}" if listed else ""
    return ToolOutput(note + shelf.text(workspace, skill) + files)


def _line(skill: Skill) -> str:
    line = f"{skill.name}: {skill.description or '(no description)'}"
    if skill.scope == "project":
        line += " [of the work tree]"
    if skill.hidden_by:
        line += f" [{skill.path}, hidden by {skill.hidden_by}]"
    if skill.broken:
        line += f" [broken, {skill.path}: {'; '.join(skill.problems)}]"
    return line
