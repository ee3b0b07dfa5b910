"""The governed run, as a user sees it: every decision in one stream, and books that agree."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome

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
        "WARNING, 80% reached",
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


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_the_commands_of_the_readme_do_what_they_say(tmp_path: Path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Run an agent under a budget")[2].partition("\n## ")[0]
    commands = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    ours = tmp_path / "brainpilot-rt"
    ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m brainpilot_rt "$@"\n')
    ours.chmod(0o755)
    home = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    async with home.running() as daemon:
        env = home.environment(URL=daemon.url, AUTH=f"Authorization: Bearer {daemon.token}")
        env["PATH"] = f"{tmp_path}:{os.defpath}"
        done = await asyncio.create_subprocess_exec(
            "sh", "-e", "-c", commands, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = (said.decode() for said in await done.communicate())
        profiles = (await daemon.http.get("/v1/agent/profiles")).json()["profiles"]
    assert done.returncode == 0, err
    assert [one["agentId"] for one in profiles] == ["clerk"]
    for one in ("clerk wants to run: write", "Wrote 18 bytes", '"reason":"completed"', "of $2.00"):
        assert one in out
    assert "approved: write" in err
