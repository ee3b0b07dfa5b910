"""All servers together: which run, how they are told, what they offer."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from brainpilot_rt.testing.fake_mcp import FakeMcp, listed
from tests.unit.tools.mcp.conftest import MakePool, config


async def test_without_servers_there_is_nothing_configured(pool_of: MakePool):
    async with pool_of() as pool:
        assert pool.pool.status() == {"state": "unconfigured", "servers": [], "problems": []}
        assert pool.pool.tools() == []


async def test_the_state_of_all_is_ready_degraded_or_failed(pool_of: MakePool):
    def broken() -> FakeMcp:
        fake = FakeMcp()
        fake.refusals.extend(OSError(5, "broken") for _ in range(9))
        return fake

    async with pool_of(a=FakeMcp(), b=FakeMcp()) as pool:
        assert pool.pool.status()["state"] == "ready"
    async with pool_of(a=FakeMcp(), b=broken()) as pool:
        assert pool.pool.status()["state"] == "degraded"
        assert pool.told("b")["error"] == "broken"
        assert [one.name for one in pool.pool.tools()] == ["mcp__a__echo"]
    async with pool_of(b=broken()) as pool:
        assert pool.pool.status()["state"] == "failed"


async def test_a_server_that_ran_before_tells_its_protocol(pool_of: MakePool):
    async with pool_of(a=FakeMcp()) as pool:
        assert pool.told("a") == {
            "name": "a",
            "state": "ready",
            "transport": "stdio",
            "tools": 1,
            "protocol": "2025-11-25",
        }


async def test_a_changed_configuration_restarts_that_server_only(pool_of: MakePool):
    fakes = {"a": FakeMcp(), "b": FakeMcp(), "c": FakeMcp()}
    async with pool_of(**fakes) as pool:
        await pool.pool.use([config("a"), config("b", args=("--more",))])
        await pool.pool.load()
        assert pool.states() == {"a": "ready", "b": "ready"}
        assert [fake.connected for fake in fakes.values()] == [1, 2, 1]


async def test_another_program_of_the_same_name_may_not_inherit_what_was_looked_at(
    pool_of: MakePool,
):
    fake = FakeMcp()
    async with pool_of(a=fake) as pool:
        old = pool.pool.digest("mcp__a__echo")
        fake.tools = [listed("echo", "does something else")]
        await pool.pool.use([config("a", args=("--other",))])
        await pool.pool.load()
        assert pool.changes == [("a", "echo", old, pool.pool.digest("mcp__a__echo"))]


async def test_of_two_servers_with_one_name_the_first_counts(pool_of: MakePool):
    async with pool_of(a=FakeMcp()) as pool:
        await pool.pool.use([config("a"), config("a", args=("x",))], ["file: broken"])
        assert pool.pool.status()["problems"] == [
            "file: broken",
            "server 'a' is configured twice; the first counts",
        ]


async def test_a_server_of_a_project_does_not_start_before_consent(pool_of: MakePool):
    fake = FakeMcp()
    async with pool_of(a=fake) as pool:
        await pool.pool.use([config("a", trusted=False, content="c1", summary="run me")])
        await pool.pool.load()
        assert pool.told("a")["state"] == "needs_consent"
        assert pool.told("a")["runs"] == "run me"
        assert pool.pool.status()["state"] == "not_loaded"
        assert not await pool.pool.restart("a")
        assert fake.connected == 1
        assert await pool.pool.allow("a") == "c1"
        assert pool.states() == {"a": "ready"}
        assert await pool.pool.allow("a") is None


async def test_consent_binds_to_what_the_file_said(pool_of: MakePool):
    one = config("a", trusted=False, content="c1")
    async with pool_of(a=FakeMcp()) as pool:
        await pool.pool.use([one])
        await pool.pool.allow("a")
        await pool.pool.use([one])
        assert pool.states() == {"a": "ready"}
        await pool.pool.use([replace(one, content="c2", args=("-rf",))])
        assert pool.states() == {"a": "needs_consent"}


async def test_a_tool_keeps_its_object_as_long_as_its_definition(pool_of: MakePool):
    async with pool_of(a=FakeMcp()) as pool:
        assert pool.tool("mcp__a__echo") is pool.tool("mcp__a__echo")


async def test_a_missing_argument_is_named_before_anything_runs(pool_of: MakePool):
    schema: dict[str, object] = {"type": "object", "properties": {"path": {}}, "required": ["path"]}
    fake = FakeMcp([listed("read") | {"inputSchema": schema}])
    async with pool_of(a=fake) as pool:
        with pytest.raises(ValidationError, match="missing: path"):
            await pool.call("mcp__a__read", text="x")
        await pool.call("mcp__a__read", path="x", model_config=1, _private=2)
        assert fake.asked[-1][1]["arguments"] == {"path": "x", "model_config": 1, "_private": 2}


async def test_a_restart_is_immediate_and_asked_of_servers_that_exist(pool_of: MakePool):
    fake = FakeMcp()
    async with pool_of(a=fake) as pool:
        assert await pool.pool.restart("a")
        assert fake.connected == 2
        assert not await pool.pool.restart("b")
