"""Which libraries a session sees, and the notices about what is broken in them."""

from pathlib import Path

import pytest

from brainpilot_rt.domain.events import Event, NoticePosted
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.skills import Skills, user_libraries
from brainpilot_rt.testing.sources import ManualClock
from brainpilot_rt.workspace.files import Workspace

ONE, TWO = SessionId("one"), SessionId("two")
SKILL = "---\nname: plot\ndescription: Draws\n---\nDo it.\n"


@pytest.fixture
def tree(tmp_path: Path) -> Workspace:
    for folder in (
        "work/.agents/skills",
        "work/.claude/skills",
        "work/skills",
        "data/bp_template/skills/science",
        "data/bp_template/skills-router/x",
        "home/.agents/skills",
    ):
        place = tmp_path / folder / "plot"
        place.mkdir(parents=True)
        (place / "SKILL.md").write_text(SKILL)
    return Workspace(tmp_path / "work")


def settings(root: Path, **environment: str) -> Settings:
    return Settings(data_dir=root / "data", mailbox_dir=root / "mail", environment=environment)


def skills(root: Path, log: MemoryEventLog) -> Skills:
    async def record(session: SessionId, event: Event) -> None:
        await log.append(session, [event])

    return Skills(user_libraries(settings(root, HOME=str(root / "home"))), log, record)


async def notices(log: MemoryEventLog, session: SessionId) -> list[NoticePosted]:
    found = [one.event for one in await log.read(session)]
    return [one for one in found if isinstance(one, NoticePosted)]


async def test_the_nearest_of_five_places_wins_and_a_plain_folder_is_none(
    tree: Workspace, tmp_path: Path
):
    found = skills(tmp_path, MemoryEventLog(clock=ManualClock())).find(tree)
    assert [(one.path, one.scope) for one in found] == [
        (".agents/skills/plot", "project"),
        (".claude/skills/plot", "project"),
        ("skills/science/plot", "user"),
        ("skills-router/x/plot", "user"),
        ("~/.agents/skills/plot", "user"),
    ]
    assert {one.hidden_by for one in found[1:]} == {".agents/skills/plot"}


async def test_without_a_home_only_the_template_is_the_users(tmp_path: Path):
    found = user_libraries(settings(tmp_path))
    assert [one.label for one in found] == ["skills", "skills-router"]


async def test_a_broken_skill_is_told_once_per_session_across_restarts(
    tree: Workspace, tmp_path: Path
):
    log = MemoryEventLog(clock=ManualClock())
    broken = tree.root / ".agents/skills/plot/SKILL.md"
    broken.write_text("nothing")
    first, own = skills(tmp_path, log), skills(tmp_path, log)
    for life in (first, first, own, own):
        await life.report(ONE, life.find(tree))
    (notice,) = await notices(log, ONE)
    assert (notice.level, notice.code) == ("warning", "skill_invalid")
    assert notice.message.startswith("The skill .agents/skills/plot is not offered: it does not")
    await own.report(TWO, own.find(tree))
    assert [one.notice_id for one in await notices(log, TWO)] == [notice.notice_id]
    broken.write_text("still nothing")
    await own.report(ONE, own.find(tree))
    assert len({one.notice_id for one in await notices(log, ONE)}) == 2


async def test_a_skill_that_is_only_against_the_format_is_no_news(tree: Workspace, tmp_path: Path):
    log = MemoryEventLog(clock=ManualClock())
    odd = SKILL.replace("plot", "Plot It")
    (tree.root / ".agents/skills/plot/SKILL.md").write_text(odd)
    own = skills(tmp_path, log)
    found = own.find(tree)
    assert found[0].problems
    await own.report(ONE, found)
    assert await notices(log, ONE) == []
