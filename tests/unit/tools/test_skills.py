"""Skill libraries."""

from functools import partial
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.testing.desk import Desk, Use
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.skills import skill_tool

PLOT = "---\nname: plotting\ndescription: Draw charts\n  of data\n---\nUse matplotlib.\n"


@pytest.fixture
def use(desk: Desk, tmp_path: Path) -> Use:
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
    found = skill_tool([tmp_path / "lib", tmp_path / "router", tmp_path / "none"])

    return partial(desk.use, Registry([found]), "skill_search")


async def test_skills_are_ranked_by_keywords(use: Use):
    shown = (await use(mode="query", keywords="drawing charts plotting")).content.split("\n")
    assert shown == ["plotting: Draw charts of data", "stats: (no description)"]
    assert (await use(mode="query", keywords=["charts"], topk=1)).content.count("\n") == 0
    assert (await use(mode="query")).failed
    assert "No skill matches" in (await use(mode="query", keywords="zebra")).content


async def test_skills_and_their_files_are_shown(use: Use):
    assert (await use(mode="browse")).content.split("\n") == [
        *("broken: (no description)", "plotting: Draw charts of data", "stats: (no description)"),
    ]
    shown = (await use(mode="browse", skill_name="plotting")).content
    assert shown.endswith("Use matplotlib.\n\n\nFiles of this skill:\n- scripts/bar.py")
    one = await use(mode="browse", skill_name="plotting", relative_path="scripts/bar.py")
    assert one.content == "print()"
    assert "Known: broken, plotting" in (await use(mode="browse", skill_name="x")).content


@pytest.mark.parametrize("path", ["../../../secret", "link", "/../x", "scripts/../../SKILL.md"])
async def test_no_path_leads_out_of_a_library(use: Use, path: str):
    with pytest.raises(CommandRejected):
        await use(mode="browse", skill_name="plotting", relative_path=path)
