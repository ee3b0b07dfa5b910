"""Streams over real sockets: readers that do not read, readers that vanish, a server that stops."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from brainpilot_rt.daemon.listener import HttpServer, uvicorn_config
from brainpilot_rt.domain.events import NoticePosted
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.settings import HttpSettings
from brainpilot_rt.testing.fake_backend import FakeBackend
from brainpilot_rt.testing.sources import ManualClock, SequentialIds
from tests.unit.server.world import SESSION, TOKEN, Script

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]

REQUEST = f"GET /sse/{SESSION} HTTP/1.1\r\nHost: {{}}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"


class Listening:
    """A server on a port of its own."""

    def __init__(self, backend: FakeBackend, hub: Hub, port: int) -> None:
        self.backend = backend
        self.hub = hub
        self.port = port

    def connect(self, receive_bytes: int = 4096) -> socket.socket:
        """A client that has asked for the stream and has a small buffer for it."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self.port))
        client.sendall(REQUEST.format(f"127.0.0.1:{self.port}").encode())
        client.setblocking(False)  # noqa: FBT003 - the name of the argument is not public
        return client

    async def cut(self, streams: int) -> None:
        """Make news until so many streams are left."""
        number = 0
        async with asyncio.timeout(20):
            while self.hub.count > streams:
                number += 1
                notice = NoticePosted(notice_id=f"n{number}", level="info", message="x" * 1000)
                await self.backend.commit(SESSION, notice)

    async def until(self, streams: int) -> None:
        """Wait until so many streams are open."""
        async with asyncio.timeout(20):
            while self.hub.count != streams:  # noqa: ASYNC110 - another program's doing
                await asyncio.sleep(0.01)


@asynccontextmanager
async def listening() -> AsyncGenerator[Listening]:
    clock = ManualClock()
    backend = FakeBackend(clock, SequentialIds(), Path("/nonexistent"))
    await Script(backend).begin()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        http = HttpSettings(lag_bytes_max=1024 * 1024)
        config = ServerConfig(http=http, hosts=hosts_of(port), token=lambda: TOKEN, clock=clock)
        app = build_app(backend, config)
        server = HttpServer(uvicorn_config(app))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listener]))
            yield Listening(backend, app.state.streams.hub, port)
            app.state.streams.close()
            server.should_exit = True
            async with asyncio.timeout(10):
                await serving
    await backend.log.close()


@pytest.mark.fault("I1")
async def test_clients_that_never_read_are_cut_and_hold_nothing():
    async with listening() as server:
        stuck = [server.connect() for _ in range(20)]
        await server.until(20)
        await server.cut(0)
        assert server.hub.lagged == 20
        loop = asyncio.get_running_loop()
        for client in stuck:
            # What was on its way comes first, then the end: a reset where the kernel held more.
            with client, suppress(ConnectionResetError):
                while await loop.sock_recv(client, 65536):
                    pass


@pytest.mark.fault("I1")
async def test_a_client_that_vanishes_is_noticed_while_nothing_happens():
    async with listening() as server:
        client = server.connect()
        await server.until(1)
        client.close()
        await server.until(0)


async def test_a_server_with_open_streams_stops_at_once():
    async with listening() as server:
        clients = [server.connect() for _ in range(5)]
        await server.until(5)
    for client in clients:
        client.close()
