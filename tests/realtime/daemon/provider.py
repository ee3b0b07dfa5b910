"""A provider that says what a test tells it to say, when the test tells it to (OpenAI chat)."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

NAME = re.compile(r'You are "([^"]+)"')


@dataclass(frozen=True)
class Call:
    """A tool call of the model."""

    name: str
    arguments: dict[str, Any]


class Refused(Exception):
    """The provider answers with a status and a body instead of a stream."""

    def __init__(self, status: str, body: str, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class Cut(Exception):
    """The provider drops the connection."""


@dataclass
class Ask:
    """One request for a reply."""

    number: int
    """0, 1, 2, ... over the life of the provider."""
    body: dict[str, Any]
    answered: bool = False
    """The whole reply went out."""
    given_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The client left before that."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages but the system prompt."""
        return [one for one in self.body["messages"] if one["role"] != "system"]

    @property
    def system(self) -> str:
        """The system prompt."""
        return str(self.body["messages"][0]["content"])

    @property
    def agent(self) -> str:
        """Who asks."""
        found = NAME.search(self.system)
        return found[1] if found else ""

    @property
    def turn(self) -> int:
        """Replies the conversation holds already."""
        return sum(one["role"] == "assistant" for one in self.messages)

    @property
    def last(self) -> str:
        """The text of the last message."""
        return str(self.messages[-1]["content"])

    @property
    def tools(self) -> list[str]:
        """Names of the tools offered."""
        return [one["function"]["name"] for one in self.body.get("tools", [])]

    @property
    def fingerprint(self) -> str:
        """The same for two requests for the same reply."""
        return json.dumps([self.agent, self.messages], sort_keys=True)


Reply = AsyncIterator[str | Call | bytes]
Script = Callable[[Ask], Reply]


@dataclass
class Provider:
    """Where it is, what it was asked."""

    script: Script
    url: str = ""
    asks: list[Ask] = field(default_factory=list[Ask])
    asked: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def env(self) -> dict[str, str]:
        """The environment that makes a daemon use it."""
        return {
            "OPENAI_API_KEY": "test-key",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_MODEL": "scripted",
        }

    async def until_asked(self, count: int) -> Ask:
        """Wait for the n-th request of all."""
        async with self.asked:
            await self.asked.wait_for(lambda: len(self.asks) >= count)
        return self.asks[count - 1]

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request, answer it as the script says."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        found = re.search(r"(?im)^content-length: *(\d+)", head)
        raw = await reader.readexactly(int(found[1]) if found else 0)
        ask = Ask(len(self.asks), cast("dict[str, Any]", json.loads(raw or b"{}")))
        async with self.asked:
            self.asks.append(ask)
            self.asked.notify_all()
        try:
            await self._reply(ask, writer)
            ask.answered = True
        except Refused as refused:
            body = refused.body.encode()
            lines = [f"HTTP/1.1 {refused.status}", f"content-length: {len(body)}"]
            lines += [f"{key.replace('_', '-')}: {value}" for key, value in refused.headers.items()]
            writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
            await writer.drain()
        except Cut:
            writer.transport.abort()

    async def _reply(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        started = False
        calls = 0
        async for piece in self.script(ask):
            if not started:
                _start(writer)
                started = True
            if isinstance(piece, bytes):
                writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            elif isinstance(piece, str):
                _chunk(writer, {"content": piece})
            else:
                function = {"name": piece.name, "arguments": json.dumps(piece.arguments)}
                call = {"index": calls, "id": f"c{ask.number}-{calls}", "type": "function"}
                _chunk(writer, {"tool_calls": [call | {"function": function}]})
                calls += 1
            await writer.drain()
        if not started:
            _start(writer)
        _chunk(writer, {}, "tool_calls" if calls else "stop")
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        _data(writer, {"choices": [], "usage": usage})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()


def _start(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )


def _chunk(writer: asyncio.StreamWriter, delta: dict[str, Any], stop: str | None = None) -> None:
    _data(writer, {"choices": [{"index": 0, "delta": delta, "finish_reason": stop}]})


def _data(writer: asyncio.StreamWriter, value: dict[str, Any]) -> None:
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    writer.write(b"%x\r\n" % len(data) + data + b"\r\n")


@asynccontextmanager
async def provider(script: Script) -> AsyncGenerator[Provider]:
    """Serve until the block ends; whoever still waits for a reply then is cut off."""
    told = Provider(script)
    busy: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy[task] = writer
        try:
            await told.serve_one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            del busy[task]
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield told
    finally:
        server.close()
        left = list(busy)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await server.wait_closed()
