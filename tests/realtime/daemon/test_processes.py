"""Nothing a tool started outlives its call, the stop or the death of the daemon."""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Reply, provider
from tests.realtime.daemon.world import (
    finished,
    get,
    logged,
    of_type,
    say,
    session,
    true,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(90)]

ZOO = """
sleep {mark} & nohup sleep {mark} >/dev/null 2>&1 &
setsid sleep {mark} &
(setsid sh -c 'sleep {mark} & exit' &)
sh -c 'trap "" TERM HUP INT; while :; do sleep {mark}; done' &
sleep {mark} & kill -STOP $!
exec 9>held; setsid sh -c 'sleep {mark}; :' &
touch begun; sleep {mark}
"""
"""Children of every habit; `{mark}` is a number of seconds that nobody else sleeps."""


def marked(mark: str) -> list[int]:
    """Processes that have the mark on their command line."""
    found: list[int] = []
    for home in Path("/proc").iterdir():
        with suppress(OSError):
            if home.name.isdecimal() and mark.encode() in (home / "cmdline").read_bytes():
                state = (home / "stat").read_bytes().rpartition(b")")[2].split()[0]
                found += [int(home.name)] if state != b"Z" else []
    return found


def mark() -> str:
    """Seconds that nobody else sleeps."""
    return f"86400.{secrets.randbelow(10**9):09}"


@asynccontextmanager
async def running_tool(
    root: Path, shell: str, command: str
) -> AsyncGenerator[tuple[DaemonHome, RunningDaemon, str, Path]]:
    """A daemon whose principal has begun this command; its home, itself, session, work tree."""

    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield Call("bash", {"command": command})
        else:
            yield "done"

    async with provider(script) as told:
        home = DaemonHome(root, env={**told.env, "BP_SHELL": shell})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "go")
            yield home, daemon, name, home.data_dir / "workspaces" / name


def shells() -> list[str]:
    """The ways a command may run here."""
    return ["unsandboxed", *(["sandbox"] if shutil.which("bwrap") else [])]


both = pytest.mark.parametrize("shell", shells())


@pytest.mark.fault("H12", "F3", "H15")
@both
@pytest.mark.parametrize("how", ["interrupt", "stop"])
async def test_a_stop_ends_every_descendant_of_a_command(
    tmp_path: Path, shell: str, how: str
) -> None:
    seconds = mark()
    async with running_tool(tmp_path, shell, ZOO.format(mark=seconds)) as at:
        _, daemon, name, tree = at
        await true((tree / "begun").exists)
        assert len(marked(seconds)) >= 5
        if how == "interrupt":
            answer = await daemon.http.post(f"/sessions/{name}/interrupt", json={})
            assert answer.status_code == 200
            assert marked(seconds) == []
            assert violations(await finished(daemon, name)) == []
        else:
            assert await daemon.stop() == 0
            assert marked(seconds) == []


@pytest.mark.fault("F11", "F7", "S35")
@both
async def test_the_start_after_a_kill_finds_and_ends_what_the_killed_daemon_ran(
    tmp_path: Path, shell: str
) -> None:
    seconds = mark()
    stranger = await asyncio.create_subprocess_exec(
        "sleep", seconds, env={"BRAINPILOT_CALL": "bp-ffffffffffffffff-x"}
    )
    try:
        async with running_tool(tmp_path, shell, ZOO.format(mark=seconds)) as at:
            home, daemon, name, tree = at
            await true((tree / "begun").exists)
            await daemon.kill()
            if shell == "sandbox":
                await true(lambda: marked(seconds) == [stranger.pid])
            else:
                assert len(marked(seconds)) >= 5
            async with home.running() as daemon:
                assert marked(seconds) == [stranger.pid]
                lines = await finished(daemon, name)
        assert violations(lines) == []
        assert [one["status"] for one in of_type(lines, "tool_finished")] == ["unknown"]
    finally:
        stranger.kill()
        await stranger.wait()


@pytest.mark.fault("F7", "S23")
@both
async def test_a_command_inherits_no_descriptor_of_the_daemon(tmp_path: Path, shell: str) -> None:
    async with running_tool(tmp_path, shell, "ls -l /proc/self/fd") as at:
        _, daemon, name, _ = at
        lines = await finished(daemon, name)
    shown = of_type(lines, "tool_finished")[0]["content"]
    opened = {line.split(" -> ")[1] for line in shown.splitlines() if " -> " in line}
    pipes = {one for one in opened if one.startswith("pipe:")}
    assert len(pipes) == 1  # its output; the event loop may leave it there under a second number
    assert {one for one in opened - pipes if not one.startswith("/proc/")} == {"/dev/null"}


@pytest.mark.fault("H12", "S26")
@both
async def test_a_command_runs_within_limits_but_not_within_a_time(
    tmp_path: Path, shell: str
) -> None:
    command = (
        "ulimit -a; cat /proc/self/oom_score_adj; cat; (: </dev/tty) && echo terminal; "
        "exec >&-; echo x"
    )
    async with running_tool(tmp_path, shell, command) as at:
        _, daemon, name, _ = at
        lines = await finished(daemon, name)
    assert violations(lines) == []
    shown = of_type(lines, "tool_finished")[0]["content"].splitlines()
    limits = {line.split("(")[0].strip(): line.split()[-1] for line in shown if "(" in line}
    assert limits["core file size"] == "0"
    assert limits["file size"] != "unlimited"
    assert limits["data seg size"] != "unlimited"
    assert int(limits["open files"]) <= 4096
    assert limits["cpu time"] == "unlimited"
    assert "700" in shown
    assert "terminal" not in shown


@pytest.mark.fault("H12", "S26")
@pytest.mark.parametrize(
    "command",
    ["yes", "yes >&2", "head -c 100 /dev/zero; while :; do head -c 1000000 /dev/zero; done"],
)
async def test_a_flood_leaves_the_daemon_small_quick_and_able_to_stop_it(
    tmp_path: Path, command: str
) -> None:
    async with running_tool(tmp_path, "unsandboxed", command) as at:
        _, daemon, name, _ = at
        await logged(daemon, name, lambda one: one["type"] == "tool_started")
        loop = asyncio.get_running_loop()
        before = (await get(daemon, "/metrics"))["memRss"]
        worst, until = 0.0, loop.time() + 3
        while loop.time() < until:
            began = loop.time()
            await get(daemon, "/health")
            worst = max(worst, loop.time() - began)
        grown = (await get(daemon, "/metrics"))["memRss"] - before
        assert grown < 64 * 2**20
        assert worst < 2
        began = loop.time()
        await daemon.http.post(f"/sessions/{name}/interrupt", json={})
        assert loop.time() - began < 10
        assert violations(await finished(daemon, name)) == []


@pytest.mark.fault("H12")
@both
async def test_a_breeding_command_is_ended_whole(tmp_path: Path, shell: str) -> None:
    seconds = mark()
    command = (
        f"breed() {{ sleep {seconds} & (trap '' TERM; sleep {seconds}) & }}; "
        "for i in $(seq 150); do breed; done; touch begun; wait"
    )
    async with running_tool(tmp_path, shell, command) as at:
        _, daemon, name, tree = at
        await true((tree / "begun").exists)
        assert len(marked(seconds)) >= 250
        answer = await daemon.http.post(f"/sessions/{name}/interrupt", json={})
        assert answer.status_code == 200
        assert marked(seconds) == []


@pytest.mark.fault("F7")
async def test_a_new_daemon_starts_though_a_child_of_the_killed_one_still_lives(
    tmp_path: Path,
) -> None:
    seconds = mark()
    # A child that clears its environment and leaves its session is beyond what can be found.
    command = f"(env -i setsid sleep {seconds} &) ; sleep 0.2; touch begun; sleep {seconds}"
    try:
        async with running_tool(tmp_path, "unsandboxed", command) as at:
            home, daemon, _, tree = at
            await true((tree / "begun").exists)
            port = daemon.url.rpartition(":")[2]
            await daemon.kill()
            async with home.running("--port", port) as daemon:
                assert daemon.url.endswith(port)
                assert len(marked(seconds)) == 1
    finally:
        for pid in marked(seconds):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.fault("S13")
async def test_nothing_is_left_in_the_shared_temporary_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    names: set[str] = set()

    def seen() -> bool:
        names.update(one.name for one in shared.iterdir())
        return False

    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield Call("bash", {"command": "seq 1 100000; ls -a /tmp"})
        else:
            yield "done"

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env={**told.env, "TMPDIR": str(shared)})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "go")
            lines = await _watched(daemon, name, seen)
            assert await daemon.stop() == 0
    assert violations(lines) == []
    assert list(shared.iterdir()) == []
    assert all(one.startswith(("bp-probe-", "tmp", "etilqs_")) for one in names), names


async def _watched(
    daemon: RunningDaemon, name: str, look: Callable[[], bool]
) -> list[dict[str, object]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(finished(daemon, name))
        while not task.done():
            look()
            await asyncio.sleep(0.01)
    return task.result()


@pytest.mark.fault("H12", "S26")
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
async def test_what_a_command_fills_in_its_sandbox_is_bounded_and_gone_with_it(
    tmp_path: Path,
) -> None:
    command = (
        "for at in / /dev /etc /run /proc; do touch $at/x 2>/dev/null && echo wrote $at; done; "
        "for at in /tmp /var/tmp /dev/shm ~; do truncate -s 1 $at/x && stat -f -c '%S %b' $at; done"
    )
    async with running_tool(tmp_path, "sandbox", command) as at:
        _, daemon, name, _ = at
        shown = of_type(await finished(daemon, name), "tool_finished")[0]["content"]
    sizes = [line.split() for line in shown.splitlines()]
    assert "wrote" not in shown
    assert len(sizes) == 4
    assert all(int(block) * int(count) <= 2**30 for block, count in sizes)
