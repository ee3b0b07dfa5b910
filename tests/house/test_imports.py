"""Importing is free of side effects, and cheap."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("genai_prices", "httpx", "httpx2", "mcp", "numpy", "rich")

IMPORT_ALL = """
import importlib, json, sys, threading
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2].split():
    importlib.import_module(name)
print(json.dumps({"modules": sorted(sys.modules), "threads": threading.active_count()}))
"""


class Outcome(NamedTuple):
    """What a bare interpreter looked like after importing the package."""

    modules: set[str]
    threads: int
    talk: str
    created: list[str]


def module_names() -> list[str]:
    """Every module of the package but the test kit, which may be heavy."""
    paths = sorted((ROOT / "brainpilot_rt").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names if ".testing" not in name]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o500)
    result = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, str(ROOT), " ".join(module_names())],
        cwd=home,
        env={"HOME": str(home), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *talk, last = result.stdout.splitlines()
    seen = json.loads(last)
    created = sorted(path.name for path in home.rglob("*"))
    return Outcome(set(seen["modules"]), seen["threads"], "".join(talk) + result.stderr, created)


@pytest.mark.timeout(30)
def test_every_module_imports_in_an_empty_environment(outcome: Outcome):
    assert set(module_names()) <= outcome.modules


@pytest.mark.timeout(30)
def test_importing_creates_no_files_no_threads_and_no_talk(outcome: Outcome):
    assert outcome.created == []
    assert outcome.threads == 1
    assert outcome.talk == ""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("package", HEAVY)
def test_no_module_imports_a_heavy_package_at_start(package: str, outcome: Outcome):
    assert package not in outcome.modules
