"""The routes about memory: sections, search, add, change, forget, and every way to be wrong."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from brainpilot_rt.domain.memory import POLICIES
from tests.unit.server.world import Server, serving

HERE = "/sessions/one/memory"


async def call(
    server: Server, method: str, path: str, body: Any = None, **more: Any
) -> tuple[int, Any]:
    answer = await server.client.request(method, path, json=body, **more)
    return answer.status_code, answer.json()


@asynccontextmanager
async def remembering() -> AsyncGenerator[Server]:
    """A server with one session."""
    async with serving() as server:
        await call(server, "POST", "/sessions", {"id": "one"})
        yield server


async def added(server: Server, section: str, content: str, **more: Any) -> dict[str, Any]:
    body = {"section": section, "content": content, **more}
    status, item = await call(server, "POST", HERE, body)
    assert status == 201, item
    return item


async def test_what_is_added_is_listed_searched_changed_and_forgotten():
    async with remembering() as server:
        item = await added(server, "facts", "likes tea", block="human", tags=["drink"])
        assert (item["agent"], item["block"], item["tokens"]) == ("user", "human", 2)
        status, facts = await call(server, "GET", f"{HERE}/facts")
        assert (status, facts["items"], facts["list"]) == (200, 1, [item])
        status, found = await call(server, "GET", f"{HERE}/search?query=tea&section=facts")
        assert status == 200
        assert [(one["id"], one["score"] > 0) for one in found["list"]] == [(item["id"], True)]
        change = {"content": "likes milk", "pinned": True}
        status, edited = await call(server, "PUT", f"{HERE}/items/{item['id']}", change)
        assert (status, edited["id"], edited["content"], edited["pinned"]) == (
            200,
            item["id"],
            "likes milk",
            True,
        )
        assert (await call(server, "GET", f"{HERE}/search?query=tea"))[1]["list"] == []
        gone = await call(server, "DELETE", f"{HERE}/items/{item['id']}")
        assert gone == (200, {"id": item["id"], "forgotten": True})
        status, problem = await call(server, "DELETE", f"{HERE}/items/{item['id']}")
        assert (status, problem["code"]) == (404, "unknown_memory_item")


async def test_every_section_is_listed_with_its_budget_and_policy():
    async with remembering() as server:
        await added(server, "lessons", "measure twice")
        status, told = await call(server, "GET", HERE)
        sections = {one["section"]: one for one in told["sections"]}
    assert status == 200
    assert list(sections) == list(POLICIES)
    lessons = sections["lessons"]
    assert (lessons["items"], lessons["tokens"], lessons["budget"]) == (1, 3, 16_000)
    assert (lessons["eviction"], lessons["summarise"], lessons["of"]) == (
        "fifo",
        "on_overflow",
        "team",
    )
    assert sections["messages"]["derived"]


async def test_a_section_of_each_agent_is_written_and_read_by_its_owner():
    async with remembering() as server:
        await added(server, "reflection", "mine", agent="principal")
        await added(server, "reflection", "hers", agent="librarian")
        status, problem = await call(
            server, "POST", HERE, {"section": "reflection", "content": "whose"}
        )
        assert status == 400
        assert problem["error"].startswith("agent:")
        status, hers = await call(server, "GET", f"{HERE}/reflection?agent=librarian")
        assert [one["content"] for one in hers["list"]] == ["hers"]
        status, newest = await call(server, "GET", f"{HERE}/reflection?limit=1")
        assert [one["content"] for one in newest["list"]] == ["hers"]
        assert newest["items"] == 2


async def test_a_repeated_post_with_a_key_adds_nothing_twice():
    async with remembering() as server:
        body = {"section": "facts", "content": "once"}
        key = {"Idempotency-Key": "k1"}
        first = await call(server, "POST", HERE, body, headers=key)
        again = await call(server, "POST", HERE, body, headers=key)
        assert first == again
        same = await call(server, "POST", HERE, body)
        assert same == first
        assert (await call(server, "GET", f"{HERE}/facts"))[1]["items"] == 1


async def test_a_full_section_answers_409_with_the_numbers():
    async with remembering() as server:
        for number in range(50):
            await added(server, "facts", f"fact {number}", block="system")
        body = {"section": "facts", "content": "one more", "block": "system"}
        status, problem = await call(server, "POST", HERE, body)
    assert (status, problem["code"]) == (409, "memory_section_full")
    assert "50 of 50 facts in block system" in problem["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nonsense", None, 404, "unknown_section"),
        ("GET", "/search?query=%20", None, 400, "bad_request"),
        ("GET", "/search?query=a&section=nonsense", None, 404, "unknown_section"),
        ("GET", "/search?query=a&top_k=many", None, 400, "bad_request"),
        ("GET", "/facts?limit=-1", None, 400, "bad_request"),
        ("GET", "/facts?agent=Not%20a%20name", None, 400, "bad_request"),
        ("POST", "", {"section": "nonsense", "content": "x"}, 404, "unknown_section"),
        ("POST", "", {"section": "messages", "content": "x"}, 400, "memory_section_derived"),
        ("POST", "", {"section": "facts", "content": " "}, 400, "bad_request"),
        ("POST", "", {"section": "facts"}, 400, "invalid_body"),
        ("POST", "", {"section": "facts", "content": "x", "block": "b"}, 400, "invalid_body"),
        ("POST", "", {"section": "facts", "content": "x" * 8_001}, 413, "too_large"),
        ("PUT", "/items/0000", {"pinned": True}, 404, "unknown_memory_item"),
        ("PUT", "/items/0000", {}, 400, "bad_request"),
        ("DELETE", "/items/0000", None, 404, "unknown_memory_item"),
    ],
)
async def test_what_is_wrong_is_said(method: str, path: str, body: Any, status: int, code: str):
    async with remembering() as server:
        got, problem = await call(server, method, f"{HERE}{path}", body)
    assert (got, problem["code"]) == (status, code)
    if code == "unknown_section":
        assert "facts" in problem["error"]


async def test_a_derived_item_can_not_be_changed():
    async with remembering() as server:
        await call(server, "POST", "/sessions/one/messages", {"content": "hello"})
        status, problem = await call(server, "DELETE", f"{HERE}/items/0123456789abcdef")
    assert (status, problem["code"]) == (404, "unknown_memory_item")


async def test_an_unknown_session_remembers_nothing():
    async with remembering() as server:
        for path in ("", "/facts", "/search?query=a"):
            status, problem = await call(server, "GET", f"/sessions/nobody/memory{path}")
            assert (status, problem["code"]) == (404, "unknown_session")
        body = {"section": "facts", "content": "x"}
        status, problem = await call(server, "POST", "/sessions/nobody/memory", body)
        assert (status, problem["code"]) == (404, "unknown_session")
