"""The layout: package docstrings, the trap of a `mailbox` package, scripts, dependencies."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "brainpilot_rt"
INITS = sorted(PACKAGE.rglob("*/__init__.py"))
COMMANDS = [
    *(
        path
        for path in sorted((ROOT / "scripts").iterdir())
        if path.suffix == "" and path.is_file()
    ),
    ROOT / ".ci" / "run",
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("init", INITS, ids=name_of)
def test_a_room_starts_with_a_docstring_and_nothing_else(init: Path):
    tree = ast.parse(init.read_text())
    docstring = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1
    assert "Lives here:" in docstring
    assert "Never here:" in docstring


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_mailbox_folder_does_not_shadow_the_standard_library():
    assert not (ROOT / "mailbox" / "__init__.py").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_a_command_is_executable_and_stops_at_the_first_error(command: Path):
    assert os.access(command, os.X_OK)
    assert re.search(r"^set -eu$", command.read_text(), re.MULTILINE)
    subprocess.run(["sh", "-n", str(command)], check=True)


def test_install_without_a_fitting_python_says_so_in_one_line(tmp_path: Path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(ROOT / "scripts" / "install", scripts)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    result = subprocess.run(
        [scripts / "install"],
        env={"BP_PYTHON": "no-such-python", "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "Python 3.11" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_dependency_has_its_reason_in_the_docs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    names = [re.split(r"[<>=;]", line)[0] for line in project["dependencies"]]
    assert [name for name in names if f"| {name} |" not in reasons] == []


def test_development_tools_are_pinned_exactly():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [line for line in project["optional-dependencies"]["dev"] if "==" not in line] == []


def test_the_locked_npm_packages_name_no_registry():
    assert "resolved" not in (ROOT / "tests" / "clients" / "package-lock.json").read_text()
