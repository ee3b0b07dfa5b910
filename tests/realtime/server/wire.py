"""The server on a port of its own, and clients that speak raw bytes to it."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette

from brainpilot_rt.daemon.listener import HttpServer, uvicorn_config
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.settings import HttpSettings
from brainpilot_rt.testing.fake_backend import FakeBackend
from brainpilot_rt.testing.sources import ManualClock, SequentialIds
from tests.unit.server.world import TOKEN, Script


class Wire:
    """A server, and what one says to it."""

    def __init__(self, backend: FakeBackend, app: Starlette, port: int) -> None:
        self.backend = backend
        self.app = app
        self.port = port

    def head(self, line: str = "GET /sessions HTTP/1.1", *more: str, token: str = TOKEN) -> bytes:
        """A request head with a good Host and token, and further header lines."""
        lines = [line, f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {token}", *more]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def answer(self, *parts: bytes, limit_s: float = 20.0) -> bytes:
        """Everything the server says to these bytes until it closes, or is silent after them."""
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)  # noqa: FBT003 - the name of the argument is not public
            await loop.sock_connect(client, ("127.0.0.1", self.port))
            said = b""
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(limit_s):
                    for part in parts:
                        await loop.sock_sendall(client, part)
                    while got := await loop.sock_recv(client, 65536):
                        said += got
            return said


@asynccontextmanager
async def wire(**http: int) -> AsyncGenerator[Wire]:
    """Serve a fake backend for as long as the block runs."""
    clock = ManualClock()
    backend = FakeBackend(clock, SequentialIds(), Path("/nonexistent"))
    await Script(backend).begin()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        settings = HttpSettings.model_validate(http)
        config = ServerConfig(http=settings, hosts=hosts_of(port), token=lambda: TOKEN, clock=clock)
        app = build_app(backend, config)
        server = HttpServer(uvicorn_config(app))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            yield Wire(backend, app, port)
            app.state.streams.close()
            server.should_exit = True
            async with asyncio.timeout(10):
                await serving
    await backend.log.close()


def statuses(said: bytes) -> list[int]:
    """The status of each answer in what the server said."""
    return [
        int(line.split(b" ")[1]) for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")
    ]
