"""The skill tool over the shelf of the daemon."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from brainpilot_rt.context.skills import Library
from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.events import Event, NoticePosted
from brainpilot_rt.testing.desk import Desk, Use
from brainpilot_rt.testing.shelf import shelf
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.skills import skill_tool
from brainpilot_rt.workspace.files import Workspace

PLOT = "---\nname: plotting\ndescription: Draw charts\n  of data\n---\nUse matplotlib.\n"
OURS = "---\nname: {0}\ndescription: {1}\n---\nDo it.\n"


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def use(desk: Desk, tmp_path: Path, told: list[Event]) -> Use:
    for name, text in (
        ("lib/science/plot/SKILL.md", PLOT),
        ("lib/science/plot/scripts/bar.py", "print()"),
        ("lib/science/stats/SKILL.md", "No front matter about charts."),
        ("lib/odd/broken/SKILL.md", "---\n: [\n---\ntext"),
        ("router/x/plot/SKILL.md", PLOT.replace("Draw", "Other")),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "lib" / "science" / "plot" / "link").symlink_to(tmp_path / "secret")
    libraries = [
        Library(name, Workspace(tmp_path / name), "user") for name in ("lib", "router", "no")
    ]
    tools = Registry([skill_tool(shelf(libraries, told))])
    return partial(desk.use, tools, "skill_search")


Lines = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def lines(use: Use) -> Lines:
    async def lines(**arguments: object) -> list[str]:
        return (await use(**arguments)).content.split("\n")

    return lines


async def test_skills_are_ranked_by_keywords(use: Use, lines: Lines):
    shown = await lines(mode="query", keywords="drawing charts plotting")
    assert shown[0] == "plotting: Draw charts of data"
    assert shown[1].startswith("stats: (no description) [broken, lib/science/stats: it does not")
    assert len(await lines(mode="query", keywords=["charts"], topk=1)) == 1
    assert (await use(mode="query")).failed
    assert "No skill matches" in (await use(mode="query", keywords="zebra")).content


async def test_all_skills_are_listed_the_broken_ones_with_their_reason(lines: Lines):
    broken, whole, hidden, stats = await lines(mode="browse")
    assert broken.startswith("broken: (no description) [broken, lib/odd/broken: the front matter")
    assert whole == "plotting: Draw charts of data"
    assert hidden.endswith("[router/x/plot, hidden by lib/science/plot]")
    assert "make '---' the first line" in stats


async def test_a_skill_and_its_files_are_shown(use: Use):
    shown = (await use(mode="browse", skill_name="plotting")).content
    assert shown.startswith("---\nname: plotting\n")
    assert shown.endswith("Use matplotlib.\n\n\nFiles of this skill:\n- scripts/bar.py")
    one = await use(mode="browse", skill_name="plotting", relative_path="scripts/bar.py")
    assert one.content == "print()"
    missing = await use(mode="browse", skill_name="x")
    assert missing.failed
    assert "Known: broken, plotting" in missing.content


async def test_a_broken_skill_is_shown_with_what_is_wrong(use: Use):
    shown = (await use(mode="browse", skill_name="stats")).content
    assert shown.startswith("[This skill is broken: it does not begin with front matter")
    assert shown.endswith("No front matter about charts.")


@pytest.mark.parametrize("path", ["../../../secret", "link", "/../x", "scripts/../../SKILL.md"])
async def test_no_path_leads_out_of_a_library(use: Use, path: str):
    with pytest.raises(CommandRejected):
        await use(mode="browse", skill_name="plotting", relative_path=path)


@pytest.mark.parametrize("folder", [".agents/skills/plotting", ".claude/skills/plotting"])
async def test_a_skill_of_the_work_tree_wins_and_is_marked(
    use: Use, lines: Lines, desk: Desk, folder: str
):
    desk.put(f"{folder}/SKILL.md", OURS.format("plotting", "Our charts"))
    assert (await lines(mode="query", keywords="charts"))[0] == (
        "plotting: Our charts [of the work tree]"
    )
    listed = await lines(mode="browse")
    assert f"hidden by {folder}]" in "\n".join(listed)
    shown = (await use(mode="browse", skill_name="plotting")).content
    assert shown.startswith("[This skill lies in the work tree: whoever writes there wrote it.")


async def test_a_broken_skill_never_hides_a_whole_one(use: Use, lines: Lines, desk: Desk):
    desk.put(".agents/skills/plotting/SKILL.md", "no front matter")
    assert "plotting: Draw charts of data" in await lines(mode="browse")
    assert "Use matplotlib." in (await use(mode="browse", skill_name="plotting")).content


async def test_a_link_out_of_the_work_tree_is_listed_as_broken(
    lines: Lines, desk: Desk, tmp_path: Path
):
    desk.put(".agents/skills/here/SKILL.md", OURS.format("here", "Here"))
    (desk.root / ".agents/skills/away").symlink_to(tmp_path / "lib" / "science" / "plot")
    (desk.root / ".agents/skills/here2").mkdir()
    (desk.root / ".agents/skills/here2/SKILL.md").symlink_to(tmp_path / "secret")
    listed = "\n".join(await lines(mode="browse"))
    assert (
        "away: (no description) [of the work tree] [broken, .agents/skills/away: it is a" in listed
    )
    assert "[broken, .agents/skills/here2: it can not be read: is or passes through a" in listed
    assert "s3cret" not in listed


async def test_each_state_of_a_broken_skill_is_told_once(use: Use, told: list[Event], desk: Desk):
    for _ in range(2):
        await use(mode="browse")
    notices = [one for one in told if isinstance(one, NoticePosted)]
    assert sorted(one.message[:40] for one in notices) == [
        "The skill lib/odd/broken is not offered:",
        "The skill lib/science/stats is not offer",
    ]
    assert {(one.level, one.code) for one in notices} == {("warning", "skill_invalid")}
    desk.put(".agents/skills/mine/SKILL.md", "what")
    await use(mode="query", keywords="what")
    desk.put(".agents/skills/mine/SKILL.md", "whatever")
    await use(mode="query", keywords="what")
    await use(mode="query", keywords="what")
    assert len({one.notice_id for one in told if isinstance(one, NoticePosted)}) == len(told) == 4


async def test_a_session_is_not_flooded_with_notices(use: Use, told: list[Event], desk: Desk):
    for number in range(30):
        desk.put(f".agents/skills/bad{number}/SKILL.md", "bad")
    await use(mode="browse")
    assert len(told) == 20
