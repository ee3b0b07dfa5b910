"""Routes about MCP servers: registered, changed, called; who may, and what is wrong."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.supervision.vault import VAULT_FILE
from brainpilot_rt.testing.fake_mcp import listed
from tests.unit.server.owned import owned, token_of_agent
from tests.unit.server.test_memory import call
from tests.unit.server.world import Server

HERE = "/v1/mcp/servers"
TOKEN = "a-very-long-token-of-notes"
AUTH = {"type": "bearer", "token": TOKEN}
NOTES: dict[str, Any] = {"name": "notes", "url": "https://notes.example/mcp", "auth": AUTH}
LOOK = {"server_id": "notes", "tool": "look", "arguments": {"text": "hello"}}


@asynccontextmanager
async def with_notes(folder: Path) -> AsyncGenerator[Server]:
    """A server that has one registered."""
    async with owned(folder) as server:
        backend = server.backend
        backend.foreign.tools = [listed("look", annotations={"readOnlyHint": True}), listed("add")]
        try:
            status, made = await call(server, "POST", HERE, NOTES)
            assert (status, made["status"], TOKEN in str(made)) == (201, "ready", False)
            yield server
        finally:
            await backend.mcp.calls.close()
            await backend.mcp.servers.close()


async def test_a_server_is_registered_shown_changed_and_forgotten(tmp_path: Path):
    async with with_notes(tmp_path) as server:
        _, shown = await call(server, "GET", f"{HERE}/notes")
        told = (shown["url"], shown["source"], shown["status"], shown["toolCount"])
        assert told == ("https://notes.example/mcp", "registered", "ready", 2)
        assert shown["auth"] == {"type": "bearer", "headerName": None, "configured": True}
        _, tools = await call(server, "GET", "/v1/mcp/tools?server_id=notes")
        assert [one["toolName"] for one in tools["tools"]] == [
            "mcp__notes__look",
            "mcp__notes__add",
        ]
        connected = server.backend.foreign.connected
        status, after = await call(server, "PUT", f"{HERE}/notes", {"allowed_key_ids": ["a-1"]})
        assert (status, after["allowed_key_ids"], after["url"]) == (200, ["a-1"], shown["url"])
        assert server.backend.foreign.connected == connected
        moved = {"url": "https://else.example/mcp", "auth": {"type": "none"}}
        status, after = await call(server, "PUT", f"{HERE}/notes", moved)
        assert (status, after["url"], after["auth"]) == (200, moved["url"], None)
        assert (await call(server, "DELETE", f"{HERE}/notes"))[1] == {
            "id": "notes",
            "deleted": True,
        }
        assert (await call(server, "GET", f"{HERE}/notes"))[0] == 404
        assert (await call(server, "GET", HERE))[1] == {"servers": [], "total": 0}
        assert TOKEN not in (tmp_path / VAULT_FILE).read_text()
        assert TOKEN not in str(await server.backend.log.read_all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "no spaces"}, "name"),
        ({"name": None}, "name"),
        ({"url": ""}, "url"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({"url": "https://user:secret@notes.example"}, "use auth"),
        ({"url": "https://notes.example/${TOKEN}"}, "TOKEN is not set"),
        ({"transport": "pigeon"}, "transport"),
        ({"transport": "stdio", "command": "rm"}, "mcp_servers.json"),
        ({"auth": {"type": "bearer"}}, "auth.token"),
        ({"auth": {"type": "basic", "token": TOKEN}}, "auth.type"),
        ({"auth": {"type": "api-key", "token": TOKEN, "headerName": "a b"}}, "header"),
        ({"auth": {**AUTH, "token": "line\nbreak-in-it"}}, "header"),
    ],
)
async def test_what_can_not_be_a_server_is_named(
    tmp_path: Path, changes: dict[str, Any], words: str
):
    async with owned(tmp_path) as server:
        status, problem = await call(server, "POST", HERE, {**NOTES, **changes})
        assert (status, words in problem["error"]["message"]) == (400, True), problem
        assert TOKEN not in str(problem)
        assert (await call(server, "GET", HERE))[1]["servers"] == []


async def test_a_name_is_given_once_and_what_is_not_registered_is_not_changed(tmp_path: Path):
    async with with_notes(tmp_path) as server:
        assert (await call(server, "POST", HERE, NOTES))[0] == 409
        for method, path in (
            ("PUT", ""),
            ("DELETE", ""),
            ("POST", "/discover"),
            ("POST", "/allow"),
        ):
            status, problem = await call(server, method, f"{HERE}/nobody{path}", {})
            assert (status, problem["error"]["type"]) == (404, "unknown_mcp_server")
        status, problem = await call(server, "POST", f"{HERE}/notes/allow", {})
        assert (status, problem["error"]["type"]) == (409, "needs_no_consent")


async def test_no_agent_manages_servers_or_policies_with_its_own_token(tmp_path: Path):
    async with with_notes(tmp_path) as server:
        mine = {"headers": {"authorization": f"Bearer {await token_of_agent(server)}"}}
        for method, path in (
            ("POST", HERE),
            ("PUT", f"{HERE}/notes"),
            ("DELETE", f"{HERE}/notes"),
            ("POST", f"{HERE}/notes/discover"),
            ("POST", f"{HERE}/notes/allow"),
            ("POST", f"{HERE}/notes/restart"),
            ("PUT", "/v1/mcp/governance/policy"),
        ):
            status, problem = await call(server, method, path, {}, **mine)
            assert (status, problem["error"]["type"]) == (403, "rbac"), path
        status, problem = await call(server, "POST", "/v1/mcp/tools/call", LOOK, **mine)
        assert (status, problem["error"]["type"]) == (403, "rbac")
        assert server.backend.foreign.calls() == []


async def test_a_tool_is_called_by_either_path_under_the_policies(tmp_path: Path):
    async with with_notes(tmp_path) as server:
        status, answer = await call(server, "POST", "/v1/mcp/tools/call", LOOK)
        assert (status, answer["content"], answer["isError"]) == (
            200,
            [{"type": "text", "text": "hello"}],
            False,
        )
        for body in (LOOK["arguments"], {"arguments": LOOK["arguments"]}):
            status, answer = await call(server, "POST", "/v1/mcp/tools/notes/look", body)
            assert (status, answer["content"][0]["text"]) == (200, "hello")
        policy = {"tool_name": "mcp__notes__look", "requires_approval": True, "max_cost_usd": 0.5}
        status, kept = await call(server, "PUT", "/v1/mcp/governance/policy", policy)
        assert (status, kept["allowed"], kept["max_cost_usd"]) == (200, True, 0.5)
        status, waits = await call(server, "POST", "/v1/mcp/tools/call", LOOK)
        assert (status, waits["status"]) == (202, "pending_approval")
        _, rules = await call(server, "GET", "/v1/mcp/governance")
        assert (rules["policies"], rules["approvals"]) == ([kept], {"pending": 1})
        wider = await call(
            server, "POST", f"/v1/mcp/approvals/{waits['approvalId']}/approve", {"scope": "agent"}
        )
        assert wider[0] == 400
        denied = await call(server, "POST", f"/v1/mcp/approvals/{waits['approvalId']}/deny", {})
        assert denied[1]["status"] == "denied"
        later = await call(server, "POST", f"/v1/mcp/approvals/{waits['approvalId']}/approve", {})
        assert later[0] == 409
        _, audit = await call(server, "GET", "/v1/mcp/audit?limit=1")
        assert [one["approval"] for one in audit["entries"]] == ["denied"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"server_id": "nobody", "tool": "x"}, 404, "unknown_mcp_server"),
        ({"server_id": "notes", "tool": "x"}, 404, "unknown_tool"),
        ({"tool": "look"}, 400, "invalid_body"),
        ({**LOOK, "arguments": "hello"}, 400, "invalid_body"),
    ],
)
async def test_a_call_that_can_not_be_made_says_why(
    tmp_path: Path, body: dict[str, Any], status: int, code: str
):
    async with with_notes(tmp_path) as server:
        found, problem = await call(server, "POST", "/v1/mcp/tools/call", body)
        assert (found, problem["error"]["type"]) == (status, code)


async def test_a_policy_that_is_none_changes_nothing(tmp_path: Path):
    async with owned(tmp_path) as server:
        for wrong in ({}, {"tool_name": "x", "max_cost_usd": -1}, {"tool_name": "", "allowed": 1}):
            status, _ = await call(server, "PUT", "/v1/mcp/governance/policy", wrong)
            assert status == 400
        assert (await call(server, "GET", "/v1/mcp/governance"))[1]["policies"] == []
