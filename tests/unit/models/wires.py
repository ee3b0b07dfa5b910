"""What providers send, and a transport that plays it: tests of dialects without sockets."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.models.dispatch import Dispatcher
from brainpilot_rt.models.http import HttpReply
from brainpilot_rt.models.providers import Dialect, ProviderProfile, Providers
from brainpilot_rt.testing.sources import ManualClock, SequentialIds

KEY = "sk-test-0123456789abcdef"
SSE = {"content-type": "text/event-stream; charset=utf-8"}


def profile(dialect: Dialect, **changes: Any) -> ProviderProfile:
    values: dict[str, Any] = {
        "id": "p",
        "name": "P",
        "dialect": dialect,
        "base_url": "https://models.example",
        "api_key": KEY,
        "models": ("m-1",),
    }
    return ProviderProfile(**(values | changes))


def anthropic_stream(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def openai_stream(*chunks: dict[str, Any], done: bool = True) -> bytes:
    lines = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks)
    return lines + (b"data: [DONE]\n\n" if done else b"")


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def openai_text(text: str) -> bytes:
    usage: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    return openai_stream(delta(content=text), delta(finish="stop"), usage)


@dataclass
class Reply:
    """One scripted answer. Among the chunks a number is seconds of silence."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: SSE)
    chunks: tuple[bytes | float | Exception, ...] = ()


@dataclass
class FakeTransport:
    """Plays replies in order and keeps what was sent."""

    replies: deque[Reply | Exception]
    sent: list[tuple[str, Mapping[str, str], dict[str, Any]]] = field(
        default_factory=list[tuple[str, Mapping[str, str], dict[str, Any]]]
    )
    times: list[float] = field(default_factory=list[float])
    latency_s: float = 0.0
    open_now: int = 0

    @asynccontextmanager
    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncGenerator[HttpReply, None]:
        self.sent.append((url, headers, json.loads(body)))
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.latency_s)
        reply = self.replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        self.open_now += 1
        try:
            yield HttpReply(reply.status, reply.headers, self._chunks(reply))
        finally:
            self.open_now -= 1

    @staticmethod
    async def _chunks(reply: Reply) -> AsyncIterator[bytes]:
        for chunk in reply.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            if isinstance(chunk, bytes):
                yield chunk
            else:
                await asyncio.sleep(chunk)

    async def warm(self) -> None:
        return

    async def close(self) -> None:
        return


def dispatcher(
    *replies: Reply | Exception,
    using: ProviderProfile | None = None,
    clock: Clock | None = None,
    roll: float = 0.5,
) -> tuple[Dispatcher, FakeTransport]:
    transport = FakeTransport(deque(replies))
    only = using or profile(Dialect.OPENAI_CHAT)
    return (
        Dispatcher(
            Providers((only,), only.id),
            clock=clock or ManualClock(),
            new_id=SequentialIds(),
            http=transport,
            roll=lambda: roll,
        ),
        transport,
    )
