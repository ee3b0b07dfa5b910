"""The inquiry, as a user runs it: with the offline model, and with models of a foreign server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.test_aimock_team import AIMOCK

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(180)]


def inquiry(folder: Path, *words: str) -> str:
    """Run it in a folder of its own; what it says."""
    node = Path(shutil.which("node") or "/usr/bin/node").parent
    env = {"PATH": f"{node}:{os.defpath}", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples/inquiry/run.py"), *words, str(folder / "here")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_offline_team_survives_a_kill_and_every_citation_holds(tmp_path: Path):
    said = inquiry(tmp_path)
    assert "specialists at work: auditor, librarian, writer" in said
    assert "Started again: 0 run" not in said
    assert "0 audit violations" in said
    assert "All of it held." in said
    assert (tmp_path / "here/trace.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.skipif(
    not AIMOCK.exists(), reason="needs @copilotkit/aimock (npm ci in tests/clients)"
)
def test_models_of_a_foreign_server_survive_it_too(tmp_path: Path):
    said = inquiry(tmp_path, "--aimock")
    assert "intent plan, program plan_execute" in said
    assert "3 of 3 citations hold" in said
    assert "All of it held." in said
