"""BrainPilot's own backend before our daemon, driven as its page drives it.

The backend is AGPL and its packages are not all published, so it is neither shipped nor installed:
`scripts/test` unpacks the npm package `@brainpilot/backend-core` beside the test clients, whose
`package.json` brings its two public dependencies. What else it imports is stood in for by
`brainpilot/missing.mjs`. `BP_BACKEND_DIR` names another unpacked backend.
"""

import asyncio
import base64
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon

_UNPACKED: Final = Path(__file__).with_name("node_modules") / ".brainpilot" / "package"
_FOLDER: Final = os.environ.get("BP_BACKEND_DIR", str(_UNPACKED))  # noqa: TID251 - no setting
BACKEND: Final = Path(_FOLDER, "dist", "server.js")
HOOK: Final = Path(__file__).with_name("brainpilot") / "hook.mjs"
UUID: Final = "3f0b1c6e-9d2f-4f43-8c9a-2f1f6a1b7c11"

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.timeout(90),
    pytest.mark.skipif(
        not BACKEND.exists() or shutil.which("node") is None,
        reason="needs Node and BrainPilot's backend, which scripts/test unpacks",
    ),
]


@asynccontextmanager
async def backend(daemon: RunningDaemon, home: DaemonHome) -> AsyncGenerator[httpx.AsyncClient]:
    """BrainPilot's backend in static mode before a daemon, and a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        str(shutil.which("node")), "--import", str(HOOK), str(BACKEND),
        cwd=home.root,
        env=home.environment(BP_RUNTIME_URL=f"{daemon.url}/c/{daemon.token}", PORT=str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while b"listening" not in (line := await process.stdout.readline()):
            assert line, "the backend ended before it listened"
        url = f"http://127.0.0.1:{port}/api"
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        process.kill()
        await process.wait()


async def frames(
    page: httpx.AsyncClient,
    session: str,
    done: Callable[[dict[str, Any]], bool],
    opened: asyncio.Event | None = None,
) -> list[dict[str, Any]]:
    """What the page's stream says up to and including the frame it waits for."""
    seen: list[dict[str, Any]] = []
    async with page.stream("GET", f"/sessions/{session}/sse") as stream:
        assert stream.status_code == 200
        async for line in stream.aiter_lines():
            assert not line.startswith("event:"), "the page listens to unnamed events only"
            if not line.startswith("data:"):
                continue
            seen.append(json.loads(line[5:]))
            if opened is not None:
                opened.set()
            if done(seen[-1]):
                return seen
    raise AssertionError("the stream ended")


def finished(frame: dict[str, Any]) -> bool:
    return frame.get("name") == "host_turn" and frame["value"]["op"] == "finished"


def kinds(seen: list[dict[str, Any]]) -> list[str]:
    """The frames the page knows, in order; pieces of one text, however many, as one."""
    found = [one["type"] for one in seen if one["type"] != "CUSTOM"]
    return [kind for kind, _ in groupby(found)]


async def test_a_plain_turn_through_the_proxy_is_what_the_page_expects(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    async with home.running() as daemon, backend(daemon, home) as page:
        draft = {"path": "a.txt", "contentBase64": base64.b64encode(b"drafted").decode()}
        assert (await page.post("/sandbox/local/files", json=draft)).status_code == 201
        made = (await page.post("/sessions", json={"title": "One"})).json()
        here, files = f"/sessions/{made['id']}", f"/sandbox/{made['id']}/files"
        assert (await page.get("/sessions")).json() == {"sessions": [made["session"]]}
        part = await page.get(f"{files}/raw?path=a.txt", headers={"range": "bytes=0-4"})
        assert (part.status_code, part.content) == (206, b"draft")

        opened = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            live = group.create_task(frames(page, made["id"], finished, opened))
            await opened.wait()
            said = {"type": "user_message", "session_id": made["id"], "content": "hello"}
            body = said | {"data": {"uuid": UUID}}
            posted = (await page.post(f"{here}/messages", json=body)).json()
        assert posted["accepted"] is True
        first, *seen = live.result()
        assert first["name"] == "session_state"
        known = kinds(seen)[kinds(seen).index("TEXT_MESSAGE_CHUNK") :]
        assert known == [
            *("TEXT_MESSAGE_CHUNK", "agent_status_update", "RUN_STARTED", "TEXT_MESSAGE_START"),
            *("TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED", "agent_status_update"),
        ]
        chunk = next(one for one in seen if one["type"] == "TEXT_MESSAGE_CHUNK")
        assert (chunk["message_id"], chunk["run_id"]) == (UUID, posted["runId"])
        history = (await page.get(f"{here}/history?limit=0")).json()
        kept = {one["_event_id"]: one for one in history["events"]}
        lasting = [one for one in seen if one.get("name") not in {"session_state", "task_state"}]
        assert all(kept[one["_event_id"]] == one for one in lasting)
        state = (await page.get(f"{here}/state")).json()
        assert state["runState"] == {"active": False, "runId": None}
        assert (await page.get(f"{here}/stats")).json()["byRun"][0]["status"] == "ok"
        assert (await page.delete(here)).json() == {"id": made["id"], "deleted": True}
        assert (await page.get(f"{here}/state")).status_code == 404


async def test_questions_and_stops_through_the_proxy(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    async with home.running() as daemon, backend(daemon, home) as page:
        await page.post("/sessions", json={"id": "s"})
        asking = {"content": '[[tool:ask_user {"question":"Which?","options":["a","b"]}]]'}
        await page.post("/sessions/s/messages", json=asking)
        asked = (await frames(page, "s", lambda one: one["type"] == "user_input_request"))[-1]
        answer = {"type": "user_input_response", "request_id": asked["request_id"], "answer": "a"}
        assert (await page.post("/sessions/s/messages", json=answer)).json() == {"status": "ok"}
        stale = await page.post("/sessions/s/messages", json=answer)
        assert (stale.status_code, stale.json()["reason"]) == (409, "question_expired")

        await frames(page, "s", finished)
        working = {"content": '[[tool:bash {"command":"sleep 60"}]]'}
        turn = (await page.post("/sessions/s/messages", json=working)).json()["runId"]
        await frames(page, "s", lambda one: one.get("tool_call_name") == "bash")
        stopped = (await page.post("/sessions/s/interrupt", json={})).json()
        assert stopped == {"interrupted": True, "scope": "session"}
        again = (await page.post("/sessions/s/interrupt", json={})).json()
        assert (again["interrupted"], again["reason"]) == (False, "already_idle")
        notice = (await frames(page, "s", lambda one: one["type"] == "system_message"))[-1]
        assert (notice["id"], notice["run_id"]) == (f"interrupt:s:{turn}", turn)


def asks(frame: dict[str, Any]) -> bool:
    return frame["type"] == "user_input_request"


@pytest.mark.parametrize(("word", "files"), [("Approve", [".mcp.json"]), ("Deny", [])])
async def test_an_approval_is_a_question_on_the_page_and_its_answer_decides(
    tmp_path: Path, word: str, files: list[str]
):
    home = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    async with home.running() as daemon, backend(daemon, home) as page:
        await page.post("/sessions", json={"id": "s"})
        call = json.dumps({"path": "/workspace/.mcp.json", "content": "{}"})
        await page.post("/sessions/s/messages", json={"content": f"[[tool:write {call}]]"})
        asked = (await frames(page, "s", asks))[-1]
        again = (await frames(page, "s", asks))[-1]  # a page that comes later is asked too
        assert again == asked
        assert (asked["options"], asked["allow_free_text"]) == (["Approve", "Deny"], False)
        assert "path: /workspace/.mcp.json" in asked["question"]
        key = asked["request_id"]
        answer = {"type": "user_input_response", "request_id": key, "answer": word}
        assert (await page.post("/sessions/s/messages", json=answer)).json() == {"status": "ok"}
        stale = await page.post("/sessions/s/messages", json=answer)
        assert (stale.status_code, stale.json()["reason"]) == (409, "question_expired")
        seen = await frames(page, "s", finished)
        echo = next(one for one in seen if one["type"] == "user_input_response")
        assert (echo["request_id"], echo["answer"]) == (key, word)
        there = (await page.get("/sandbox/s/files?path=")).json()
        assert [one["name"] for one in there] == files


async def test_the_proxy_finds_the_daemon_again_after_it_was_killed(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_MOCK": "1"})
    async with home.running() as daemon, backend(daemon, home) as page:
        await page.post("/sessions", json={"id": "s", "title": "One"})
        health = (await page.get("/sessions/s")).json()
        await daemon.kill()
        port = daemon.url.rpartition(":")[2]
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(page.get("/sessions/s"))
            async with home.running("--port", port):
                assert (await waiting).json() == health
