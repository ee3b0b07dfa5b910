"""Servers behind an address: headers, the newer protocol, and addresses that answer badly."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

from brainpilot_rt.tools.mcp.config import McpLimits, ServerConfig, auth_headers
from tests.realtime.mcp.world import call, pool_of, told
from tests.realtime.models.chaos import Exchange, chaos

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]


def web(url: str, **more: Any) -> ServerConfig:
    return ServerConfig(name="web", kind="http", url=url, **more)


@asynccontextmanager
async def served(server: MCPServer) -> AsyncGenerator[str]:
    """The server on loopback; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        app = server.streamable_http_app()
        run = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        async with asyncio.TaskGroup() as group:
            group.create_task(run.serve([listening]))
            while not run.started:  # noqa: ASYNC110 - bounded by the test
                await asyncio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{port}/mcp"
            finally:
                run.should_exit = True


def changing() -> MCPServer:
    """Says what it was sent; grows a tool when asked to."""
    server = MCPServer("changing")

    @server.tool()
    def headers(context: Context[Any]) -> str:
        """The headers of this request."""
        return json.dumps(dict(context.headers or {}))

    @server.tool()
    async def grow(context: Context[Any]) -> str:
        """Get another tool."""
        server.add_tool(lambda: "new", "new", description="A new tool")
        await context.notify_tools_changed()
        return "grown"

    return server


@pytest.mark.parametrize(
    ("kind", "header", "shown"),
    [
        ("bearer", None, ("authorization", "Bearer t0ken")),
        ("api-key", None, ("x-api-key", "t0ken")),
        ("api-key", "X-Mine", ("x-mine", "t0ken")),
    ],
)
async def test_a_token_goes_out_as_the_header_it_was_registered_for(
    tmp_path: Path, kind: str, header: str | None, shown: tuple[str, str]
):
    async with served(changing()) as url:
        config = web(url, headers=auth_headers(kind, "t0ken", header))
        async with pool_of(config, folder=tmp_path) as pool:
            output = await call(pool, tmp_path, "mcp__web__headers")
            assert shown in json.loads(output.content).items()


@pytest.mark.fault("H8")
async def test_the_newer_protocol_tells_of_changed_tools_over_its_own_stream(tmp_path: Path):
    async with served(changing()) as url, pool_of(web(url), folder=tmp_path) as pool:
        assert told(pool, "web")["protocol"] == "2026-07-28"
        await asyncio.sleep(0.3)  # until the stream of changes is open
        assert (await call(pool, tmp_path, "mcp__web__grow")).content == "grown"
        while pool.digest("mcp__web__new") is None:  # noqa: ASYNC110 - bounded by the test
            await asyncio.sleep(0.02)
        assert (await call(pool, tmp_path, "mcp__web__new")).content == "new"


def reply(exchange: Exchange, **result: Any) -> bytes:
    number = json.loads(exchange.body or b"{}").get("id", 0)
    return json.dumps({"jsonrpc": "2.0", "id": number, **result}).encode()


async def old_server(exchange: Exchange) -> bool:
    """Answer all but calls as a server of the older protocol; False for a call."""
    message: dict[str, Any] = json.loads(exchange.body or b"{}")
    match message.get("method"):
        case "initialize":
            about: dict[str, Any] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            }
            body = reply(exchange, result=about)
        case "tools/list":
            tools = [{"name": "get", "inputSchema": {"type": "object"}}]
            body = reply(exchange, result={"tools": tools})
        case "tools/call":
            return False
        case "notifications/initialized":
            await exchange.start("202 Accepted")
            await exchange.end()
            return True
        case _:
            body = reply(exchange, error={"code": -32601, "message": "unknown"})
    await exchange.start(kind="application/json")
    await exchange.chunk(body)
    await exchange.end()
    return True


@pytest.mark.fault("H10", "H11")
async def test_an_answer_beyond_its_bound_is_not_read_to_its_end(tmp_path: Path):
    async def endless(exchange: Exchange) -> None:
        if not await old_server(exchange):
            await exchange.start(kind="application/json")
            while True:
                await exchange.chunk(b" " * 65_536)

    limits = McpLimits(message_bytes_max=1 << 20)
    async with (
        chaos(endless) as server,
        pool_of(web(server.url), folder=tmp_path, limits=limits) as pool,
    ):
        output = await call(pool, tmp_path, "mcp__web__get")
        assert output.unknown
        assert "the answer is longer than 1,048,576 bytes" in output.content


@pytest.mark.fault("H10")
async def test_an_event_beyond_its_bound_ends_the_call(tmp_path: Path):
    async def endless(exchange: Exchange) -> None:
        if not await old_server(exchange):
            await exchange.start()
            await exchange.chunk(b"data: ")
            while True:
                await exchange.chunk(b"x" * 65_536)

    limits = McpLimits(message_bytes_max=1 << 20)
    async with (
        chaos(endless) as server,
        pool_of(web(server.url), folder=tmp_path, limits=limits) as pool,
    ):
        output = await call(pool, tmp_path, "mcp__web__get")
        assert output.unknown
        assert "was lost during the call" in output.content


@pytest.mark.fault("H10")
async def test_a_compressed_answer_is_refused(tmp_path: Path):
    async def bomb(exchange: Exchange) -> None:
        if not await old_server(exchange):
            await exchange.start(kind="application/json", content_encoding="gzip")
            await exchange.chunk(gzip.compress(b" " * (64 << 20)))
            await exchange.end()

    async with chaos(bomb) as server, pool_of(web(server.url), folder=tmp_path) as pool:
        output = await call(pool, tmp_path, "mcp__web__get")
        assert output.unknown


@pytest.mark.fault("H11", "S32")
async def test_a_redirect_elsewhere_is_not_followed_and_gets_no_token(tmp_path: Path):
    async def old(exchange: Exchange) -> None:
        await old_server(exchange)

    async with chaos(old) as other:

        async def away(exchange: Exchange) -> None:
            await exchange.start("307 Temporary Redirect", location=other.url + "/latest/meta-data")
            await exchange.end()

        async with chaos(away) as server:
            config = web(server.url, headers=auth_headers("bearer", "t0ken"))
            async with pool_of(config, folder=tmp_path) as pool:
                assert told(pool, "web")["state"] == "failed"
                assert "not followed" in told(pool, "web")["error"]
        assert other.heads == []


async def test_a_server_that_wants_another_token_says_its_status(tmp_path: Path):
    async def closed(exchange: Exchange) -> None:
        await exchange.start("401 Unauthorized", kind="text/plain")
        await exchange.end()

    async with chaos(closed) as server, pool_of(web(server.url), folder=tmp_path) as pool:
        assert "HTTP 401" in told(pool, "web")["error"]


@pytest.mark.fault("H11")
async def test_a_call_over_http_that_is_taken_back_is_said_so(tmp_path: Path):
    hanging = asyncio.Event()
    bodies: list[str] = []

    async def slow(exchange: Exchange) -> None:
        bodies.append(exchange.body.decode())
        if not await old_server(exchange):
            hanging.set()
            await exchange.gone()

    async with chaos(slow) as server, pool_of(web(server.url), folder=tmp_path) as pool:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(call(pool, tmp_path, "mcp__web__get"))
            await hanging.wait()
            asked.cancel()
        assert asked.cancelled()
        while not any("notifications/cancelled" in body for body in bodies):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
