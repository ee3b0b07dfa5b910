"""The guide's own curl commands against a real daemon, and a run that outlives its daemon."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

GUIDE = """
curl -X POST https://api.brainstormrouter.com/v1/agent/bootstrap \\
  -H "Authorization: Bearer brk_..." \\
  -H "Content-Type: application/json" \\
  -d '{
    "agent_id": "research-01",
    "display_name": "Research Agent",
    "budget_daily_usd": 10.0,
    "department": "Engineering"
  }'
===
curl -N https://api.brainstormrouter.com/v1/agents/research-01/run \\
  -H "Authorization: Bearer brk_..." \\
  -H "Content-Type: application/json" \\
  -d '{
    "message": "Research the latest AI safety papers and write a summary",
    "max_turns": 10,
    "budget_cap_usd": 2.0
  }'
===
curl -X POST https://api.brainstormrouter.com/v1/agents/research-01/sessions/{sid}/events \\
  -H "Authorization: Bearer brk_..." \\
  -d '{"type": "user.message", "text": "Also check for papers on alignment"}'
===
curl -X POST https://api.brainstormrouter.com/v1/agents/research-01/sessions/{sid}/events \\
  -H "Authorization: Bearer brk_..." \\
  -d '{"type": "user.interrupt"}'
"""
BOOTSTRAP, RUN, MESSAGE, INTERRUPT = GUIDE.split("===")


async def curl(daemon: RunningDaemon, command: str, session: str = "") -> str:
    """A command of the guide with only host and key changed; what it prints."""
    said = command.replace("https://api.brainstormrouter.com", daemon.url)
    said = said.replace("brk_...", daemon.token).replace("{sid}", session)
    process = await asyncio.create_subprocess_shell(
        said, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def frames_in(text: str) -> list[tuple[str, dict[str, Any], str]]:
    """Name, data and cursor of each frame."""
    found: list[tuple[str, dict[str, Any], str]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"]), fields["id"]))
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_the_commands_of_the_guide_work_with_only_host_and_key_changed(tmp_path: Path):
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if ask.turn == 0:
            yield Call("ls", {"path": "/workspace"})
            return
        asked.set()
        await go.wait()
        yield f"Summary after {ask.last[-60:]!r}."

    async with (
        provider(script) as told,
        DaemonHome(tmp_path, env=told.env).running() as daemon,
        asyncio.TaskGroup() as group,
    ):
        made = json.loads(await curl(daemon, BOOTSTRAP))
        assert made["profile"]["agentId"] == "research-01"
        assert made["profile"]["budgetDailyUsd"] == 10.0
        running = group.create_task(curl(daemon, RUN))
        await asked.wait()
        sessions = (await daemon.http.get("/v1/agents/research-01/sessions")).json()["sessions"]
        session = sessions[0]["id"]
        assert sessions[0]["status"] == "running"
        taken = json.loads(await curl(daemon, MESSAGE, session))
        assert (taken["type"], taken["status"]) == ("user.message", "queued")
        go.set()
        frames = frames_in(await running)
        events = [name for name, _, _ in frames]
        assert events[0] == "session.status_running"
        assert events[-2:] == ["session.status_idle", "session.status_ended"]
        assert events.index("agent.tool_use") < events.index("agent.tool_result")
        result = next(data for name, data, _ in frames if name == "agent.tool_result")
        assert result["isError"] is False
        said = [data["text"] for name, data, _ in frames if name == "agent.message"]
        assert "papers on alignment" in said[-1]
        assert frames[-1][1]["reason"] == "completed"

        asked.clear()
        go.clear()
        again = group.create_task(curl(daemon, RUN))
        await asked.wait()
        sessions = (await daemon.http.get("/v1/agents/research-01/sessions")).json()["sessions"]
        stopped = json.loads(await curl(daemon, INTERRUPT, sessions[0]["id"]))
        assert stopped["type"] == "user.interrupt"
        last = frames_in(await again)[-1]
        assert (last[0], last[1]["reason"]) == ("session.status_ended", "interrupted")


async def test_a_run_that_is_cut_by_kill_9_goes_on_and_its_reader_misses_nothing(tmp_path: Path):
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if ask.turn == 0:
            yield "First I look."
            yield Call("ls", {"path": "/workspace"})
            return
        asked.set()
        await go.wait()
        yield "And that is all."

    seen: list[tuple[str, dict[str, Any], str]] = []
    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            body = {"agent_id": "research-01"}
            assert (await daemon.http.post("/v1/agent/bootstrap", json=body)).status_code == 201
            url = "/v1/agents/research-01/run"
            async with daemon.http.stream("POST", url, json={"message": "go"}) as response:
                session = response.headers["x-session-id"]
                text = ""
                async for piece in response.aiter_text():
                    text += piece
                    if "agent.tool_result" in text and text.endswith("\n\n"):
                        break
            seen += frames_in(text)
            await asked.wait()
            await daemon.kill()
        go.set()
        async with home.running() as daemon:
            answer = await daemon.http.get(
                f"/v1/agents/research-01/sessions/{session}/events/stream?until=ended",
                headers={"last-event-id": seen[-1][2]},
                timeout=30,
            )
            seen += frames_in(answer.text)
            page = await daemon.http.get(f"/v1/agents/research-01/sessions/{session}/events")
    assert [data for _, data, _ in seen] == page.json()["events"]
    names = [name for name, _, _ in seen]
    assert names.count("session.status_running") == names.count("session.status_ended") == 1
    assert names.count("agent.tool_result") == 1
    said = [data["text"] for name, data, _ in seen if name == "agent.message"]
    assert said == ["First I look.", "And that is all."]
    assert seen[-1][1]["totalTurns"] == 2
