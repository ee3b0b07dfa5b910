"""A POST that is repeated is answered, not done, again."""

import asyncio
from typing import Any

import httpx
import pytest

from brainpilot_rt.domain.errors import Unavailable
from tests.unit.server.world import SESSION, Script, Server, serving

KEY = {"idempotency-key": "k1"}


async def post(server: Server, path: str, body: Any, key: str | None = "k1") -> httpx.Response:
    headers = {} if key is None else {"idempotency-key": key}
    return await server.client.post(path, json=body, headers=headers)


@pytest.mark.fault("I4")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sessions", {"title": "a"}),
        (f"/sessions/{SESSION}/messages", {"content": "hello"}),
        (f"/sessions/{SESSION}/interrupt", {}),
        (f"/sessions/{SESSION}/evict", {}),
        (f"/sessions/{SESSION}/tools/call_1/interrupt", {}),
    ],
)
async def test_the_first_answer_is_given_again_verbatim(path: str, body: Any):
    async with serving() as server:
        await Script(server.backend).begin()
        first = await post(server, path, body)
        head, touched = server.backend.log.head_pos, server.backend.touched
        again = await post(server, path, body)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotent-replay"] == "true"
        assert "idempotent-replay" not in first.headers
        assert (server.backend.log.head_pos, server.backend.touched) == (head, touched)


@pytest.mark.fault("I4")
async def test_an_answer_outlives_the_server_that_gave_it():
    async with serving() as server:
        first = await post(server, "/sessions", {"title": "a"})
        async with serving(server.backend) as restarted:
            again = await post(restarted, "/sessions", {"title": "a"})
            assert again.json() == first.json()
            assert len((await restarted.client.get("/sessions")).json()["sessions"]) == 1


@pytest.mark.fault("I4")
async def test_another_request_under_the_same_key_is_a_conflict():
    async with serving() as server:
        await Script(server.backend).begin()
        await post(server, f"/sessions/{SESSION}/messages", {"content": "hello"})
        other = await post(server, f"/sessions/{SESSION}/messages", {"content": "bye"})
        elsewhere = await post(server, f"/sessions/{SESSION}/interrupt", {"content": "hello"})
        assert (other.status_code, elsewhere.status_code) == (409, 409)
        assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.fault("I4")
async def test_two_at_once_are_done_once():
    async with serving() as server:
        await Script(server.backend).begin()
        path = f"/sessions/{SESSION}/messages"
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(post(server, path, {"content": "hello"})) for _ in range(5)]
        assert len({task.result().content for task in both}) == 1
        assert len(server.backend.loaded[SESSION].letters) == 1


async def test_a_refused_request_may_be_repeated_after_it_was_mended():
    async with serving() as server:
        await Script(server.backend).begin()
        path = f"/sessions/{SESSION}/messages"
        assert (await post(server, path, {"content": ""})).status_code == 400
        assert (await post(server, path, {"content": "hello"})).status_code == 200


async def test_a_commit_that_fails_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch):
    async with serving() as server:
        await Script(server.backend).begin()
        path = f"/sessions/{SESSION}/messages"
        server.backend.log.fail_commits("no space left")
        failed = await post(server, path, {"content": "hello"})
        assert failed.status_code == 503
        assert failed.json()["code"] == Unavailable.code
        server.backend.log.fail_commits(None)
        assert (await post(server, path, {"content": "hello"})).status_code == 200


async def test_without_a_key_everything_is_done_again():
    async with serving() as server:
        await Script(server.backend).begin()
        for _ in range(2):
            await post(server, f"/sessions/{SESSION}/messages", {"content": "hello"}, None)
        assert len(server.backend.loaded[SESSION].letters) == 2


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b"])
async def test_a_key_that_is_none_is_refused(key: str):
    async with serving() as server:
        assert (await post(server, "/sessions", {}, key)).status_code == 400
