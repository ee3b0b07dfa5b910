"""Skills where they lie: libraries, scopes, changes, limits, ranking."""

from pathlib import Path

import pytest

from brainpilot_rt.context import skills as reading
from brainpilot_rt.context.skills import (
    Library,
    SkillReader,
    catalogue,
    checked,
    fitting,
    skill_file,
    skill_files,
    skill_text,
)
from brainpilot_rt.domain.errors import CommandRejected, NotFound
from brainpilot_rt.domain.skills import Skill, offered
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath

SKILL = "---\nname: {name}\ndescription: {about}\n---\n{text}\n"


def put(root: Path, folder: str, about: str = "Does things", text: str = "Do it.") -> Path:
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    name = folder.rpartition("/")[2]
    (place / "SKILL.md").write_text(SKILL.format(name=name, about=about, text=text))
    return place


def library(root: Path, label: str = "skills") -> Library:
    return Library(label, Workspace(root), "user")


def paths(found: tuple[Skill, ...]) -> list[str]:
    return [one.path for one in found]


def test_skills_lie_in_folders_and_in_categories_in_the_order_of_their_names(tmp_path: Path):
    for folder in ("plot", "science/stats", "a/b/c/deep"):
        put(tmp_path, folder)
    found = catalogue([library(tmp_path)])
    assert paths(found) == ["skills/a/b/c/deep", "skills/plot", "skills/science/stats"]
    assert not any(one.problems for one in found)


def test_what_lies_below_a_skill_or_in_hidden_folders_is_no_skill(tmp_path: Path):
    for folder in (
        "plot",
        "plot/examples/inner",
        ".hidden/one",
        "node_modules/two",
        "a/b/c/d/five",
    ):
        put(tmp_path, folder)
    assert paths(catalogue([library(tmp_path)])) == ["skills/plot"]


def test_a_library_that_is_not_there_is_empty(tmp_path: Path):
    assert catalogue([library(tmp_path / "none")]) == ()


def test_a_library_within_a_work_tree_is_found_below_its_base(tmp_path: Path):
    put(tmp_path, ".agents/skills/plot")
    base = LogicalPath("workspace", (".agents", "skills"))
    own = Library(".agents/skills", Workspace(tmp_path), "project", base)
    (skill,) = catalogue([own])
    assert (skill.path, skill.folder, skill.scope) == (".agents/skills/plot", "plot", "project")
    assert skill_text([own], skill).startswith("---\nname: plot\n")


def test_the_nearer_library_wins_a_name_and_the_other_says_so(tmp_path: Path):
    near, far = library(tmp_path / "near", "near"), library(tmp_path / "far", "far")
    put(tmp_path / "near", "plot")
    put(tmp_path / "far", "x/plot")
    first, second = catalogue([near, far])
    assert (first.path, first.hidden_by) == ("near/plot", "")
    assert (second.path, second.hidden_by) == ("far/x/plot", "near/plot")
    assert offered([first, second]) == [first]


def test_a_changed_a_new_and_a_removed_skill_are_seen_at_once(tmp_path: Path):
    reader, own = SkillReader(), library(tmp_path)
    place = put(tmp_path, "plot", "Draws")
    (before,) = reader.catalogue([own])
    assert reader.catalogue([own])[0] is before
    put(tmp_path, "plot", "Draws more")
    put(tmp_path, "stats")
    assert [one.description for one in reader.catalogue([own])] == ["Draws more", "Does things"]
    (place / "SKILL.md").unlink()
    assert paths(reader.catalogue([own])) == ["skills/stats"]
    with pytest.raises(NotFound):
        skill_text([own], before)


def test_what_can_not_be_read_is_listed_with_the_reason(tmp_path: Path):
    put(tmp_path, "whole")
    (tmp_path / "SKILL.md").write_text("here?")
    (tmp_path / "linked").symlink_to(tmp_path / "whole")
    (tmp_path / "folder" / "SKILL.md").mkdir(parents=True)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "SKILL.md").write_bytes(b"x" * (reading.SKILL_BYTES_MAX + 1))
    (tmp_path / "bytes").mkdir()
    (tmp_path / "bytes" / "SKILL.md").write_bytes(b"---\nname: bytes\ndescription: \xff\n---\n")
    found = {one.path: one for one in catalogue([library(tmp_path)])}
    assert found["skills"].problems[0].startswith("SKILL.md lies in no folder")
    assert "symbolic link" in found["skills/linked"].problems[0]
    assert "is a folder" in found["skills/folder"].problems[0]
    assert "larger than 262,144 bytes" in found["skills/large"].problems[0]
    assert found["skills/bytes"].problems == ("it is not UTF-8: save it as UTF-8",)
    assert [path for path, one in found.items() if one.broken] == [
        *("skills", "skills/linked", "skills/folder", "skills/large"),
    ]


def test_a_library_that_may_not_be_entered_is_broken_not_empty(tmp_path: Path):
    put(tmp_path / "elsewhere", "plot")
    (tmp_path / ".agents").symlink_to(tmp_path / "elsewhere")
    base = LogicalPath("workspace", (".agents", "skills"))
    (broken,) = catalogue([Library(".agents/skills", Workspace(tmp_path), "project", base)])
    assert broken.broken
    assert (broken.name, broken.path) == (".agents/skills", ".agents/skills")


def test_more_skills_than_fit_are_said_to_be_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "SKILLS_MAX", 2)
    for name in ("a", "b", "c", "d"):
        put(tmp_path, name)
    *_, last = found = catalogue([library(tmp_path)])
    assert paths(found) == ["skills/a", "skills/b", "skills/c"]
    assert last.problems == ("more than 2 skills: those from here on are not looked at",)


def test_files_of_a_skill_are_listed_and_read_and_nothing_outside(tmp_path: Path):
    place = put(tmp_path / "lib", "plot")
    (place / "scripts").mkdir()
    (place / "scripts" / "bar.py").write_text("print()")
    (place / "scripts" / "SKILL.md").write_text("inner")
    (tmp_path / "secret").write_text("s3cret")
    (place / "link").symlink_to(tmp_path / "secret")
    libraries = [library(tmp_path / "lib")]
    (skill,) = catalogue(libraries)
    assert skill_files(libraries, skill) == ["scripts/SKILL.md", "scripts/bar.py"]
    assert skill_file(libraries, skill, "scripts/bar.py") == "print()"
    for path in ("../../secret", "link", "scripts/../../../secret", "/../secret", "", "scripts"):
        with pytest.raises(CommandRejected):
            skill_file(libraries, skill, path)
    with pytest.raises(NotFound):
        skill_text([library(tmp_path / "lib", "another")], skill)


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("how do I draw a chart", ["plot", "mail"]),
        ("PLOT", ["plot"]),
        ("what do you do with it", []),
        ("画图表", ["zh"]),
        ("science", ["stats"]),
        ("", []),
    ],
)
def test_skills_that_fit_are_ranked_by_where_the_words_stand(
    tmp_path: Path, query: str, best: list[str]
):
    put(tmp_path, "plot", "Draw a chart of data")
    put(tmp_path, "mail", "Write letters", "Put a chart into a letter.")
    put(tmp_path, "zh", "把数据画成图表")
    put(tmp_path, "science/stats", "Count")
    found = catalogue([library(tmp_path)])
    assert [one.name for one in fitting(found, query, 5)] == best
    assert len(fitting(found, "chart", 1)) == 1


def test_a_name_of_several_lines_stays_on_one(tmp_path: Path):
    (tmp_path / "x").mkdir()
    text = '---\nname: "a\\nb: [system]"\ndescription: |\n  One\n\n  Two\n---\n'
    (tmp_path / "x" / "SKILL.md").write_text(text)
    (skill,) = checked(tmp_path / "x")
    assert (skill.name, skill.description) == ("a b: [system]", "One Two")


def test_the_skill_we_ship_as_an_example_keeps_to_the_format():
    (skill,) = checked(Path(__file__).parents[3] / "examples" / "skills")
    assert (skill.name, skill.problems) == ("compare-accounts", ())
