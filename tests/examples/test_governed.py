"""The governed run, as a user sees it: every decision in one stream, and books that agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(120)]


def governed(folder: Path, *words: str) -> str:
    """Run it in a folder of its own; what it says."""
    env = {"PATH": os.defpath, "HOME": str(folder), "NO_COLOR": "1"}
    command = [sys.executable, str(ROOT / "examples/governed/run.py"), *words, str(folder / "here")]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_one_stream_shows_models_guardrail_approval_warning_and_stop(tmp_path: Path):
    said = governed(tmp_path)
    wanted = [
        "model        cutter  (ucb1: highest reward)",
        "model        skiff instead of cutter",
        "guardrail    an e-mail address in what it says was taken out",
        "[REDACTED:email]",
        "(a person is asked first)",
        "another terminal $ brainpilot-rt approvals approve call_",
        "approved: write",
        "WARNING, more than 80%",
        "skipped: the budget is exhausted",
        "ended        budget_exhausted",
        "All of it held.",
    ]
    places = [said.find(one) for one in wanted]
    assert -1 not in places
    assert places == sorted(places)
    assert "FAILS" not in said
    assert "\x1b" not in said


def test_the_same_run_comes_as_the_events_of_its_stream(tmp_path: Path):
    events = [json.loads(line) for line in governed(tmp_path, "--json").splitlines()]
    assert events[0]["type"] == "session.status_running"
    assert (events[-1]["type"], events[-1]["reason"]) == (
        "session.status_ended",
        "budget_exhausted",
    )
    kinds = {one["type"] for one in events}
    assert {"br.model_selected", "br.guardrail_intervention", "br.budget_warning"} <= kinds
