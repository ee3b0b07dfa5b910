"""A loopback HTTP server that misbehaves as told: what real providers do on bad days."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET

Behaviour = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request and the means to answer it badly."""

    head: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def start(
        self, status: str = "200 OK", kind: str = "text/event-stream", **headers: str
    ) -> None:
        """The head of an answer in chunked coding."""
        lines = [
            f"HTTP/1.1 {status}",
            f"content-type: {kind}",
            "transfer-encoding: chunked",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        await self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def chunk(self, data: bytes) -> None:
        """One chunk of the body."""
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """The proper end of the body."""
        await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Cut the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has closed its side."""
        with suppress(ConnectionError):
            await self.reader.read()


@dataclass
class Chaos:
    """Where the server is and what it saw."""

    url: str = ""
    heads: list[str] = field(default_factory=list[str])
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed a connection."""


@asynccontextmanager
async def chaos(*behaviours: Behaviour) -> AsyncGenerator[Chaos, None]:
    """Serve; request number n gets behaviour n, the last one repeats."""
    seen = Chaos()
    handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        handlers[task] = writer
        try:
            while not writer.transport.is_closing():
                await _serve_one(seen, behaviours, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            seen.left.set()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen.url = f"http://127.0.0.1:{port}"
    try:
        yield seen
    finally:
        server.close()
        for writer in handlers.values():
            writer.transport.abort()
        if handlers:
            await asyncio.wait(handlers)
        await server.wait_closed()


async def _serve_one(
    seen: Chaos,
    behaviours: tuple[Behaviour, ...],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    seen.heads.append(head)
    sizes = [
        int(line.partition(":")[2])
        for line in head.splitlines()
        if line.lower().startswith("content-length:")
    ]
    body = await reader.readexactly(sizes[0] if sizes else 0)
    behaviour = behaviours[min(len(seen.heads), len(behaviours)) - 1]
    await behaviour(Exchange(head, body, reader, writer))
