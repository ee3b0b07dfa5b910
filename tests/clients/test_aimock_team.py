"""The whole team on a provider we did not write: the npm package @copilotkit/aimock."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.world import (
    Json,
    finished,
    get,
    history,
    of_type,
    say,
    session,
    texts,
    violations,
)

AIMOCK = Path(__file__).with_name("node_modules") / "@copilotkit/aimock/dist/cli.js"
FIXTURES = Path(__file__).with_name("aimock_team.json")
WAYS = pytest.mark.parametrize(
    "way", ["openai environment", "anthropic environment", "openai profile", "anthropic profile"]
)

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        not AIMOCK.exists() or shutil.which("node") is None,
        reason="needs Node and @copilotkit/aimock (npm ci in tests/clients)",
    ),
]


@asynccontextmanager
async def aimock() -> AsyncGenerator[str]:
    """A fresh server; its address."""
    process = await asyncio.create_subprocess_exec(
        str(shutil.which("node")), str(AIMOCK), "--port", "0",
        "--fixtures", str(FIXTURES), "--chunk-size", "4",
        env={"PATH": os.defpath, "AIMOCK_STRICT_TURN_INDEX": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = ""
        while not url:
            line = (await process.stdout.readline()).decode()
            assert line, "aimock ended before it listened"
            url = next((word for word in line.split() if word.startswith("http://")), "")
        yield url
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def daemon_at(url: str, way: str, root: Path) -> AsyncGenerator[RunningDaemon]:
    """A daemon that was told of the provider in one of the ways there are."""
    dialect, _, means = way.partition(" ")
    base = f"{url}/v1" if dialect == "openai" else url
    home = DaemonHome(root, env=dict[str, str]())
    if means == "environment":
        name = dialect.upper()
        home.env = {
            f"{name}_API_KEY": "test-key",
            f"{name}_BASE_URL": base,
            f"{name}_MODEL": "some-model",
        }
    else:
        # A profile that is selected wins over the environment.
        home.env = {"OPENAI_API_KEY": "other", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
        api = "openai-completions" if dialect == "openai" else "anthropic-messages"
        profile = {"id": "p1", "name": "Mine", "api": api, "baseUrl": base, "apiKey": "test-key"}
        template = home.data_dir / "bp_template"
        template.mkdir(parents=True, mode=0o700)
        (template / "providers.json").write_text(
            json.dumps(
                {"profiles": [{**profile, "models": ["some-model"]}], "selectedProfileId": "p1"}
            )
        )
    async with home.running() as daemon:
        yield daemon


@WAYS
async def test_a_team_delegates_reads_and_answers_in_both_dialects(
    tmp_path: Path, way: str
) -> None:
    async with aimock() as url, daemon_at(url, way, tmp_path) as daemon:
        name = await session(daemon)
        await say(daemon, name, "what colour is the harbour?")
        lines = await finished(daemon, name)
        state = await get(daemon, f"/sessions/{name}/state")
        events = await history(daemon, name)
    assert violations(lines) == []
    (turn,) = of_type(lines, "host_turn_finished")
    assert turn["outcome"] == "completed"
    assert turn["answer"].endswith("The harbour is blue, and there is a page about it.")
    closed = {line["assignee"]: line["outcome"] for line in tasks(lines)}
    assert closed["librarian"] == "result"
    assert set(closed) == {"librarian", "writer"}
    planned = [(line["agent"], line["name"]) for line in of_type(lines, "tool_planned")]
    assert sorted(planned) == sorted(
        [
            ("principal", "send_message"),
            ("principal", "send_message"),
            ("principal", "ls"),
            ("librarian", "grep"),
            ("librarian", "glob"),
            ("librarian", "send_message"),
        ]
    )
    results = of_type(lines, "tool_finished")
    assert [one["content"] for one in results if one["status"] != "completed"] == []
    usage = state["tokenUsage"]
    assert usage["byAgent"]["principal"]["input"] >= 100
    assert set(usage["byAgent"]) == {"principal", "librarian", "writer"}
    assert "I ask two colleagues." in texts(events).values()


def tasks(lines: list[Json]) -> list[Json]:
    """Tasks, each with how it ended."""
    ends = {line["task_id"]: line["outcome"] for line in of_type(lines, "task_closed")}
    return [line | {"outcome": ends[line["task_id"]]} for line in of_type(lines, "task_opened")]


@pytest.mark.parametrize("way", ["openai environment", "anthropic environment"])
async def test_a_refused_key_is_said_where_the_user_looks(tmp_path: Path, way: str) -> None:
    async with aimock() as url, daemon_at(url, way, tmp_path) as daemon:
        name = await session(daemon)
        await say(daemon, name, "wrong key")
        lines = await finished(daemon, name)
        events = await history(daemon, name)
    (turn,) = of_type(lines, "host_turn_finished")
    assert turn["outcome"] == "failed"
    errors = [frame for frame in events if frame["type"] == "RUN_ERROR"]
    assert any("401" in frame["message"] for frame in errors)
    assert "test-key" not in json.dumps(events)
