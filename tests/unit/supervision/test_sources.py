"""Sources are read from live files: each time looked at, read when changed, never believed."""

import os
from pathlib import Path

from brainpilot_rt.context.sources import Source
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.skills import Skill, SkillScope
from brainpilot_rt.supervision.sources import FILE_BYTES_MAX, Sources
from brainpilot_rt.workspace.files import Workspace

ME = AgentName("librarian")


def gathered(
    tmp_path: Path, query: str = "", sources: Sources | None = None, *skills: Skill
) -> dict[str, Source]:
    made = sources or Sources(tmp_path / "agents")
    found = made.gather(ME, Workspace(tmp_path / "tree"), skills, query)
    return {one.name: one for one in found}


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def texts(source: Source) -> str:
    return "\n".join(piece.text for piece in (*source.listed, *source.pieces))


def test_nothing_there_is_nothing_to_show(tmp_path: Path):
    for one in gathered(tmp_path).values():
        assert (one.pieces, one.listed, one.warnings) == ((), (), ())


def test_a_folder_of_the_user_that_is_gone_is_said(tmp_path: Path):
    tree = Workspace(tmp_path / "gone", owned=False)
    found = {one.name: one for one in Sources(tmp_path).gather(ME, tree, (), "")}
    assert "not there" in texts(found["workspace"])
    assert found["workspace"].warnings


def test_the_users_soul_comes_before_that_of_the_work_tree(tmp_path: Path):
    put(tmp_path / "tree" / "SOUL.md", "theirs")
    theirs = gathered(tmp_path)["soul"]
    assert (texts(theirs), "untrusted" in theirs.label) == ("theirs", True)
    put(tmp_path / "agents" / ME / "SOUL.md", "mine")
    mine = gathered(tmp_path)["soul"]
    assert (texts(mine), "untrusted" in mine.label) == ("mine", False)


def test_a_changed_file_is_read_again_and_a_removed_one_is_gone(tmp_path: Path):
    sources = Sources(tmp_path / "agents")
    soul = tmp_path / "agents" / ME / "SOUL.md"
    put(soul, "one")
    assert texts(gathered(tmp_path, "", sources)["soul"]) == "one"
    put(soul, "two")
    assert texts(gathered(tmp_path, "", sources)["soul"]) == "two"
    other = soul.with_name("new")
    put(other, "six")
    other.replace(soul)
    assert texts(gathered(tmp_path, "", sources)["soul"]) == "six"
    soul.unlink()
    assert texts(gathered(tmp_path, "", sources)["soul"]) == ""


def test_links_folders_and_binaries_are_warnings(tmp_path: Path):
    (tmp_path / "tree").mkdir()
    put(tmp_path / "secret", "secret")
    soul = tmp_path / "tree" / "SOUL.md"
    soul.symlink_to(tmp_path / "secret")
    linked = gathered(tmp_path)["soul"]
    assert linked.warnings
    assert texts(linked) == ""
    soul.unlink()
    soul.mkdir()
    assert gathered(tmp_path)["soul"].warnings
    soul.rmdir()
    soul.write_bytes(b"a\0b")
    assert gathered(tmp_path)["soul"].warnings == ("/workspace/SOUL.md is no text",)


def test_a_huge_file_is_read_as_far_as_it_may_be_and_that_is_said(tmp_path: Path):
    put(tmp_path / "tree" / "SOUL.md", "x" * (FILE_BYTES_MAX + 10))
    found = gathered(tmp_path)["soul"]
    assert len(texts(found)) == FILE_BYTES_MAX
    assert "only its first" in found.warnings[0]


def test_the_work_tree_tells_its_notes_and_what_changed_last(tmp_path: Path):
    put(tmp_path / "tree" / "AGENTS.md", "Be brief.")
    for number in range(12):
        path = tmp_path / "tree" / "src" / f"f{number}.py"
        put(path, "x")
        os.utime(path, (1_000 + number, 1_000 + number))
    found = gathered(tmp_path)["workspace"]
    assert "Be brief." in found.pieces[0].text
    listed = [piece.text for piece in found.listed]
    assert listed[0] == "Changed last:"
    assert listed[2:4] == ["- src/f11.py", "- src/f10.py"]
    assert len(listed) == 11


def test_references_are_listed_and_read_when_asked_about(tmp_path: Path):
    put(tmp_path / "tree" / "reference" / "wing.md", "---\ntags: [wing]\n---\nFlutter.")
    put(
        tmp_path / "agents" / ME / "reference" / "style.md", "---\ndescription: tone\n---\nBe kind."
    )
    quiet = gathered(tmp_path, "hello")["reference"]
    assert [piece.text for piece in quiet.listed] == [
        "- reference/style.md: tone",
        "- reference/wing.md: no description (tags: wing)",
    ]
    assert quiet.pieces == ()
    asked = gathered(tmp_path, "the wing")["reference"]
    assert texts(asked).endswith("reference/wing.md:\nFlutter.")


def test_skills_that_fit_are_named_and_those_of_the_work_tree_marked(tmp_path: Path):
    def skill(name: str, scope: SkillScope) -> Skill:
        return Skill(
            name=name,
            description=f"How to {name}.",
            scope=scope,
            library="l",
            folder=name,
            weights={name: 5},
        )

    plot, cook = skill("plot", "project"), skill("cook", "user")
    found = gathered(tmp_path, "please plot it", None, plot, cook)["skill"]
    assert texts(found) == "- plot (of this work tree, untrusted): How to plot."


def test_what_is_secret_is_taken_out(tmp_path: Path):
    put(tmp_path / "tree" / "AGENTS.md", "the token is hunter2")
    put(tmp_path / "agents" / ME / "SOUL.md", "hunter2")
    sources = Sources(tmp_path / "agents", lambda text: text.replace("hunter2", "[secret]"))
    for one in gathered(tmp_path, "", sources).values():
        assert "hunter2" not in texts(one)
