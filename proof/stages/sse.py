"""Event streams under bad readers, against a running daemon.

    stalled     one client that does not read among many that do: what others and the writer feel
    abandoned   clients that half-close or never read: nothing of them is left in the daemon
    cursors     what a reconnecting client may send as its cursor, and what it may not
    cut         readers cut after random bytes that resume: together exactly what one reader saw
    herd        everybody reconnects at once after the daemon was killed

The writer changes titles: each is one commit and one frame for every reader of the session.
"""

import asyncio
import json
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from proof.stage import Number, Outcome, Stage, Task

GARBAGE = (
    *("", " ", "-1", "x", "1.2", "0x10", "1e3", "\u0661", "9" * 19, "9" * 4000, "..", "1~", "~1"),
    *("a.1", "abcd.-1", "abcd.1-", "abcd.1~1.", "abcd.1~" + ".".join(["1"] * 300), "abcd.g1-1~1"),
    *("null", "undefined", "[object Object]", "%00", "1;2", "1,2", "<script>", "' OR 1=1"),
)
_SMALL = 4096
_PATIENCE_S = 60.0
_RSS_MB_MAX = 64


class Follower:
    """One reader of a session's stream, over a socket of its own."""

    def __init__(self, daemon: RunningDaemon, session: str, cursor: str = "") -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.cursor = cursor
        self._port = int(daemon.url.rpartition(":")[2])
        more = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
        self._head = (
            f"GET /sse/{session} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Authorization: Bearer {daemon.token}\r\n{more}\r\n"
        ).encode()

    def stalled(self) -> socket.socket:
        """Ask, and never read."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        client.connect(("127.0.0.1", self._port))
        client.sendall(self._head)
        return client

    async def read(self, until: Callable[[], bool], bytes_max: int | None = None) -> None:
        """Read frames until it is enough, or so many bytes came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        try:
            writer.write(self._head)
            status = await reader.readline()
            if b" 200 " not in status:
                raise ConnectionError(status.decode("latin-1").strip())
            rest, count = b"", 0
            while not until():
                got = await reader.read(65536 if bytes_max is None else max(1, bytes_max - count))
                if not got:
                    return
                count += len(got)
                *lines, rest = (rest + got).split(b"\n")
                self._take(lines)
                if bytes_max is not None and count >= bytes_max:
                    return
        finally:
            writer.close()

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            if line.startswith(b"id: "):
                self._key = line[4:].decode()
            elif line.startswith(b"data: "):
                key, self._key = self._key, ""
                if key:
                    self.frames.append((key, line[6:]))
                    self.cursor = key

    _key = ""

    def story(self) -> dict[str, list[str]]:
        """The ids of the events in their order, and of each text (by its id) those of its pieces.

        What is promised of two texts that grow at the same time is that each is whole, in order
        and between its start and its end, not how their pieces lie among each other: who reads
        them later gets each in one piece.
        """
        told: dict[str, list[str]] = {"": []}
        begun: set[str] = set()
        for frame in (json.loads(data) for _, data in self.frames):
            key, text = frame.get("_event_id"), frame.get("message_id", "")
            match frame["type"].rsplit("_", 1)[-1]:
                case "CONTENT":
                    known = text if text in begun else f"{text} outside of its start and end"
                    told.setdefault(known, []).append(key)
                    continue
                case "START":
                    begun.add(text)
                case "END":
                    begun.discard(text)
                case _:
                    pass
            if key is not None:
                told[""].append(key)
        return told

    def titles(self) -> int:
        """How many frames it has."""
        return len(self.frames)


def run(task: Task) -> Outcome:
    """Every part, each against a daemon of its own."""
    outcome = Outcome()
    figures: dict[str, Any] = {}
    parts: dict[str, Callable[[Task, RunningDaemon, Outcome], Awaitable[dict[str, Any]]]]
    parts = {"stalled": _stalled, "abandoned": _abandoned, "cursors": _cursors, "cut": _cut}
    for name, part in parts.items():
        task.say(name)
        figures[name] = asyncio.run(_in_a_daemon(task, name, part, outcome))
    task.say("herd")
    figures["herd"] = asyncio.run(_herd(task, outcome))
    outcome.figures = figures
    return outcome


async def _in_a_daemon(
    task: Task,
    name: str,
    part: Callable[[Task, RunningDaemon, Outcome], Awaitable[dict[str, Any]]],
    outcome: Outcome,
) -> dict[str, Any]:
    async with _home(task, name).running() as daemon:
        try:
            return await part(task, daemon, outcome)
        except (AssertionError, OSError, TimeoutError) as error:
            outcome.failures.append(f"{name} (seed {task.seed}): {error!r}")
            return {}


def _home(task: Task, name: str) -> DaemonHome:
    root = task.folder / name
    root.mkdir()
    home = DaemonHome(root, env={"BP_OFFLINE": "1"})
    home.configure("[http]\nlag_bytes_max = 131072\nstreams_max = 600\n")
    return home


async def _write(
    daemon: RunningDaemon, session: str, count: int, *, size: int = 400
) -> list[float]:
    """Change the title so often; seconds until each change was acknowledged."""
    times: list[float] = []
    for n in range(count):
        began = time.perf_counter()
        title = f"{n:06}" + "x" * (size - 6)
        answer = await daemon.http.put(f"/sessions/{session}", json={"title": title})
        answer.raise_for_status()
        times.append(time.perf_counter() - began)
    return times


async def _new(daemon: RunningDaemon) -> str:
    answer = await daemon.http.post("/sessions", json={})
    return str(answer.raise_for_status().json()["id"])


async def _gauge(daemon: RunningDaemon, name: str) -> float:
    shown = (await daemon.http.get("/metrics", headers={"accept": "text/plain"})).text
    lines = [line for line in shown.splitlines() if line.startswith(f"brainpilot_rt_{name} ")]
    return float(lines[0].split()[1])


async def _streams(daemon: RunningDaemon, count: int) -> None:
    """Wait until so many streams are open."""
    async with asyncio.timeout(_PATIENCE_S):
        while await _gauge(daemon, "sse_clients") != count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


def _rss_mb(daemon: RunningDaemon) -> float:
    pages = Path(f"/proc/{daemon.process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096 / 2**20


def _p(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


async def _stalled(task: Task, daemon: RunningDaemon, outcome: Outcome) -> dict[str, Any]:
    live, writes = task.count(20, 100), task.count(60, 500)
    session = await _new(daemon)
    arms: dict[str, list[float]] = {"none": [], "one": []}
    cut = 0.0
    before = _rss_mb(daemon)
    readers = [Follower(daemon, session) for _ in range(live)]
    wanted = 4 * writes
    async with asyncio.TaskGroup() as group:
        reading = [
            group.create_task(one.read(lambda one=one: one.titles() >= wanted)) for one in readers
        ]
        await _streams(daemon, live)
        for turn in range(4):  # turn about, so that a busy machine is felt by both
            arm = ("none", "one")[turn % 2]
            stuck = Follower(daemon, session).stalled() if arm == "one" else None
            task.say(f"{turn + 1} of 4: {writes} commits, {live} live readers, {arm} stalled")
            arms[arm] += await _write(daemon, session, writes)
            if stuck is not None:
                cut = await _gauge(daemon, "sse_lag_disconnects")
                stuck.close()
        grown = _rss_mb(daemon) - before
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.wait(reading)
    seen = {tuple(key for key, _ in one.frames[-wanted:]) for one in readers}
    if len(seen) != 1:
        outcome.failures.append(f"stalled: {live} readers of one session saw {len(seen)} histories")
    if grown > _RSS_MB_MAX:
        outcome.failures.append(f"stalled: the daemon grew by {grown:.0f} MB")
    p99 = {arm: _p(times, 0.99) for arm, times in arms.items()}
    p50 = {arm: _p(times, 0.5) for arm, times in arms.items()}
    outcome.numbers.append(
        Number(
            f"SSE: 1 stalled among {live} live readers, acknowledgement of a commit p50/p99",
            "p99 unchanged +-10 %, little memory",
            f"{p50['one']:.1f}/{p99['one']:.1f} ms, without {p50['none']:.1f}/{p99['none']:.1f} ms"
            f"; +{grown:.0f} MB",
            f"{2 * writes} commits each way, in turns; stalled readers cut: {cut:.0f}",
        )
    )
    if abs(p99["one"] / p99["none"] - 1) > 0.1:
        outcome.short.append(
            f"the p99 with a stalled reader differs by {p99['one'] / p99['none'] - 1:+.0%} "
            f"(p50 {p50['one'] / p50['none'] - 1:+.0%}); on a shared machine that may be noise"
        )
    return {"p50_ms": p50, "p99_ms": p99, "rss_mb": grown, "cut": cut, "live": live}


async def _abandoned(task: Task, daemon: RunningDaemon, outcome: Outcome) -> dict[str, Any]:
    count, writes = task.count(60, 500), task.count(100, 3000)
    session = await _new(daemon)
    before = _rss_mb(daemon)
    clients = [Follower(daemon, session).stalled() for _ in range(count)]
    await _streams(daemon, count)
    for client in clients[::2]:
        client.shutdown(socket.SHUT_WR)  # CLOSE_WAIT at the daemon, if it took no notice
    await _streams(daemon, count - len(clients[::2]))
    times = await _write(daemon, session, writes)
    grown = _rss_mb(daemon) - before
    if grown > 2 * _RSS_MB_MAX:
        outcome.failures.append(f"abandoned: {count} clients cost {grown:.0f} MB")
    for client in clients:
        client.close()
    await _streams(daemon, 0)
    states = _states(daemon)
    if states.get("08"):
        outcome.failures.append(f"abandoned: {states['08']} sockets are left in CLOSE_WAIT")
    outcome.numbers.append(
        Number(
            f"SSE: {count} clients that never read, half of them half-closed: left over",
            "0 streams, 0 sockets in CLOSE_WAIT",
            f"0 streams, {states.get('08', 0)} in CLOSE_WAIT, +{grown:.0f} MB",
            f"commits meanwhile p99 {_p(times, 0.99):.1f} ms",
        )
    )
    return {"clients": count, "rss_mb": grown, "p99_ms": _p(times, 0.99)}


def _states(daemon: RunningDaemon) -> dict[str, int]:
    """How many sockets of its port are in which state (`proc_net_tcp`: 08 is CLOSE_WAIT)."""
    port = f":{int(daemon.url.rpartition(':')[2]):04X}"
    found: dict[str, int] = {}
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, _, state = line.split()[:4]
        if local.endswith(port):
            found[state] = found.get(state, 0) + 1
    return found


async def _cursors(task: Task, daemon: RunningDaemon, outcome: Outcome) -> dict[str, Any]:
    session = await _new(daemon)
    await _write(daemon, session, 5)
    reader = Follower(daemon, session)
    await reader.read(lambda: reader.titles() >= 6)
    epoch, _, head = reader.cursor.partition(".")
    dice = random.Random(task.seed)
    made = [
        "".join(dice.choices(f"{epoch}0123456789.-~gx%", k=dice.randrange(1, 40)))
        for _ in range(task.count(100, 3000))
    ]
    statuses: dict[str, int] = {}
    resets = ("zzzz.1", f"{epoch}.999999", "999999999", f"{epoch}.{int(head) + 1}")
    for number, cursor in enumerate([*GARBAGE, *made, *resets]):
        for place in ("after", "header"):
            said = await _opening(daemon, session, cursor, place)
            status = said.partition(b"\r\n")[0].split(b" ")[1:2]
            name = status[0].decode() if status else "nothing"
            statuses[name] = statuses.get(name, 0) + 1
            if name not in {"200", "400", "431", "unsendable"}:
                outcome.failures.append(f"cursor {cursor!r} in {place}: {said[:200]!r}")
            if cursor in resets and b"reset" not in said:
                outcome.failures.append(
                    f"cursor {cursor!r} in {place} is not reset: {said[:400]!r}"
                )
        if number % 500 == 0:
            task.say(f"{number} cursors")
    outcome.numbers.append(
        Number(
            "SSE: cursors of every kind, each answered by a resume, a reset or 400",
            "all",
            f"{sum(statuses.values())} asked: {statuses}",
        )
    )
    return {"statuses": statuses}


async def _opening(daemon: RunningDaemon, session: str, cursor: str, place: str) -> bytes:
    """The first of what a stream says to a cursor: up to its `state` frames, or the refusal."""
    url = f"/sse/{session}"
    try:
        if place == "after":
            asked = daemon.http.stream("GET", url, params={"after": cursor})
        else:
            header = cursor.encode()
            asked = daemon.http.stream("GET", url, headers=[(b"last-event-id", header)])
        async with asked as answer:
            said = f"HTTP {answer.status_code}\r\n".encode()
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    async for part in answer.aiter_bytes():
                        said += part
                        if said.count(b"data: ") >= 3:
                            break
            return said
    except httpx.LocalProtocolError:
        return b"HTTP unsendable\r\n"  # the client library refuses it
    except httpx.HTTPError as error:
        return f"HTTP broken\r\n{error!r}".encode()


async def _cut(task: Task, daemon: RunningDaemon, outcome: Outcome) -> dict[str, Any]:
    readers, messages = task.count(6, 40), task.count(2, 12)
    session = await _new(daemon)
    dice = random.Random(task.seed)
    whole = Follower(daemon, session)
    done = asyncio.Event()

    async def in_pieces(follower: Follower, seed: int) -> tuple[Follower, int]:
        cuts, own = 0, random.Random(seed)
        frames: list[tuple[str, bytes]] = []
        while not (done.is_set() and frames and frames[-1][0] == whole.cursor):
            part = Follower(daemon, session, follower.cursor)
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await part.read(lambda: False, bytes_max=own.randrange(1, 6000))
            frames += part.frames
            follower.cursor = part.cursor
            cuts += 1
        follower.frames = frames
        return follower, cuts

    async with asyncio.timeout(_PATIENCE_S * 4), asyncio.TaskGroup() as group:
        reading = group.create_task(whole.read(done.is_set))
        pieces = [
            group.create_task(in_pieces(Follower(daemon, session), dice.randrange(2**32)))
            for _ in range(readers)
        ]
        for n in range(messages):
            task.say(f"message {n + 1} of {messages}")
            answer = await daemon.http.post(
                f"/sessions/{session}/messages", json={"content": f"question {n}"}
            )
            answer.raise_for_status()
            while (await daemon.http.get(f"/sessions/{session}")).json()["busy"]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        head = whole.titles() - 1
        while head != whole.titles():
            head = whole.titles()
            await asyncio.sleep(0.5)
        done.set()
        await _write(daemon, session, 1)  # one more frame wakes the reader of all
        results = [await one for one in pieces]
        await reading
    wanted = whole.story()
    cuts = 0
    for number, (follower, count) in enumerate(results):
        cuts += count
        if wrong := _differs(follower.story(), wanted):
            outcome.failures.append(f"cut (seed {task.seed}): reader {number}: {wrong}")
    outcome.numbers.append(
        Number(
            "SSE: readers cut after random bytes and resumed: frames lost or doubled",
            "0",
            "0" if not outcome.failures else "see failures",
            f"{readers} readers, {cuts} cuts, {sum(map(len, wanted.values()))} frames each",
        )
    )
    return {"readers": readers, "cuts": cuts, "frames": sum(map(len, wanted.values()))}


def _differs(got: dict[str, list[str]], wanted: dict[str, list[str]]) -> str:
    """How two readings of one story differ; empty when they do not (the last frame may miss)."""
    for part in wanted.keys() | got.keys():
        one, other = got.get(part, []), wanted.get(part, [])
        if one[: len(other)] != other[: len(one)] or len(one) < len(other) - (part == ""):
            return f"{part or 'events'}: {len(one)} frames, one reader saw {len(other)}"
    return ""


def _health_s(url: str) -> float:
    """Seconds until /health has answered, measured beside the readers."""
    began = time.perf_counter()
    httpx.get(f"{url}/health", trust_env=False).raise_for_status()
    return time.perf_counter() - began


async def _herd(task: Task, outcome: Outcome) -> dict[str, Any]:
    clients, frames = task.count(50, 200), task.count(100, 2000)
    home = _home(task, "herd")
    async with home.running() as daemon:
        session = await _new(daemon)
        await _write(daemon, session, frames)
        await daemon.kill()
    async with home.running() as daemon:
        before = _rss_mb(daemon)
        readers = [Follower(daemon, session) for _ in range(clients)]
        health: list[float] = []
        began = time.perf_counter()
        async with asyncio.timeout(_PATIENCE_S * 2), asyncio.TaskGroup() as group:
            reading = [
                group.create_task(one.read(lambda one=one: one.titles() >= frames))
                for one in readers
            ]
            while not all(one.done() for one in reading):
                health.append(await asyncio.to_thread(_health_s, daemon.url))
        took = time.perf_counter() - began
        grown = _rss_mb(daemon) - before
    if len({tuple(key for key, _ in one.frames[:frames]) for one in readers}) != 1:
        outcome.failures.append("herd: readers of one session saw different histories")
    if grown > 2 * _RSS_MB_MAX:
        outcome.failures.append(f"herd: {clients} reconnects cost {grown:.0f} MB")
    outcome.numbers.append(
        Number(
            f"SSE: {clients} clients reconnect at once after a kill",
            "bounded; health answered meanwhile",
            f"all {frames} frames to each in {took:.1f} s, +{grown:.0f} MB",
            f"/health meanwhile p50 {_p(health, 0.5):.0f}, max {max(health) * 1000:.0f} ms",
        )
    )
    return {
        "clients": clients,
        "seconds": took,
        "rss_mb": grown,
        "health_max_ms": max(health) * 1000,
    }


STAGE = Stage(
    name="sse",
    title="Event streams with bad readers",
    run=run,
    faults=("I1", "I2", "I3", "I7", "S26"),
)
