"""How a daemon is stopped, reaped, asked twice and kept from eating the machine."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Reply, provider
from tests.realtime.daemon.world import (
    Json,
    finished,
    frames,
    get,
    log_lines,
    of_type,
    say,
    session,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

OFFLINE = {"BP_OFFLINE": "1"}


async def test_a_daemon_told_to_stop_ends_its_streams_and_the_next_one_says_the_answer(
    tmp_path: Path,
) -> None:
    never = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        yield "The answer"
        if ask.number == 0:
            await never.wait()
        yield " is 42."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        async with home.running() as daemon:
            name = await session(daemon)
            async with AsyncExitStack() as stack:
                streams = [
                    await stack.enter_async_context(frames(daemon, path))
                    for path in (f"/sse/{name}", f"/sse/{name}", "/events")
                ]
                await say(daemon, name, "what is it?")
                async for _, frame in streams[0]:
                    if frame["type"] == "TEXT_MESSAGE_CONTENT":
                        break
                assert await daemon.stop() == 0
                async with asyncio.timeout(5):
                    assert [frame async for _, frame in streams[1]]
                    assert [frame async for _, frame in streams[2]]
            assert daemon.process.stdout is not None
            assert await daemon.process.stdout.read() == b""
            assert "Traceback" not in daemon.said()
        async with home.running() as daemon:
            lines = await finished(daemon, name)
    assert violations(lines) == []
    assert of_type(lines, "host_turn_finished")[0]["answer"] == "The answer is 42."


async def test_a_request_repeated_under_its_key_is_answered_again_by_the_next_daemon(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)

    async def ask_twice(daemon: RunningDaemon, name: str | None) -> list[tuple[int, bytes]]:
        made = await daemon.http.post("/sessions", json={}, headers={"idempotency-key": "k1"})
        posted = await daemon.http.post(
            f"/sessions/{name or made.json()['id']}/messages",
            json={"content": "hello"},
            headers={"idempotency-key": "k2"},
        )
        return [(made.status_code, made.content), (posted.status_code, posted.content)]

    async with home.running() as daemon:
        first = await ask_twice(daemon, None)
        assert await ask_twice(daemon, None) == first
        name = json.loads(first[0][1])["id"]
        await finished(daemon, name)
        await daemon.kill()
    async with home.running() as daemon:
        assert await ask_twice(daemon, name) == first
        other = await daemon.http.post(
            f"/sessions/{name}/messages",
            json={"content": "something else"},
            headers={"idempotency-key": "k2"},
        )
        assert 400 <= other.status_code < 500
        assert len((await get(daemon, "/sessions"))["sessions"]) == 1
        said = of_type(await log_lines(daemon, name), "host_turn_started")
    assert len(said) == 1


async def reclaimable(daemon: RunningDaemon) -> Json:
    """Wait until a reaper may come; the metrics then."""
    async with asyncio.timeout(10):
        while True:
            if (facts := await get(daemon, "/metrics"))["reclaimable"]:
                return facts
            await asyncio.sleep(0.02)


METRICS = {
    "activeSessions", "runningAgents", "lastActivityAt", "memRss", "memLimitBytes", "memRatio",
    "reclaimable", "idleEpoch", "leases", "unreadLetters", "auditViolations",
}  # fmt: skip


async def test_a_reaper_may_end_a_daemon_only_if_nothing_came_since_it_looked(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    async with home.running() as daemon:
        before = await get(daemon, "/metrics")
        assert set(before) >= METRICS
        assert before["reclaimable"] is True
        name = await session(daemon)
        await say(daemon, name, "hello")
        await finished(daemon, name)
        facts = await reclaimable(daemon)
        assert facts["runningAgents"] == facts["unreadLetters"] == facts["auditViolations"] == 0
        for body in (b"{", b"[]", b"{}", b'{"ifIdleEpoch":"x"}', b'{"ifIdleEpoch":1.5}', b""):
            answer = await daemon.http.post("/shutdown", content=body)
            assert (answer.status_code, body) == (400, body)
        late = await daemon.http.post("/shutdown", json={"ifIdleEpoch": before["idleEpoch"]})
        assert late.status_code == 409
        assert late.json()["reasons"] != []
        asked = await daemon.http.post("/shutdown", json={"ifIdleEpoch": facts["idleEpoch"]})
        assert asked.status_code == 202
        assert await daemon.ended() == 0
    assert not (home.data_dir / "daemon.json").exists()


async def test_a_daemon_over_its_memory_limit_takes_no_message_and_serves_the_rest(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env={**OFFLINE, "BP_MEM_LIMIT_MB": "1"})
    async with home.running() as daemon:
        made = await daemon.http.post("/sessions", json={})
        if made.status_code == 201:
            name = made.json()["id"]
            answer = await say(daemon, name, "hello")
            assert answer["accepted"] is False
            assert answer["reason"]
            assert of_type(await log_lines(daemon, name), "host_turn_started") == []
        assert (await daemon.http.get("/health")).status_code == 200
        assert (await get(daemon, "/metrics"))["memRatio"] > 1
