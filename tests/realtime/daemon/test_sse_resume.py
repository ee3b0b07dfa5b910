"""Clients that lose their connection at any byte, also to a kill -9, miss and repeat nothing."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Provider, Reply, provider
from tests.realtime.daemon.world import Json, finished, history, say, session, texts

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

PIECES = 150
RECONNECTS = 200


@dataclass
class Reader:
    """Keeps every lasting frame it read, and where it stands."""

    cursors: list[str] = field(default_factory=list[str])
    frames: list[Json] = field(default_factory=list[Json])
    resets: int = 0

    async def drink(self, url: str, daemon: RunningDaemon, size: int, **headers: str) -> None:
        """Read so many bytes, then hang up wherever that is."""
        rest = b""
        async with daemon.http.stream("GET", url, headers=headers, timeout=None) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_bytes():
                *whole, rest = (rest + piece[:size]).split(b"\n\n")
                for frame in whole:
                    self.take(frame.decode())
                size -= len(piece)
                if size <= 0:
                    return

    def take(self, text: str) -> None:
        """Take one frame."""
        lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        frame = json.loads(lines.get("data", "{}"))
        self.resets += frame.get("name") == "stream_reset"
        if "id" in lines:
            self.cursors.append(lines["id"])
            self.frames.append(frame)

    async def resume(
        self, daemon: RunningDaemon, name: str, dice: random.Random, size: int
    ) -> None:
        """Go on from where it stands, or from somewhere before that: then that counts."""
        if self.cursors and dice.random() < 0.2:
            back = max(0, len(self.cursors) - dice.randrange(1, 40))
            del self.cursors[back + 1 :], self.frames[back + 1 :]
        cursor = self.cursors[-1] if self.cursors else "0"
        if dice.random() < 0.5:
            await self.drink(f"/sse/{name}?after={cursor}", daemon, size)
        else:
            await self.drink(f"/sse/{name}", daemon, size, **{"last-event-id": cursor})

    def said_by_daemon(self) -> list[Json]:
        """Frames without the deltas of texts that a kill cut: those are not said again."""
        cut = {frame["message_id"] for frame in self.frames if frame.get("aborted")}
        return [
            frame
            for frame in self.frames
            if frame["type"] != "TEXT_MESSAGE_CONTENT" or frame["message_id"] not in cut
        ]


@dataclass
class Paced:
    """A team that says a piece of its long texts whenever the test lets it."""

    pace: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def script(self, ask: Ask) -> Reply:
        """The principal delegates twice at once; everybody is long-winded."""
        for number in range(PIECES):
            await self.pace.acquire()
            yield f"{ask.agent} says piece {number} of turn {ask.turn}. "
        if ask.turn == 0 and ask.agent == "principal":
            for who in ("librarian", "writer"):
                yield Call(
                    "send_message", {"to": who, "content": "please", "msg_type": "task_delegate"}
                )

    def go(self, pieces: int) -> None:
        """Let so many pieces be said."""
        for _ in range(pieces):
            self.pace.release()


async def hang_up_after(seconds: float, reading: Awaitable[None]) -> None:
    """Read for a moment; a daemon that is not there yet or any more is a lost connection too."""
    try:
        async with asyncio.timeout(seconds):
            await reading
    except (TimeoutError, httpx.TransportError):
        pass


def by_id(frames: list[Json]) -> dict[str, Json]:
    """Frames by `_event_id`, each there once."""
    count = Counter(frame["_event_id"] for frame in frames)
    assert [one for one, times in count.items() if times > 1] == []
    return {frame["_event_id"]: frame for frame in frames}


def lasting(frames: list[Json]) -> list[str]:
    """The order of what is not a piece of a text: those of several texts may come either way."""
    return [frame["_event_id"] for frame in frames if frame["type"] != "TEXT_MESSAGE_CONTENT"]


def whole_texts(events: list[Json], told: Provider) -> None:
    """Every text that was not cut holds every piece in order."""
    cut = {frame["message_id"] for frame in events if frame.get("aborted")}
    said = [text for message, text in texts(events).items() if message not in cut]
    assert len(said) == sum(ask.answered for ask in told.asks)
    for text in said:
        head = text.partition(" piece ")[0]
        turn = text.partition(" turn ")[2].partition(".")[0]
        assert text == "".join(f"{head} piece {n} of turn {turn}. " for n in range(PIECES))


Life = Callable[[RunningDaemon, int], Awaitable[RunningDaemon]]


async def run_with_readers(
    home: DaemonHome, paced: Paced, told: Provider, deaths: set[int]
) -> None:
    """A run, two readers that reconnect all the time, and a comparison with the history."""
    dice = random.Random(20240229)
    exact, naive = Reader(), Reader()
    daemon = await home.start()
    try:
        name = await session(daemon)
        await say(daemon, name, "talk")
        for turn in range(RECONNECTS):
            paced.go(dice.randrange(7))
            size = dice.choice([0, 1, 700, 1500, 3000, 20_000])
            await hang_up_after(dice.uniform(0.003, 0.03), exact.resume(daemon, name, dice, size))
            if turn % 20 == 0:
                await hang_up_after(0.02, naive.drink(f"/sse/{name}", daemon, 1 << 20))
            if turn in deaths:
                await daemon.kill()
                await daemon.http.aclose()
                daemon = await home.start()
        paced.go(40 * PIECES)
        await finished(daemon, name)
        events = await history(daemon, name)
        await exact.resume(daemon, name, dice, 0)
        while events[-1]["_event_id"] not in {frame["_event_id"] for frame in exact.frames}:
            await hang_up_after(0.2, exact.resume(daemon, name, dice, 1 << 20))
        await hang_up_after(1.0, naive.drink(f"/sse/{name}", daemon, 1 << 30))
    finally:
        await daemon.http.aclose()
        await daemon.kill()
    assert exact.resets == naive.resets == 0
    assert by_id(exact.said_by_daemon()) == by_id(events)
    assert lasting(exact.said_by_daemon()) == lasting(events)
    assert {one["_event_id"]: one for one in naive.said_by_daemon()} == by_id(events)
    whole_texts(events, told)
    whole_texts(exact.frames, told)


@pytest.mark.parametrize("ring", [4 << 20, 4096])
async def test_a_client_that_reconnects_200_times_ends_with_exactly_the_history(
    tmp_path: Path, ring: int
) -> None:
    paced = Paced()
    async with provider(paced.script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        home.configure(f"[http]\nlag_bytes_max = {ring}\n")
        await run_with_readers(home, paced, told, deaths=set())


async def test_it_does_so_also_when_the_daemon_is_killed_three_times(tmp_path: Path) -> None:
    paced = Paced()
    async with provider(paced.script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        await run_with_readers(home, paced, told, deaths={40, 110, 170})
