"""The skills of a session: which libraries it sees, and telling a person what is broken in them.

Nearest first: the work tree's own folders, then those in the data directory (BrainPilot's
`bp_template/`, always-on before router), then the user's. Both places of the work tree are read
because both are in use by other agents; a plain `skills/` is not, since a folder of that name may
hold anything.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from brainpilot_rt.context import skills as reading
from brainpilot_rt.context.skills import Library, SkillReader
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.skills import Skill
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.settings import Settings
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath

SKILL_INVALID: Final = "skill_invalid"
"""Code of the notice about a broken skill."""
NOTICES_MAX: Final = 20
"""Such notices in one session: the list of skills names them all."""

_PROJECT: Final = (".agents", ".claude")
_MESSAGE_CHARS: Final = 600
_SESSIONS_MAX: Final = 1_000


def user_libraries(settings: Settings) -> tuple[Library, ...]:
    """What every session sees: the template's libraries, then those in the user's home."""
    template, home = settings.data_dir / "bp_template", settings.environment.get("HOME")
    found = [(name, template / name) for name in ("skills", "skills-router")]
    if home:
        found.append(("~/.agents/skills", Path(home) / ".agents" / "skills"))
    return tuple(Library(label, Workspace(path), "user") for label, path in found)


def project_libraries(workspace: Workspace) -> tuple[Library, ...]:
    """What a work tree brings along."""
    return tuple(
        Library(f"{name}/skills", workspace, "project", LogicalPath("workspace", (name, "skills")))
        for name in _PROJECT
    )


class Skills:
    """Implements the ports of the skill tool and of the server. Reading blocks."""

    def __init__(
        self,
        user: Sequence[Library],
        log: EventLog,
        record: Callable[[SessionId, ev.Event], Awaitable[object]],
    ) -> None:
        """`record`: commits a fact of a session."""
        self._user = tuple(user)
        self._log = log
        self._record = record
        self._reader = SkillReader()
        self._told: dict[SessionId, set[str]] = {}

    def find(self, workspace: Workspace) -> tuple[Skill, ...]:
        """Every skill a session with this work tree sees, nearest first; broken ones too."""
        return self._reader.catalogue(self._libraries(workspace))

    def fitting(self, skills: Sequence[Skill], query: str, k: int) -> list[Skill]:
        """The best of them for a query."""
        return reading.fitting(skills, query, k)

    def text(self, workspace: Workspace, skill: Skill) -> str:
        """The whole `SKILL.md`."""
        return reading.skill_text(self._libraries(workspace), skill)

    def files(self, workspace: Workspace, skill: Skill) -> list[str]:
        """The other files of its folder."""
        return reading.skill_files(self._libraries(workspace), skill)

    def file(self, workspace: Workspace, skill: Skill, relative_path: str) -> str:
        """One of them."""
        return reading.skill_file(self._libraries(workspace), skill, relative_path)

    async def report(self, session: SessionId, skills: Sequence[Skill]) -> None:
        """Tell the session's readers which of these are broken, once per state of the file."""
        notices = {one.notice_id: one for one in map(_notice, skills) if one is not None}
        if not notices:
            return
        told = await self._told_in(session)
        for notice_id, notice in notices.items():
            if notice_id not in told and len(told) < NOTICES_MAX:
                told.add(notice_id)
                await self._record(session, notice)

    async def _told_in(self, session: SessionId) -> set[str]:
        if session not in self._told:
            known = await self._log.read_back(
                session, limit=500, types=frozenset({"notice_posted"})
            )
            told: set[str] = set()
            for recorded in known:
                match recorded.event:
                    case ev.NoticePosted(code=code, notice_id=notice_id) if code == SKILL_INVALID:
                        told.add(notice_id)
                    case _:
                        pass
            if len(self._told) >= _SESSIONS_MAX:
                self._told.clear()
            self._told.setdefault(session, told)
        return self._told[session]

    def _libraries(self, workspace: Workspace) -> tuple[Library, ...]:
        return (*project_libraries(workspace), *self._user)


def _notice(skill: Skill) -> ev.NoticePosted | None:
    if not skill.broken:
        return None
    why = "; ".join(skill.problems)
    return ev.NoticePosted(
        notice_id=f"{SKILL_INVALID}:{skill.path}:{skill.stamp}",
        level="warning",
        message=f"The skill {skill.path} is not offered: {why}"[:_MESSAGE_CHARS],
        code=SKILL_INVALID,
    )
