"""`skills` and `skills check`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brainpilot_rt.cli.skills import skills_command

SKILL = "---\nname: {0}\ndescription: Does {0}\n---\nDo it.\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for folder in (
        "work/.agents/skills/plot",
        "data/bp_template/skills/science/plot",
        "data/bp_template/skills-router/x/stats",
        ".agents/skills/mail",
    ):
        put(tmp_path / folder, SKILL.format(folder.rpartition("/")[2]))
    return tmp_path


def put(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(text)
    return folder


def run(home: Path, *words: str) -> Result:
    env = {"HOME": str(home), "BP_DATA_DIR": str(home / "data")}
    return CliRunner().invoke(skills_command, words, env=env)


def test_skills_are_listed_by_library_and_the_hidden_one_says_by_which(home: Path):
    shown = run(home, "--workspace", str(home / "work"))
    assert [line.split("  ")[0] for line in shown.stdout.splitlines() if line[0] != " "] == [
        *(".agents/skills (project)", "skills (user)"),
        *("skills-router (user)", "~/.agents/skills (user)"),
    ]
    assert "    hidden by .agents/skills/plot" in shown.stdout
    assert shown.exit_code == 0


def test_the_list_is_data_for_programs(home: Path):
    found = json.loads(run(home, "--workspace", str(home / "work"), "--json").stdout)
    assert [(one["name"], one["scope"], one["hiddenBy"]) for one in found] == [
        ("plot", "project", None),
        ("plot", "user", ".agents/skills/plot"),
        ("stats", "user", None),
        ("mail", "user", None),
    ]


def test_a_folder_without_skills_says_so(tmp_path: Path):
    shown = run(tmp_path, "--workspace", str(tmp_path))
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "There are no skills.\n")


def test_check_accepts_a_skill_its_file_and_a_library(home: Path):
    skill = home / "work/.agents/skills/plot"
    for path in (skill, skill / "SKILL.md", skill.parent):
        shown = run(home, "check", str(path))
        assert (shown.exit_code, shown.stdout) == (0, f"{skill}: ok\n")


def test_check_names_every_problem_and_fails(home: Path):
    bad = put(home / "Bad", "---\nname: Bad_\nversion: 1\n---\n")
    shown = run(home, "check", "--json", str(bad), str(home / "nothing"))
    assert shown.exit_code == 1
    first, second = json.loads(shown.stdout)
    assert [one.partition(":")[0] for one in first["problems"]] == [
        "the name 'Bad_' has capital letters",
        "the name 'Bad_' has other characters than letters, digits and hyphens",
        "the name 'Bad_' is not that of the folder 'Bad'",
        "the field description is missing",
        "unknown fields version",
    ]
    assert second["problems"] == ["there is no SKILL.md: write one"]


def test_check_without_a_path_checks_what_is_found(home: Path):
    assert run(home, "check").exit_code == 0
    put(home / ".agents/skills/odd", "what")
    shown = run(home, "check")
    assert shown.exit_code == 1
    assert "~/.agents/skills/odd: not ok" in shown.stdout
