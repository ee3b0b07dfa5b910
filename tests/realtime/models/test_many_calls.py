"""However many model calls wait at once, each has a connection of its own."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from brainpilot_rt.models.http import Http

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.realtime
@pytest.mark.timeout(30)
async def test_calls_that_wait_never_keep_another_one_from_its_model():
    many = 600
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(HEAD)
        await reader.read()  # silent until the caller leaves
        writer.close()

    http = Http()
    async with await asyncio.start_server(answer, "127.0.0.1", 0, backlog=many) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with AsyncExitStack() as calls:
            for _ in range(many):
                reply = await calls.enter_async_context(http.post(url, {}, b""))
                assert reply.status == 200
            assert asked == many
        await http.close()
