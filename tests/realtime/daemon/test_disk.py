"""What a daemon says and keeps when its disk is full, slow or small, and when that is over."""

import asyncio
import contextlib
import resource
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider
from tests.realtime.daemon.world import (
    finished,
    frames,
    get,
    history,
    log_lines,
    of_type,
    say,
    session,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]

OFFLINE = {"BP_OFFLINE": "1"}
PATIENCE_S = 30.0


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "8m") -> Generator[Path]:
    """A file system of its own of that size; skipped where we may not mount."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    try:
        made = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("a file system of its own can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every byte that is left but for a few messages' worth."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1 << 9):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
        file.truncate(file.tell() - 256 * 1024)
    return ballast


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until an awaitable condition gives something true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if found := await holds():
                return found
            await asyncio.sleep(0.1)


async def health(daemon: RunningDaemon) -> dict[str, Any]:
    """The body of /health."""
    return await get(daemon, "/health")


async def healthy(daemon: RunningDaemon) -> bool:
    """Whether /health says nothing of trouble."""
    return "readOnly" not in await health(daemon)


async def refused_while_full(daemon: RunningDaemon, names: list[str]) -> list[str]:
    """Post until something is refused; the texts that were accepted before."""
    accepted: list[str] = []
    for number in range(2000):
        name, text = names[number % len(names)], f"message {number} " + "x" * 3000
        answer = await daemon.http.post(f"/sessions/{name}/messages", json={"content": text})
        if answer.status_code == 503:
            assert answer.json()["code"] in {"disk_full", "unavailable"}, answer.text
            assert accepted
            return accepted
        assert answer.status_code == 200, answer.text
        if answer.json()["accepted"]:
            accepted.append(text)
    raise AssertionError("the disk never filled up")


async def said_by_users(daemon: RunningDaemon, names: list[str]) -> list[str]:
    """Texts of the users' messages in the log."""
    lines = [line for name in names for line in await log_lines(daemon, name)]
    return [one["letter"]["content"] for one in lines if one["type"] == "letter_accepted"]


@pytest.mark.fault("D13", "D4", "A10")
async def test_a_full_disk_is_said_and_left_without_help_and_nothing_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    with small_disk(home.data_dir):
        async with home.running() as daemon:
            names = [await session(daemon) for _ in range(2)]
            await say(daemon, names[0], "before")
            ballast = fill(home.data_dir)
            accepted = await refused_while_full(daemon, names)
            body = await until(lambda: _read_only(daemon))
            assert body["readOnly"] in {"disk_full", "unavailable"}
            # Everything that needs no disk goes on.
            assert (await daemon.http.get("/readyz")).status_code == 503
            assert (await get(daemon, "/metrics"))["readOnly"] == body["readOnly"]
            text = await daemon.http.get("/metrics", headers={"accept": "text/plain"})
            assert "brainpilot_rt_read_only 1.0" in text.text
            assert await history(daemon, names[0]) != []
            async with (
                asyncio.timeout(PATIENCE_S),
                frames(daemon, f"/sse/{names[0]}?after=0") as each,
            ):
                async for _, frame in each:
                    if frame.get("name") == "session_heartbeat":
                        assert frame["value"]["read_only"] == body["readOnly"]
                        break
            ballast.unlink()
            await until(lambda: healthy(daemon))
            assert (await daemon.http.get("/readyz")).status_code == 200
            assert (await say(daemon, names[1], "after"))["accepted"] is True
            for name in names:
                assert violations(await finished(daemon, name)) == []
            said = await said_by_users(daemon, names)
            assert [one for one in accepted if said.count(one) != 1] == []
            assert await daemon.stop() == 0
        async with home.running() as daemon:
            for name in names:
                assert violations(await finished(daemon, name)) == []
            again = await said_by_users(daemon, names)
            assert [one for one in [*accepted, "before", "after"] if again.count(one) != 1] == []


async def _read_only(daemon: RunningDaemon) -> dict[str, Any] | None:
    body = await health(daemon)
    return body if "readOnly" in body else None


@pytest.mark.fault("D13", "A10")
async def test_a_daemon_on_a_full_disk_stops_when_told_and_the_next_one_finds_all_it_accepted(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    with small_disk(home.data_dir):
        async with home.running() as daemon:
            names = [await session(daemon)]
            await say(daemon, names[0], "before")
            ballast = fill(home.data_dir)
            accepted = await refused_while_full(daemon, names)
            assert await daemon.stop() == 0
        ballast.unlink()
        async with home.running() as daemon:
            assert violations(await finished(daemon, names[0])) == []
            said = await said_by_users(daemon, names)
            assert [one for one in [*accepted, "before"] if said.count(one) != 1] == []


@pytest.mark.fault("D13", "A10")
async def test_a_daemon_killed_on_a_full_disk_loses_nothing_it_had_accepted(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    with small_disk(home.data_dir):
        async with home.running() as daemon:
            names = [await session(daemon)]
            ballast = fill(home.data_dir)
            accepted = await refused_while_full(daemon, names)
            await daemon.kill()
        # A start on the full disk is an error in words, or works; never a loss.
        refused = await home.command(
            "serve", "--port", "0", "--json", FAILPOINTS="boot.listen.after=kill"
        )
        assert "Traceback" not in refused.err
        ballast.unlink()
        async with home.running() as daemon:
            assert violations(await finished(daemon, names[0])) == []
            said = await said_by_users(daemon, names)
            assert [one for one in accepted if said.count(one) != 1] == []


@pytest.mark.fault("D13", "H12")
async def test_a_tool_that_meets_a_full_disk_is_told_and_the_turn_goes_on(tmp_path: Path) -> None:
    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield Call("write", {"path": "big.txt", "content": "x" * 3_000_000})
            yield Call("bash", {"command": "head -c 100000000 /dev/zero > zeros; echo code $?"})
        else:
            yield "done"

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env={**told.env, "BP_SHELL": "unsandboxed"})
        home.configure("")
        with small_disk(home.data_dir / "workspaces", "1m"):
            async with home.running() as daemon:
                name = await session(daemon)
                await say(daemon, name, "go")
                lines = await finished(daemon, name)
        assert violations(lines) == []
        results = of_type(lines, "tool_finished")
        assert "No space left" in str(results)
        assert [one["outcome"] for one in of_type(lines, "host_turn_finished")] == ["completed"]


@pytest.mark.fault("A9", "D4", "D13")
async def test_a_file_size_limit_is_a_refusal_and_not_a_death(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        names = [await session(daemon)]
        wal = (home.data_dir / "log.db-wal").stat().st_size
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (wal + 200_000, -1))
        accepted = await refused_while_full(daemon, names)
        assert await _read_only(daemon)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
        await until(lambda: healthy(daemon))
        assert violations(await finished(daemon, names[0])) == []
        said = await said_by_users(daemon, names)
        assert [one for one in accepted if said.count(one) != 1] == []


@pytest.mark.fault("A22", "I8")
async def test_a_disk_that_takes_seconds_blocks_its_commit_and_not_the_daemon(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running(FAILPOINTS="log.commit.before=delay:2000@3+") as daemon:
        name = await session(daemon)
        loop = asyncio.get_running_loop()
        waits: list[float] = []
        posted = loop.time()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(say(daemon, name, "hello"))
            while not asked.done():
                began = loop.time()
                await health(daemon)
                await get(daemon, "/metrics")
                waits.append(loop.time() - began)
        assert loop.time() - posted >= 2.0
        assert max(waits) < 1.5
        text = (await daemon.http.get("/metrics", headers={"accept": "text/plain"})).text
        assert "brainpilot_rt_loop_blocked 0.0" in text
