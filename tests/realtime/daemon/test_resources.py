"""A daemon that runs short of descriptors, memory, threads or readers."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
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


@contextlib.asynccontextmanager
async def serving(home: DaemonHome, shell: str, **how: Any) -> AsyncGenerator[RunningDaemon]:
    """A daemon started by a line of shell, in which `$@` is its command."""
    words = [sys.executable, "-m", "brainpilot_rt", "serve", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", shell, "sh", *words, cwd=home.root, env=home.environment(), **how
    )
    try:
        await true((home.data_dir / "daemon.json").exists)
        ready = ready_of(home)
        async with httpx.AsyncClient(
            base_url=ready["url"],
            headers={"authorization": f"Bearer {ready['token']}"},
            timeout=30,
            trust_env=False,
        ) as http:
            yield RunningDaemon(process, ready, http, Path(os.devnull))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def queue_max() -> int:
    """Events the kernel keeps for a watcher that does not read."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))


def descriptors(daemon: RunningDaemon) -> int:
    """How many the daemon has open."""
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def memory(daemon: RunningDaemon) -> int:
    """Bytes of address space."""
    pages = Path(f"/proc/{daemon.process.pid}/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def ready_of(home: DaemonHome) -> dict[str, Any]:
    """What a daemon wrote about itself, and its token."""
    ready: dict[str, Any] = json.loads((home.data_dir / "daemon.json").read_text())
    return {**ready, "token": Path(ready["token_file"]).read_text().strip()}


@contextlib.asynccontextmanager
async def many_connections(daemon: RunningDaemon, count: int) -> AsyncGenerator[None]:
    """So many clients that connect and say nothing."""
    port = int(daemon.url.rpartition(":")[2])
    writers: list[asyncio.StreamWriter] = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):
                writers.append((await asyncio.open_connection("127.0.0.1", port))[1])
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


@pytest.mark.fault("A14")
async def test_when_strangers_take_every_connection_the_log_the_metrics_and_the_stop_go_on(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with serving(home, 'ulimit -n 128; exec "$@"') as daemon:
        name = await session(daemon)
        async with many_connections(daemon, 300):
            assert descriptors(daemon) < 128
            # Whoever is connected is served, and what the work needs was kept back.
            assert (await get(daemon, "/health"))["status"] == "ok"
            assert (await get(daemon, "/metrics"))["auditViolations"] == 0
            await say(daemon, name, "hello")
            lines = await logged(daemon, name, lambda one: one["type"] == "host_turn_finished")
            assert [one["outcome"] for one in lines] == ["completed"]
        await true(lambda: descriptors(daemon) < 64)
        assert (await home.command("sessions", "--json")).code == 0
        assert violations(await finished(daemon, name)) == []
        assert await daemon.stop() == 0


@pytest.mark.fault("A14")
async def test_a_tool_without_a_descriptor_is_an_error_of_the_call(tmp_path: Path) -> None:
    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield Call("bash", {"command": "echo hello"})
            yield Call("write", {"path": "a.txt", "content": "x"})
        else:
            yield "done"

    go = asyncio.Event()

    async def paused(ask: Ask) -> Reply:
        if ask.number == 0:
            await go.wait()
        async for one in script(ask):
            yield one

    async with provider(paused) as told:
        home = DaemonHome(tmp_path, env={**told.env, "BP_SHELL": "unsandboxed"})
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "go")
            await told.until_asked(1)
            taken = descriptors(daemon)
            before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (taken, before[1]))
            go.set()
            await logged(daemon, name, lambda one: one["type"] == "tool_finished", count=2)
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
            lines = await finished(daemon, name)
            assert violations(lines) == []
            assert await daemon.stop() == 0


@pytest.mark.fault("E8")
async def test_a_daemon_out_of_memory_refuses_or_dies_and_the_next_one_has_what_it_accepted(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    accepted: list[str] = []
    async with home.running() as daemon:
        name = await session(daemon)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_AS, (memory(daemon) + 2**20, -1))
        with contextlib.suppress(httpx.HTTPError):
            for number in range(30):
                text = f"message {number} " + "x" * 150_000
                answer = await daemon.http.post(
                    f"/sessions/{name}/messages", json={"content": text}, timeout=10
                )
                if answer.status_code == 200 and answer.json()["accepted"]:
                    accepted.append(text)
        await daemon.kill()
    async with home.running() as daemon:
        lines = await log_lines(daemon, name)
        said = [one["letter"]["content"] for one in of_type(lines, "letter_accepted")]
        assert [one for one in accepted if said.count(one) != 1] == []
        assert (await get(daemon, "/metrics"))["auditViolations"] == 0


@pytest.mark.fault("E9")
async def test_who_blocks_the_loop_for_seconds_is_named_while_it_does(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running(FAILPOINTS="stop.asked.after=delay:7500") as daemon:
        assert await daemon.stop() == 0
    assert "Timeout (0:00:06)" in daemon.said()
    assert "failpoints.py" in daemon.said()
    assert "in _work" in daemon.said()


@pytest.mark.fault("E11")
async def test_a_daemon_whose_reader_has_left_goes_on(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with serving(home, '("$@" --json; echo $? > code) | true', stderr=None) as daemon:
        assert await _asked(home)
        os.kill(daemon.ready["pid"], signal.SIGTERM)
        await true((home.root / "code").exists)
        await daemon.process.wait()
    assert (home.root / "code").read_text() == "0\n"


@pytest.mark.fault("E11")
async def test_a_daemon_whose_reader_does_not_read_goes_on(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env={**OFFLINE, "FAILPOINTS": "log.commit.before=raise:EIO@5+"})
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    async with serving(home, 'exec "$@"', stderr=write) as daemon:
        name = await session(daemon)
        for _ in range(300):  # each refusal is a line, and nobody reads
            answer = await daemon.http.post(f"/sessions/{name}/messages", json={"content": "x"})
            if answer.status_code == 503:
                break
        await asyncio.sleep(3)
        assert (await get(daemon, "/health"))["readOnly"]
        assert await daemon.stop() == 0
    os.close(read)
    os.close(write)


@pytest.mark.fault("E11")
async def test_a_daemon_without_standard_streams_uses_their_numbers_for_nothing_else(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with serving(home, 'exec "$@" --json <&- >&- 2>&-') as daemon:
        opened = Path(f"/proc/{daemon.process.pid}/fd")
        assert [str((opened / name).readlink()) for name in "012"] == ["/dev/null"] * 3
        assert await _asked(home)
        assert await daemon.stop() == 0


async def _asked(home: DaemonHome) -> str:
    """Ask something by the command line; the answer."""
    ended = await home.command("up", "--once", "--json", "--quiet")
    assert ended.code == 0, ended.err
    return str(ended.lines[-1]["answer"])


@pytest.mark.fault("E1", "E6")
async def test_a_letter_whose_event_the_kernel_dropped_is_found(tmp_path: Path) -> None:
    most = queue_max()
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        name = await session(daemon)
        await say(daemon, name, "hello")
        await finished(daemon, name)
        box = daemon.mailboxes / name / "principal"
        daemon.process.send_signal(signal.SIGSTOP)
        junk = box / "tmp" / "junk"
        for _ in range(most // 3 + 100):  # made, closed, deleted: three events each
            junk.touch()
            junk.unlink()
        sent = await home.command("send", "--session", name, "--to", "principal", "Who is Rask?")
        assert sent.code == 0, sent.err
        daemon.process.send_signal(signal.SIGCONT)
        assert violations(await finished(daemon, name, 2)) == []
