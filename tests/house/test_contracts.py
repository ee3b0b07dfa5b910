"""The import contracts catch what they are for: a skeleton of the house with planted violations."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "brainpilot_rt"

# Planted module -> its source, and what import-linter must say about it.
PLANTS = {
    "agents/sideways.py": ("import brainpilot_rt.tools", "agents.sideways -> brainpilot_rt.tools"),
    "mailbox/upward.py": ("import brainpilot_rt.sessions", "mailbox.upward -> brainpilot_rt.sess"),
    "models/typed.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import brainpilot_rt.server",
        "models.typed -> brainpilot_rt.server",
    ),
    "context/inline.py": (
        "def late():\n    import brainpilot_rt.supervision",
        "context.inline -> brainpilot_rt.supervision",
    ),
    "trace/one.py": ("import brainpilot_rt.trace.two", "allowed in brainpilot_rt.trace."),
    "trace/two.py": ("import brainpilot_rt.trace.one", "allowed in brainpilot_rt.trace."),
    "domain/clock.py": ("import time", "domain.clock -> time"),
    "sessions/decide.py": ("import uuid", "sessions.decide -> uuid"),
    "governance/verdict.py": ("import asyncio", "governance.verdict -> asyncio"),
    "server/wires/agui.py": ("from pathlib import Path", "server.wires.agui -> pathlib"),
    "supervision/delivery.py": ("import random", "supervision.delivery -> random"),
    "mailbox/remote.py": ("import httpx", "mailbox.remote -> httpx"),
    "cli/web.py": ("import starlette", "cli.web -> starlette"),
    "server/run.py": ("import uvicorn", "server.run -> uvicorn"),
    "metrics/maths.py": ("import numpy", "metrics.maths -> numpy"),
    "sessions/store.py": ("import aiosqlite", "sessions.store -> aiosqlite"),
    "workspace/watch.py": ("import watchfiles", "workspace.watch -> watchfiles"),
}

# Allowed imports: a fence that is too tight would push people to disable it.
AT_HOME = {
    "daemon/main.py": "import uvicorn\nimport brainpilot_rt.server.app\n",
    "settings.py": "import os\nimport brainpilot_rt.domain\n",
    "server/app.py": "import starlette\n",
    "eventlog/sqlite.py": "import aiosqlite\n",
    "context/retrieval/store.py": "import aiosqlite\n",
    "mailbox/watcher.py": "import watchfiles\n",
    "models/anthropic.py": "import httpx\n",
    "models/routing.py": "def sample():\n    import numpy\n",
    "cli/serve.py": "import httpx\nimport brainpilot_rt.daemon.main\n",
    "supervision/guardrail_http.py": "import httpx\n",
}


def skeleton(root: Path, files: dict[str, str]) -> None:
    """Write the rooms of the package, empty, with the given files and our contracts."""
    shutil.copy(ROOT / "pyproject.toml", root / "pyproject.toml")
    for init in PACKAGE.rglob("__init__.py"):
        place = root / init.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    for name, source in files.items():
        (root / "brainpilot_rt" / name).write_text(source)


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a house with every plant in it, in one line of single spaces."""
    root = tmp_path_factory.mktemp("planted")
    skeleton(root, {name: source for name, (source, _) in PLANTS.items()})
    result = lint(root)
    assert result.returncode == 1, result.stdout + result.stderr
    return re.sub(r"\s+", " ", result.stdout)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_violation_is_found(plant: str, report: str):
    assert PLANTS[plant][1] in report


@pytest.mark.timeout(30)
def test_a_new_unit_without_a_row_is_refused(tmp_path: Path):
    skeleton(tmp_path, {"helpers.py": ""})
    result = lint(tmp_path)
    assert result.returncode == 1
    assert "brainpilot_rt.helpers" in result.stdout


@pytest.mark.timeout(30)
def test_packages_in_their_homes_are_allowed(tmp_path: Path):
    skeleton(tmp_path, AT_HOME)
    result = lint(tmp_path)
    assert result.returncode == 0, result.stdout


PURE = (
    "domain",
    "governance",
    "server.wires",
    "sessions.decide",
    "sessions.evolve",
    "sessions.state",
    "context.assembly",
    "context.sections",
    "supervision.delivery",
    "agents.reply",
)


@pytest.mark.parametrize("room", PURE)
def test_every_pure_room_is_in_the_contract(room: str):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    sources: list[str] = next(c for c in contracts["contracts"] if c["id"] == "pure")[
        "source_modules"
    ]
    assert any(fnmatch(f"brainpilot_rt.{room}", source) for source in sources)
