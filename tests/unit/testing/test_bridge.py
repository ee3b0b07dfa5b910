"""The bridge streams, waits for its reader, and tells the app when the reader leaves."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest

from brainpilot_rt.testing.bridge import client

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class Endless:
    """An app that answers with numbers for as long as somebody reads."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = asyncio.Event()
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(self._count(send))
            assert (await receive())["type"] == "http.disconnect"
            self.gone.set()
            counting.cancel()

    async def _count(self, send: Send) -> None:
        while True:
            await send(
                {"type": "http.response.body", "body": b"%d," % self.sent, "more_body": True}
            )
            self.sent += 1


async def test_pieces_arrive_as_they_are_sent_and_no_faster_than_they_are_read():
    app = Endless()
    async with client(app) as http:
        async with http.stream("POST", "/x", content=b"hello") as response:
            pieces = response.aiter_raw()
            assert [await anext(pieces) for _ in range(3)] == [b"0,", b"1,", b"2,"]
            await asyncio.sleep(1)
            assert app.sent <= 5
        await app.gone.wait()
    assert app.body == b"hello"


async def test_an_app_that_fails_before_it_answers_fails_the_request():
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("broken")

    async with client(broken) as http:
        with pytest.raises(ValueError, match="broken"):
            await http.get("/x")


async def test_an_answer_in_one_piece_is_just_that():
    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-path", scope["raw_path"]), (b"x-query", scope["query_string"])]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})

    async with client(plain) as http:
        answer: httpx.Response = await http.get("/a%20b?c=d")
    assert (answer.status_code, answer.text) == (201, "done")
    assert (answer.headers["x-path"], answer.headers["x-query"]) == ("/a%20b", "c=d")
