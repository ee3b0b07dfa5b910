"""What a kill loses at saturation (P8): frames a client saw, acknowledged sessions, seq gaps.

A daemon under load is killed with SIGKILL again and again; after each restart every lasting frame a
client had seen must stand in the history of its session, once. Text chunks are live and excepted
(D3); their text is in the history whole or aborted.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx

from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon

SESSIONS = 20
GONE = (httpx.HTTPError, OSError, AttributeError)
"""A connection to a dead daemon; on uvloop, asking its socket for the peer is an AttributeError."""
LOAD_S = 1.5


async def follow(daemon: RunningDaemon, session: str, seen: set[str]) -> None:
    """Note every lasting frame of a session until the daemon is gone."""
    lasting = False
    with suppress(*GONE):
        async with daemon.http.stream("GET", f"/sse/{session}?after=0", timeout=None) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    lasting = "~" not in line
                elif line.startswith("data: "):
                    if lasting:
                        seen.add(str(json.loads(line[6:])["_event_id"]))
                    lasting = False


async def talk(daemon: RunningDaemon, session: str) -> None:
    """Send messages until the daemon is gone."""
    with suppress(*GONE):
        while True:
            await daemon.http.post(f"/sessions/{session}/messages", json={"content": "go on"})


async def history(daemon: RunningDaemon, session: str) -> list[str]:
    """Ids of all frames of a session; empty when it is not there."""
    answer = await daemon.http.get(f"/sessions/{session}/history?limit=0")
    frames: list[dict[str, Any]] = answer.json().get("events", [])
    return [str(one["_event_id"]) for one in frames]


async def one_kill(home: DaemonHome, sample: Sample, kill: int) -> None:
    """Load a daemon, kill it, start it again, compare."""
    seen: dict[str, set[str]] = {}
    async with home.running() as daemon:
        for number in range(SESSIONS):
            name = f"k{kill}-{number}"
            (await daemon.http.post("/sessions", json={"id": name})).raise_for_status()
            seen[name] = set()
        async with asyncio.TaskGroup() as group:
            for name, ids in seen.items():
                group.create_task(follow(daemon, name, ids))
                group.create_task(talk(daemon, name))
            await asyncio.sleep(LOAD_S)
            await daemon.kill()
    async with home.running() as daemon:
        for name, ids in seen.items():
            kept = await history(daemon, name)
            sample.extra["sessions_lost"] += not kept
            sample.extra["frames_seen"] += len(ids)
            sample.extra["frames_lost"] += len(ids - set(kept))
            sample.extra["frames_doubled"] += len(kept) - len(set(kept))
        sample.extra["violations"] += (await daemon.http.get("/metrics")).json()["auditViolations"]


def killed(place: Place) -> Sample:
    """Kills under load, one after the other, of one data directory."""
    counted = ("sessions_lost", "frames_seen", "frames_lost", "frames_doubled", "violations")
    home = DaemonHome(place.folder, env={"BP_MOCK": "1"})

    async def work(sample: Sample) -> None:
        for kill in range(place.ops(15, 3)):
            await one_kill(home, sample, kill)
            sample.latencies.append(LOAD_S)

    meter = Meter()
    with meter as sample:
        sample.extra |= dict.fromkeys(counted, 0.0)
        place.run(work(sample))
    return meter.sample


ROWS = (
    Row(
        "P8",
        "loss at kill -9 under load (BrainPilot: 91 % of seen events, 86 of 853 sessions)",
        {"ours": killed},
        (
            Target("frames_lost", "ours", 0.0),
            Target("frames_doubled", "ours", 0.0),
            Target("sessions_lost", "ours", 0.0),
            Target("violations", "ours", 0.0),
        ),
    ),
)
