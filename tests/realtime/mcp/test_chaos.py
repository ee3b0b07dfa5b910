"""Programs that die, flood, hang or leave something behind."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import process
from brainpilot_rt.tools.mcp.config import McpLimits, ServerConfig
from brainpilot_rt.tools.shell import MARKER
from tests.realtime.mcp.world import call, chaos, pool_of, told

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the test's own timeout bounds it
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether it runs; who is dead and not yet buried does not."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.mark.fault("S23")
async def test_a_program_gets_a_few_harmless_variables_and_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-daemon")
    async with pool_of(chaos(env={"MINE": "yes"}), folder=tmp_path) as pool:
        output = await call(pool, tmp_path, "mcp__chaos__env")
        found = json.loads(output.content)
        assert found["MINE"] == "yes"
        harmless = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}
        python_own = {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}
        assert set(found) - harmless - python_own == {"MINE", MARKER}


@pytest.mark.fault("H1", "H5")
@pytest.mark.parametrize("way", ["die", "kill"])
async def test_a_program_that_dies_in_a_call_is_named_and_started_again(tmp_path: Path, way: str):
    async with pool_of(chaos(), folder=tmp_path) as pool:
        output = await call(pool, tmp_path, f"mcp__chaos__{way}")
        assert output.unknown
        assert "MCP server chaos died during the call" in output.content
        assert "may or may not have taken effect" in output.content
        await until(lambda: told(pool, "chaos")["state"] == "failed")
        await until(lambda: told(pool, "chaos")["state"] == "ready")
        assert json.loads((await call(pool, tmp_path, "mcp__chaos__report")).content) == [
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call",
        ]


@pytest.mark.fault("H1")
async def test_a_program_that_does_not_start_says_why_and_costs_no_other(tmp_path: Path):
    missing = ServerConfig(name="missing", command="no-such-program")
    async with pool_of(chaos("bad", "exit"), missing, chaos(), folder=tmp_path) as pool:
        assert told(pool, "chaos")["state"] == "ready"
        assert "there is no program 'no-such-program'" in told(pool, "missing")["error"]
        assert "configuration missing" in told(pool, "bad")["error"]
        assert pool.status()["state"] == "degraded"


@pytest.mark.fault("H3")
async def test_a_line_without_end_ends_the_connection(tmp_path: Path):
    async with pool_of(
        chaos(), folder=tmp_path, limits=McpLimits(message_bytes_max=1 << 20)
    ) as pool:
        output = await call(pool, tmp_path, "mcp__chaos__line")
        assert output.unknown
        assert "it sent a message longer than 1,048,576 bytes" in output.content


@pytest.mark.fault("H5", "H6")
async def test_what_is_no_message_is_skipped_until_it_is_too_much(tmp_path: Path):
    limits = McpLimits(unasked_burst=100, unasked_per_s=0)
    async with pool_of(chaos(), folder=tmp_path, limits=limits) as pool:
        output = await call(pool, tmp_path, "mcp__chaos__garbage", lines=50)
        assert output.content == "after the garbage"
        output = await call(pool, tmp_path, "mcp__chaos__garbage", lines=500)
        assert "more than 100 messages that nobody had asked for" in output.content


@pytest.mark.fault("H4")
async def test_a_flood_on_standard_error_is_read_and_logged_up_to_a_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "brainpilot_rt.tools.mcp")
    async with pool_of(chaos(), folder=tmp_path) as pool:
        output = await call(pool, tmp_path, "mcp__chaos__errors")
        assert output.content == "after the errors"
        await until(lambda: "writes too much to standard error" in caplog.text)
    assert len(caplog.text) < 400_000


async def test_a_secret_a_program_was_given_is_hidden_in_what_we_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "brainpilot_rt.tools.mcp")
    secret = "configuration"
    async with pool_of(chaos("bad", "exit", env={"KEY": secret}), folder=tmp_path) as pool:
        assert "[hidden] missing" in told(pool, "bad")["error"]
    assert secret not in caplog.text


@pytest.mark.fault("H2")
async def test_a_program_that_ignores_everything_frees_the_call_and_is_killed(tmp_path: Path):
    async with pool_of(chaos(), folder=tmp_path, limits=McpLimits(calls_max=1)) as pool:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(call(pool, tmp_path, "mcp__chaos__mute"))
            await asyncio.sleep(0.1)
            asked.cancel()
        assert asked.cancelled()
        output = await call(pool, tmp_path, "mcp__chaos__report")
        assert json.loads(output.content)[-2:] == ["notifications/cancelled", "tools/call"]
        pid = int((await call(pool, tmp_path, "mcp__chaos__fork")).content)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(call(pool, tmp_path, "mcp__chaos__deaf"))
            await asyncio.sleep(0.1)
            asked.cancel()
        assert asked.cancelled()
    assert not alive(pid)


@pytest.mark.fault("H7")
async def test_a_program_that_closes_its_input_counts_as_gone(tmp_path: Path):
    async with pool_of(chaos(), folder=tmp_path) as pool, asyncio.TaskGroup() as group:
        deaf = group.create_task(call(pool, tmp_path, "mcp__chaos__deaf"))
        await asyncio.sleep(0.2)
        second = await call(pool, tmp_path, "mcp__chaos__echo", text="x" * 500_000)
        assert second.unknown
        assert "it closed its input" in second.content
        assert (await deaf).unknown


async def test_a_killed_daemon_finds_its_programs_by_their_mark(tmp_path: Path):
    async with pool_of(chaos(), folder=tmp_path) as pool:
        pid = int((await call(pool, tmp_path, "mcp__chaos__fork")).content)
        assert alive(pid)
        await process.end_marked(MARKER, str(tmp_path), grace_s=1.0)
        await until(lambda: not alive(pid))
