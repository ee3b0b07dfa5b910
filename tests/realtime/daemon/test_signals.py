"""What signals do to a daemon, in whatever it is, and what is left afterwards."""

import asyncio
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider
from tests.realtime.daemon.world import (
    finished,
    get,
    log_lines,
    logged,
    of_type,
    say,
    session,
    true,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(90)]

OFFLINE = {"BP_OFFLINE": "1"}
STOP_MAX_S = 10.0


async def stopped(daemon: RunningDaemon) -> tuple[int, float]:
    """Exit code after one SIGTERM, and how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await daemon.stop(), loop.time() - began


@asynccontextmanager
async def starting(home: DaemonHome, **env: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A daemon that may never get ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "brainpilot_rt", "serve", "--port", "0", "--json",
        cwd=home.root, env=home.environment(**env), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def is_whole(data: Path) -> bool:
    """Whether the log can be opened and is sound."""
    with sqlite3.connect(data / "log.db") as db:
        return db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def is_alive(pid: str) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid.strip()}").exists()


@pytest.mark.fault("F3")
async def test_an_idle_daemon_told_to_stop_leaves_in_order(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        await session(daemon)
        code, took = await stopped(daemon)
        assert (code, took < STOP_MAX_S) == (0, True)
    left = {one.name for one in home.data_dir.iterdir()}
    assert left.isdisjoint({"daemon.json", "daemon.pid", "log.db-wal"})


@pytest.mark.fault("F3", "F9")
async def test_a_daemon_told_to_stop_in_the_middle_of_a_turn_leaves_the_run_to_the_next_one(
    tmp_path: Path,
) -> None:
    never = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        yield "half"
        if ask.number == 0:
            await never.wait()
        yield " and half."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "go")
            await told.until_asked(1)
            code, took = await stopped(daemon)
            assert (code, took < STOP_MAX_S) == (0, True)
        async with home.running() as daemon:
            assert violations(await finished(daemon, name)) == []


@pytest.mark.fault("F3")
async def test_a_tool_that_ignores_the_end_does_not_hold_up_the_stop_and_does_not_outlive_it(
    tmp_path: Path,
) -> None:
    command = "echo $$ > pid; trap '' TERM HUP INT; while :; do sleep 0.1; done"

    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield Call("bash", {"command": command})
        else:
            yield "done"

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env={**told.env, "BP_SHELL": "unsandboxed"})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "go")
            pid_file = home.data_dir / "workspaces" / name / "pid"
            await true(lambda: pid_file.exists() and pid_file.read_text().strip() != "")
            code, took = await stopped(daemon)
            assert (code, took < STOP_MAX_S) == (0, True)
            assert not is_alive(pid_file.read_text())
        async with home.running() as daemon:
            assert violations(await finished(daemon, name)) == []


@pytest.mark.fault("F3", "A22")
async def test_a_stop_while_the_disk_is_slow_waits_for_the_commit(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running(FAILPOINTS="log.commit.before=delay:700@3+") as daemon:
        name = await session(daemon)
        await say(daemon, name, "hello")
        code, took = await stopped(daemon)
        assert (code, took < STOP_MAX_S) == (0, True)
    assert is_whole(home.data_dir)
    async with home.running() as daemon:
        lines = await finished(daemon, name)
    assert len(of_type(lines, "host_turn_started")) == 1
    assert violations(lines) == []


@pytest.mark.fault("F4")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once_with_its_own_code_wherever_the_stop_is(
    tmp_path: Path, second: signal.Signals
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    for point in ("stop.asked.after", "stop.http.after"):
        async with home.running(FAILPOINTS=f"{point}=delay:3000") as daemon:
            name = await session(daemon)
            daemon.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert await daemon.stop(second) == 130
    async with home.running() as daemon:
        assert await log_lines(daemon, name) != []
        assert await daemon.stop() == 0


@pytest.mark.fault("F4")
async def test_signals_that_are_not_stops_change_nothing(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            daemon.process.send_signal(number)
        name = await session(daemon)
        await say(daemon, name, "hello")
        assert violations(await finished(daemon, name)) == []
        assert await daemon.stop(signal.SIGINT) == 0


@pytest.mark.fault("F12")
@pytest.mark.parametrize(
    "point",
    ["boot.lock.before", "boot.lock.after", "log.migrate.before", "boot.sweep.before",
     "boot.listen.after", "boot.ready.before"],
)  # fmt: skip
async def test_a_stop_during_the_start_is_clean_and_the_next_start_finds_nothing_odd(
    tmp_path: Path, point: str
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with starting(home, FAILPOINTS=f"{point}=delay:1000") as process:
        await asyncio.sleep(0.2)
        # Before its handlers are in place a process ends as any other does.
        caught = Path(f"/proc/{process.pid}/status")
        await true(lambda: _handles(caught, signal.SIGTERM))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_MAX_S):
            assert await process.wait() == 0
    assert not (home.data_dir / "daemon.json").exists()
    async with home.running() as daemon:
        await session(daemon)
        assert (await get(daemon, "/metrics"))["auditViolations"] == 0
        assert await daemon.stop() == 0


def _handles(status: Path, number: signal.Signals) -> bool:
    mask = next(one for one in status.read_text().splitlines() if one.startswith("SigCgt"))
    return bool(int(mask.split()[1], 16) & 1 << (number - 1))


@pytest.mark.fault("E6", "E5")
async def test_a_daemon_that_was_stopped_for_a_while_goes_on_where_it_was(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(_ask: Ask) -> Reply:
        yield "one"
        await go.wait()
        yield " two."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "go")
            await told.until_asked(1)
            daemon.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2)
            go.set()
            daemon.process.send_signal(signal.SIGCONT)
            lines = await finished(daemon, name)
            assert violations(lines) == []
            assert of_type(lines, "host_turn_finished")[0]["answer"] == "one two."
            assert len(told.asks) == 1


@pytest.mark.fault("E7")
async def test_a_starved_daemon_is_slow_and_nothing_else(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        name = await session(daemon)
        loops = [
            await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done")
            for _ in range(16)
        ]
        try:
            await say(daemon, name, "hello")
            lines = await logged(daemon, name, lambda one: one["type"] == "host_turn_finished")
        finally:
            for one in loops:
                one.kill()
            for one in loops:
                await one.wait()
        assert [one["outcome"] for one in lines] == ["completed"]
        assert violations(await finished(daemon, name)) == []


@pytest.mark.fault("F13")
@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
async def test_a_daemon_whose_data_directory_goes_ends_with_an_error_and_makes_no_new_one(
    tmp_path: Path, how: str
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        name = await session(daemon)
        await say(daemon, name, "hello")
        away = tmp_path / "away"
        home.data_dir.rename(away)
        if how == "removed":
            await asyncio.to_thread(shutil.rmtree, away)
        if how == "replaced":
            home.data_dir.mkdir(mode=0o700)
        assert await daemon.ended() == 1
        assert "removed or replaced" in daemon.said()
        assert "Traceback" not in daemon.said()
    left = [one.name for one in home.data_dir.iterdir()] if home.data_dir.exists() else None
    assert left is None or (how == "replaced" and set(left) <= {"mailbox"})
    if how == "moved":
        away.rename(home.data_dir)
        async with home.running() as daemon:
            assert violations(await finished(daemon, name)) == []
