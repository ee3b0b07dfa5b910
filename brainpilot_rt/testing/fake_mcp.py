"""An MCP server inside of the test: says what it is told to, dies when it is told to.

Give `FakeMcp(...).dial` to the surroundings of a pool. It speaks the older protocol, message for
message, through the real SDK client; nothing is started and no time passes.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from brainpilot_rt.tools.mcp.config import ServerConfig
from brainpilot_rt.tools.mcp.connection import Connection

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectSendStream

    from brainpilot_rt.tools.mcp.connection import Message, Streams

Json: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = Callable[[str, Json], Awaitable[Json]]

_BUFFER = 10_000


def listed(name: str, description: str = "", **more: Any) -> dict[str, Any]:
    """A tool as `tools/list` has it."""
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    return {"name": name, "description": description or name, "inputSchema": schema, **more}


async def echo(_: str, arguments: Json) -> Json:
    """The result of a call: the argument `text`."""
    return {"content": [{"type": "text", "text": str(arguments.get("text", ""))}]}


@dataclass
class FakeMcp:
    """The server, and what was asked of it."""

    tools: list[dict[str, Any]] = field(default_factory=lambda: [listed("echo")])
    answer: Answer = echo
    """Gives the result of a call; raising breaks the connection."""
    refusals: deque[Exception] = field(default_factory=deque[Exception])
    """What the next attempts to connect fail with."""
    asked: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    """Method and parameters of every message, in order."""
    connected: int = 0
    """Times that somebody connected."""
    mute: frozenset[str] = frozenset()
    """Methods that are never answered."""
    pages: int = 1
    """Pages that a listing has."""
    _out: "MemoryObjectSendStream[Message] | None" = None

    @asynccontextmanager
    async def dial(
        self, _config: ServerConfig, _connection: Connection
    ) -> "AsyncGenerator[Streams]":
        """Connect, as `Surroundings.dial` does."""
        from mcp.shared.message import SessionMessage  # noqa: PLC0415 - heavy

        if self.refusals:
            raise self.refusals.popleft()
        self.connected += 1
        out, read = anyio.create_memory_object_stream["Message"](_BUFFER)
        write, wanted = anyio.create_memory_object_stream[SessionMessage](_BUFFER)

        async def serve() -> None:
            async with anyio.create_task_group() as answering:
                async for item in wanted:
                    answering.start_soon(self._take, item.message)

        with out, read, write, wanted:
            self._out = out
            async with anyio.create_task_group() as group:
                group.start_soon(serve)
                yield read, write
                group.cancel_scope.cancel()

    def say(self, method: str, **params: Any) -> None:
        """Send a notification."""
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def die(self) -> None:
        """Close the connection in the middle of whatever is going on."""
        assert self._out is not None
        self._out.close()

    def calls(self) -> list[str]:
        """The tools that were called, in order."""
        return [params["name"] for method, params in self.asked if method == "tools/call"]

    async def _take(self, message: Any) -> None:
        method: str = getattr(message, "method", "")
        params: Json = getattr(message, "params", None) or {}
        self.asked.append((method, params))
        number = getattr(message, "id", None)
        if number is None or method in self.mute:
            return
        answer: Json
        match method:
            case "initialize":
                answer = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "fake", "version": "1"},
                }
            case "tools/list":
                page = int(params.get("cursor") or 0)
                answer = {"tools": self.tools[page :: self.pages]}
                if page + 1 < self.pages:
                    answer = {**answer, "nextCursor": str(page + 1)}
            case "tools/call":
                answer = await self.answer(params["name"], params.get("arguments") or {})
            case _:
                error = {"code": -32601, "message": f"no method {method}"}
                self._send({"jsonrpc": "2.0", "id": number, "error": error})
                return
        kind = "error" if "code" in answer else "result"
        self._send({"jsonrpc": "2.0", "id": number, kind: answer})

    def _send(self, message: Json) -> None:
        from mcp.shared.message import SessionMessage  # noqa: PLC0415 - heavy
        from mcp.types import jsonrpc_message_adapter  # noqa: PLC0415 - heavy

        assert self._out is not None
        try:
            self._out.send_nowait(SessionMessage(jsonrpc_message_adapter.validate_python(message)))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
