"""Servers we did not write: both eras of the protocol, both transports."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.mcp.config import ServerConfig
from tests.realtime.mcp.world import call, pool_of, told

EVERYTHING = (
    Path(__file__).parents[2]
    / "clients/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
)
NODE = shutil.which("node") or ""

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]
needs_everything = pytest.mark.skipif(
    not EVERYTHING.exists() or not NODE,
    reason="needs Node and @modelcontextprotocol/server-everything (npm ci in tests/clients)",
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the daemon runs on."""
    return "asyncio", {"use_uvloop": True}


def program(name: str, module: str) -> ServerConfig:
    return ServerConfig(name=name, command=sys.executable, args=("-m", module))


def free_port() -> int:
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@asynccontextmanager
async def everything_over_http(port: int, way: str = "streamableHttp") -> AsyncGenerator[None]:
    process = await asyncio.create_subprocess_exec(
        NODE, str(EVERYTHING), way,
        env={"PATH": os.defpath, "PORT": str(port)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while b" on port " not in (line := await process.stdout.readline()):
            assert line, "the server ended before it listened"
        yield
    finally:
        process.kill()
        await process.communicate()


@needs_everything
async def test_everything_over_its_standard_streams(tmp_path: Path):
    config = ServerConfig(name="everything", command=NODE, args=(str(EVERYTHING), "stdio"))
    async with pool_of(config, folder=tmp_path) as pool:
        assert told(pool, "everything")["protocol"] == "2025-11-25"
        assert (await call(pool, tmp_path, "mcp__everything__echo", message="hi")).content == (
            "Echo: hi"
        )
        picture = await call(pool, tmp_path, "mcp__everything__get-tiny-image")
        assert '"bytes": 4033' in picture.content
        assert len(picture.content) < 500
        refused = await call(pool, tmp_path, "mcp__everything__get-sum", a="one", b=2)
        assert refused.failed
        assert not refused.unknown
        structured = await call(
            pool, tmp_path, "mcp__everything__get-structured-content", location="Chicago"
        )
        assert json.loads(structured.content)["conditions"]


@needs_everything
async def test_a_long_call_to_everything_can_be_taken_back(tmp_path: Path):
    config = ServerConfig(name="everything", command=NODE, args=(str(EVERYTHING), "stdio"))
    async with pool_of(config, folder=tmp_path) as pool:
        name = "mcp__everything__trigger-long-running-operation"
        async with asyncio.TaskGroup() as group:
            long = group.create_task(call(pool, tmp_path, name, duration=3600, steps=5))
            await asyncio.sleep(0.1)
            long.cancel()
        assert long.cancelled()
        assert (await call(pool, tmp_path, "mcp__everything__echo", message="on")).content == (
            "Echo: on"
        )


@needs_everything
@pytest.mark.fault("H11")
async def test_everything_over_http_and_again_after_it_forgot_the_session(tmp_path: Path):
    port = free_port()
    config = ServerConfig(name="web", kind="http", url=f"http://127.0.0.1:{port}/mcp")
    async with everything_over_http(port), pool_of(config, folder=tmp_path) as pool:
        assert told(pool, "web")["protocol"] == "2025-11-25"
        assert (await call(pool, tmp_path, "mcp__web__get-sum", a=20, b=22)).content == (
            "The sum of 20 and 22 is 42."
        )
    async with contextlib.AsyncExitStack() as stack:
        async with everything_over_http(port):
            pool = await stack.enter_async_context(pool_of(config, folder=tmp_path))
        output = await call(pool, tmp_path, "mcp__web__echo", message="anyone?")
        assert output.failed
        assert "was lost during the call" in output.content
        await stack.enter_async_context(everything_over_http(port))
        while told(pool, "web")["state"] != "ready":  # noqa: ASYNC110 - bounded by the test
            await asyncio.sleep(0.02)
        assert (await call(pool, tmp_path, "mcp__web__echo", message="hi")).content == "Echo: hi"


@needs_everything
async def test_everything_over_the_older_http_with_events(tmp_path: Path):
    port = free_port()
    config = ServerConfig(name="web", kind="sse", url=f"http://127.0.0.1:{port}/sse")
    async with everything_over_http(port, "sse"), pool_of(config, folder=tmp_path) as pool:
        output = await call(pool, tmp_path, "mcp__web__echo", message="hi")
        assert output.content == "Echo: hi"


async def test_two_servers_of_the_newer_protocol(tmp_path: Path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "First"]):
        await asyncio.to_thread(subprocess.run, [*git, *words], check=True)
    configs = program("time", "mcp_server_time"), program("git", "mcp_server_git")
    async with pool_of(*configs, folder=tmp_path) as pool:
        assert pool.status()["state"] == "ready"
        assert {told(pool, name)["protocol"] for name in ("time", "git")} == {"2026-07-28"}
        effects = {one.name: one.spec.effect for one in pool.tools()}
        assert effects["mcp__time__convert_time"] is Effect.PURE
        assert effects["mcp__git__git_commit"] is Effect.IRREVERSIBLE
        log = await call(pool, tmp_path, "mcp__git__git_log", repo_path=str(tmp_path))
        assert "First" in log.content
        wrong = await call(pool, tmp_path, "mcp__time__get_current_time", timezone="Mars/Base")
        assert wrong.failed
        assert "Mars/Base" in wrong.content
