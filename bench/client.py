"""The load client: raw asyncio, in a process of its own, so that it shares no interpreter with us.

It speaks just enough HTTP/1.1 and SSE to drive a daemon: keep-alive, precomputed requests, frames
told apart by a substring. A row asks for a job (`ask`); it runs here: `python -m bench.client`, the
question as JSON on stdin, the answer as JSON on stdout. It measures the daemon's processor time
and memory from outside, for exactly the time that its own clock runs.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop
from typing_extensions import override

FINISHED = b'"type":"RUN_FINISHED"'
STARTED = b'"type":"RUN_STARTED"'
CALL = b'"type":"TOOL_CALL_START"'
CALLER = b'"agent_name":"principal"'
TURN_ENDED = b'"op":"finished"'
HOST_TURN = b'"name":"host_turn"'
GIVE_UP_S = 120.0
QUIET_S = 0.05
LINES = 32
STUCK_S = 5.0
ESTABLISHED = "01"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Peer:
    """The program under load."""

    port: int
    pid: int
    token: str = ""

    def cpu_s(self) -> float:
        """Processor seconds of all its threads so far, finished ones included."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def rss(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]) * PAGE_BYTES

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """A request, ready to be written."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data


class Http(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._head = -1
        self._length = -1
        self._waiting: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    @override
    def data_received(self, data: bytes) -> None:
        """Collect an answer; give its body when it is whole."""
        got = self._got
        got += data
        if self._head < 0:
            self._head = got.find(b"\r\n\r\n")
            if self._head < 0:
                return
            lower = bytes(got[: self._head]).lower()
            _, named, rest = lower.partition(b"content-length: ")
            self._length = int(rest.split(b"\r", 1)[0]) if named else -1
        start = self._head + 4
        whole = got.endswith(b"0\r\n\r\n") if self._length < 0 else len(got) >= start + self._length
        waiting = self._waiting
        if whole and waiting is not None and not waiting.done():
            body = bytes(got[start:])
            status = int(got[9:12])
            got.clear()
            self._head = -1
            self._waiting = None
            if status < 300:
                waiting.set_result(body)
            else:
                waiting.set_exception(RuntimeError(f"{status}: {body[:300]!r}"))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("closed"))

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        """Write a request; the future is the body of its answer, an error unless it is a 2xx."""
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting


class Events(asyncio.Protocol):
    """One SSE stream; `on_frame` gets each frame's bytes."""

    def __init__(self, request: bytes, on_frame: Callable[[bytes], None]) -> None:
        self._request = request
        self._on_frame = on_frame
        self._rest = b""
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.transport.write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        """Split into frames."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for frame in whole:
            self._on_frame(frame)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The stream has ended."""
        del exc
        self.lost.set()


@dataclass
class Answer:
    """What a job measured."""

    latencies: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Seconds, by what was timed."""
    seconds: float = 0.0
    cpu_s: float = 0.0
    extra: dict[str, float] = field(default_factory=dict[str, float])
    names: list[str] = field(default_factory=list[str])

    def note(self, what: str, seconds: float) -> None:
        """Add one latency."""
        self.latencies.setdefault(what, []).append(seconds)


class Watch:
    """Measures the block under `with`: our clock, the peer's processor time and memory."""

    def __init__(self, peer: Peer, answer: Answer) -> None:
        self._peer = peer
        self._answer = answer

    def __enter__(self) -> None:
        self._rss = self._peer.rss()
        self._cpu = self._peer.cpu_s()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._answer.seconds = time.perf_counter() - self._start
        self._answer.cpu_s = self._peer.cpu_s() - self._cpu
        self._answer.extra["rss_mb"] = self._peer.rss() / 2**20
        self._answer.extra["rss_growth_mb"] = (self._peer.rss() - self._rss) / 2**20


async def http(peer: Peer) -> Http:
    """A connection."""
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Http, "127.0.0.1", peer.port))[1]


async def events(peer: Peer, path: str, on_frame: Callable[[bytes], None]) -> Events:
    """A stream, asked for."""
    request = peer.request("GET", path)
    loop = asyncio.get_running_loop()
    made = await loop.create_connection(lambda: Events(request, on_frame), "127.0.0.1", peer.port)
    return made[1]


async def all_of(*work: Awaitable[object]) -> None:
    """Wait for several things at once."""

    async def one(what: Awaitable[object]) -> None:
        await what

    async with asyncio.timeout(GIVE_UP_S), asyncio.TaskGroup() as group:
        for what in work:
            group.create_task(one(what))


async def settled(peer: Peer) -> None:
    """Return when the peer has nothing left to do."""
    before = peer.cpu_s()
    while True:
        await asyncio.sleep(QUIET_S)
        now = peer.cpu_s()
        if now - before < QUIET_S / 20:
            return
        before = now


async def new_session(peer: Peer, line: Http) -> str:
    """Create a session."""
    return json.loads(await line.send(peer.request("POST", "/sessions", {})))["id"]


class Talk:
    """One session: a line to post on, a stream to follow, the moments of the run at hand."""

    def __init__(self, peer: Peer, line: Http, session: str, text: str) -> None:
        self.session = session
        self.line = line
        self.post = peer.request("POST", f"/sessions/{session}/messages", {"content": text})
        self.moments: dict[str, float] = {}
        self.frames = 0
        self._last = FINISHED
        self._done: asyncio.Future[None] | None = None

    @classmethod
    async def begin(cls, peer: Peer, text: str = "hello", *, team: bool = False) -> "Talk":
        """A new session, followed, its first run over. `team`: a run lasts until all are idle."""
        line = await http(peer)
        talk = cls(peer, line, await new_session(peer, line), text)
        talk._last = TURN_ENDED if team else FINISHED
        await events(peer, f"/sse/{talk.session}", talk.on_frame)
        await talk.run(Answer())
        return talk

    def on_frame(self, frame: bytes) -> None:
        """Note the first moment of each kind of frame."""
        self.frames += 1
        now = time.perf_counter()
        if STARTED in frame:
            self.moments.setdefault("started" if CALLER in frame else "specialist", now)
        elif CALL in frame:
            self.moments.setdefault("call", now)
        if self._last in frame and (self._last is FINISHED or HOST_TURN in frame):
            self.moments["finished"] = now
            if self._done is not None and not self._done.done():
                self._done.set_result(None)

    async def run(self, answer: Answer) -> None:
        """Post, and follow to the end."""
        self.moments = {}
        self._done = asyncio.get_running_loop().create_future()
        start = time.perf_counter()
        await self.line.send(self.post)
        answer.note("accepted", time.perf_counter() - start)
        async with asyncio.timeout(GIVE_UP_S):
            await self._done
        for what, moment in self.moments.items():
            answer.note(what, moment - start)
        if "call" in self.moments and "specialist" in self.moments:
            answer.note("handover", self.moments["specialist"] - self.moments["call"])


# --- jobs: each gets the peer and the numbers of its row ------------------------------------------


async def gets(
    peer: Peer, *, path: str, count: int = 0, lines: int = 1, for_s: float = 0.0
) -> Answer:
    """GET a path on some connections, so many times each or for so long."""
    answer = Answer()
    request = peer.request("GET", path)
    made = [await http(peer) for _ in range(lines)]
    for line in made:
        await line.send(request)

    async def work(line: Http) -> None:
        left = count // lines
        ends_at = time.perf_counter() + for_s
        while left > 0 or time.perf_counter() < ends_at:
            left -= 1
            start = time.perf_counter()
            await line.send(request)
            answer.note("get", time.perf_counter() - start)

    with Watch(peer, answer):
        await all_of(*map(work, made))
    return answer


async def creates(peer: Peer, *, count: int, lines: int = 1) -> Answer:
    """Create sessions; memory is read when the peer has come to rest."""
    answer = Answer()
    request = peer.request("POST", "/sessions", {})
    made = [await http(peer) for _ in range(lines)]
    await new_session(peer, made[0])
    await settled(peer)

    async def work(line: Http) -> None:
        for _ in range(count // lines):
            start = time.perf_counter()
            await line.send(request)
            answer.note("create", time.perf_counter() - start)

    start = time.perf_counter()
    with Watch(peer, answer):
        await all_of(*map(work, made))
        took = time.perf_counter() - start
        await settled(peer)
    answer.seconds = took
    return answer


async def runs(  # noqa: PLR0913 - the knobs of a load
    peer: Peer,
    *,
    count: int = 0,
    sessions: int = 1,
    pace_s: float = 0.0,
    for_s: float = 0.0,
    text: str = "hello",
    team: bool = False,
) -> Answer:
    """Runs in so many sessions at once, each session one after the other; late writes included."""
    answer = Answer()
    talks = [await Talk.begin(peer, text, team=team) for _ in range(sessions)]
    await settled(peer)
    marks: list[float] = []

    async def work(talk: Talk) -> None:
        left = count // sessions
        ends_at = time.perf_counter() + for_s
        while left > 0 or time.perf_counter() < ends_at:
            left -= 1
            if pace_s:
                await asyncio.sleep(pace_s)
            await talk.run(answer)
            if sessions == 1:
                marks.append(peer.cpu_s())

    frames = sum(talk.frames for talk in talks)
    start = time.perf_counter()
    with Watch(peer, answer):
        await all_of(*map(work, talks))
        took = time.perf_counter() - start
        await settled(peer)
        answer.extra["drain_ms"] = (time.perf_counter() - start - took) * 1000
    answer.seconds = took
    answer.extra["frames"] = sum(talk.frames for talk in talks) - frames
    part = len(marks) // 10
    if part:
        finished = sorted(answer.latencies["finished"][:part])
        late = sorted(answer.latencies["finished"][-part:])
        answer.extra["late_to_early_p50"] = late[part // 2] / finished[part // 2]
        cpu = (marks[-1] - marks[-1 - part]) / max(1e-9, marks[part] - marks[0])
        answer.extra["late_to_early_cpu"] = cpu
    answer.names = [talk.session for talk in talks]
    return answer


async def ran_once(peer: Peer, *, count: int) -> Answer:
    """Sessions that run once each and are idle again: what they leave in memory."""
    answer = Answer()
    await Talk.begin(peer)
    await settled(peer)
    with Watch(peer, answer):
        for _ in range(count):
            start = time.perf_counter()
            talk = await Talk.begin(peer)
            answer.note("run", time.perf_counter() - start)
            assert talk.line.transport is not None
            talk.line.transport.close()
        await settled(peer)
    return answer


async def holds(peer: Peer, *, count: int) -> Answer:
    """Idle streams of one session."""
    answer = Answer()
    line = await http(peer)
    session = await new_session(peer, line)
    streams: list[Events] = []
    with Watch(peer, answer):
        for _ in range(count):
            come = asyncio.Event()
            begun = events(peer, f"/sse/{session}", lambda _, come=come: come.set())
            streams.append(await begun)
            await come.wait()
        await settled(peer)
    answer.extra["kb_each"] = answer.extra["rss_growth_mb"] * 1024 / count
    return answer


async def fans(peer: Peer, *, readers: int, count: int) -> Answer:
    """Runs in a session that many streams follow: until the last of them saw the end."""
    answer = Answer()
    talk = await Talk.begin(peer)
    left = 0
    frames = 0
    everybody = asyncio.Event()

    def on_frame(frame: bytes) -> None:
        nonlocal left, frames
        frames += 1
        if FINISHED in frame:
            left -= 1
            if left == 0:
                everybody.set()

    for _ in range(readers):
        await events(peer, f"/sse/{talk.session}", on_frame)
    await settled(peer)
    frames = 0
    with Watch(peer, answer):
        for _ in range(count):
            left = readers
            everybody.clear()
            start = time.perf_counter()
            await talk.run(Answer())
            async with asyncio.timeout(GIVE_UP_S):
                await everybody.wait()
            answer.note("finished", time.perf_counter() - start)
        await settled(peer)
    answer.extra["cpu_us_each"] = answer.cpu_s / frames * 1e6
    return answer


async def stalls(peer: Peer, *, readers: int, frames: int) -> Answer:
    """Streams that nobody reads, while a session produces so many frames."""
    answer = Answer()
    talk = await Talk.begin(peer)
    await settled(peer)
    stuck: list[Events] = []
    with Watch(peer, answer):
        for _ in range(readers):
            stream = await events(peer, f"/sse/{talk.session}", lambda _: None)
            assert stream.transport is not None
            stream.transport.pause_reading()
            stuck.append(stream)
        produced = talk.frames
        while talk.frames - produced < frames:
            await talk.run(answer)
        await settled(peer)
    answer.extra["frames"] = talk.frames - produced
    status = json.loads(await talk.line.send(peer.request("GET", "/metrics")))
    answer.extra["sessions"] = status["activeSessions"]
    for stream in stuck:
        assert stream.transport is not None
        stream.transport.resume_reading()
    ended = 0
    for stream in stuck:
        try:
            async with asyncio.timeout(2.0):
                await stream.lost.wait()
            ended += 1
        except TimeoutError:
            pass
    answer.extra["still_connected"] = readers - ended
    return answer


async def histories(peer: Peer, *, session: str, times: int = 5, readers: int = 4) -> Answer:
    """A whole history, alone; then several at once, and how `/health` answers meanwhile."""
    answer = Answer()
    lines = [await http(peer) for _ in range(readers + 1)]
    whole = peer.request("GET", f"/sessions/{session}/history?limit=0")
    body = await lines[0].send(whole)
    answer.extra["frames"] = body.count(b'"_event_id"')
    with Watch(peer, answer):
        for _ in range(times):
            start = time.perf_counter()
            await lines[0].send(whole)
            answer.note("history", time.perf_counter() - start)
    health = peer.request("GET", "/health")
    reading = asyncio.gather(*(line.send(whole) for line in lines[1:]))  # noqa: TID251 - futures, not tasks
    while not reading.done():
        start = time.perf_counter()
        await lines[0].send(health)
        answer.note("health", time.perf_counter() - start)
        await asyncio.sleep(0.001)
    await reading
    return answer


async def resumes(peer: Peer, *, session: str, after: int) -> Answer:
    """A stream from a cursor: the first frame, and the last lasting one of the log."""
    answer = Answer()
    line = await http(peer)
    rows = await line.send(peer.request("GET", f"/sessions/{session}/export?after={after}"))
    head = max(int(row.split(b",", 1)[0]) for row in rows.split(b'{"seq":')[1:])
    start = time.perf_counter()
    seen: set[int] = set()
    complete = asyncio.Event()

    def on_frame(frame: bytes) -> None:
        _, marked, cursor = frame.partition(b"id: ")
        if not marked:
            return
        if not seen:
            answer.note("first", time.perf_counter() - start)
        place = cursor.split(b"\n", 1)[0].split(b".")[1].split(b"~")[0]
        seen.add(int(place.split(b"-")[0].split(b"/")[0]))
        if head in seen:
            complete.set()

    await events(peer, f"/sse/{session}?after={after}", on_frame)
    async with asyncio.timeout(GIVE_UP_S):
        await complete.wait()
    answer.note("all", time.perf_counter() - start)
    answer.extra["missing"] = len(set(range(after + 1, head + 1)) - seen)
    return answer


async def letters(peer: Peer, *, mailbox: str, count: int, pace_s: float) -> Answer:
    """Foreign letters: from the rename into `new/` to the letter on SSE; and the hop itself."""
    answer = Answer()
    talk = await Talk.begin(peer)
    home = Path(mailbox) / talk.session / "principal"
    seen: dict[str, asyncio.Future[float]] = {}

    def on_frame(frame: bytes) -> None:
        if b'"op":"received"' in frame:
            for mark, waiting in seen.items():
                if mark.encode() in frame and not waiting.done():
                    waiting.set_result(time.perf_counter())

    await events(peer, f"/sse/{talk.session}", on_frame)
    await settled(peer)
    with Watch(peer, answer):
        for number in range(count):
            await asyncio.sleep(pace_s)
            mark = f"mark-{number:06d}"
            seen[mark] = asyncio.get_running_loop().create_future()
            start = time.perf_counter()
            data = json.dumps({"to": "principal", "content": mark, "kind": "system"})
            renamed = durable_drop(home, f"b{number:06d}.json", data.encode())
            answer.note("hop", time.perf_counter() - start)
            async with asyncio.timeout(GIVE_UP_S):
                answer.note("seen", await seen[mark] - renamed)
            del seen[mark]
    return answer


def durable_drop(home: Path, name: str, data: bytes) -> float:
    """What a foreign writer does; the moment at which the rename was done."""
    fd = os.open(home / "tmp" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)
    moment = time.perf_counter()
    (home / "tmp" / name).rename(home / "new" / name)
    folder = os.open(home / "new", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return moment


class Crowd:
    """Sessions that each begin one run."""

    def __init__(self, peer: Peer, answer: Answer, probe: str, model_port: int) -> None:
        self._peer = peer
        self._answer = answer
        self._probe = probe
        self._model_port = model_port
        self.sessions: list[str] = []

    async def at_work(self) -> int:
        """Runs at work now, as `/metrics` says."""
        line = await http(self._peer)  # one that was idle may be closed by now
        found = await line.send(self._peer.request("GET", "/metrics"))
        assert line.transport is not None
        line.transport.close()
        return json.loads(found)["runningAgents"]

    async def each(self, what: str, path: str, body: object, those: Sequence[str]) -> None:
        """Post to each of these sessions, on `LINES` connections."""

        async def work(at: int) -> None:
            line = await http(self._peer)
            for session in those[at::LINES]:
                request = self._peer.request("POST", f"/sessions/{session}/{path}", body)
                start = time.perf_counter()
                await line.send(request)
                self._answer.note(what, time.perf_counter() - start)

        await all_of(*map(work, range(LINES)))

    async def begin(self, what: str, those: Sequence[str], wanted: int) -> int:
        """Say something in each, until all wait for the model; how many of them it knows of."""
        await self.each(what, "messages", {"content": "Tell me what the report says."}, those)
        asked, since = 0, time.perf_counter()
        while asked < wanted and time.perf_counter() - since < STUCK_S:
            await asyncio.sleep(QUIET_S)
            now = connections(self._model_port)
            asked, since = (now, time.perf_counter()) if now > asked else (asked, since)
        await settled(self._peer)
        return asked

    async def look(self, when: str) -> None:
        """What the daemon's probe saw since it was asked last."""
        path = Path(self._probe)

        def written() -> str:
            path.unlink(missing_ok=True)
            os.kill(self._peer.pid, signal.SIGUSR2)
            ends_at = time.monotonic() + GIVE_UP_S
            while not path.exists() and time.monotonic() < ends_at:
                time.sleep(QUIET_S)
            return path.read_text(encoding="ascii")

        seen = json.loads(await asyncio.to_thread(written))
        self._answer.extra |= {f"{when}_{name}": value for name, value in seen.items()}


def connections(port: int) -> int:
    """Of a server on this machine."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    ours = [line.split() for line in lines]
    return sum(each[1].endswith(f":{port:04X}") and each[3] == ESTABLISHED for each in ours)


async def waits(peer: Peer, *, count: int, for_s: float, probe: str, model_port: int) -> Answer:
    """Begin so many runs, each in a session of its own; look while they wait; then stop all."""
    answer = Answer()
    crowd = Crowd(peer, answer, probe, model_port)
    line = await http(peer)
    crowd.sessions = [await new_session(peer, line) for _ in range(count)]
    await settled(peer)
    await crowd.begin("first", crowd.sessions[:1], 1)  # loads what only a model call needs
    await crowd.look("before")
    start = time.perf_counter()
    with Watch(peer, answer):
        answer.extra["asked"] = await crowd.begin("accepted", crowd.sessions[1:], count)
    answer.extra["begin_s"] = time.perf_counter() - start
    answer.extra["kb_each"] = answer.extra["rss_growth_mb"] * 1024 / count
    answer.extra["at_work"] = await crowd.at_work()
    await crowd.look("beginning")
    cpu = peer.cpu_s()
    await asyncio.sleep(for_s)
    answer.extra["waiting_cpu_percent"] = (peer.cpu_s() - cpu) / for_s * 100
    await crowd.look("waiting")
    start = time.perf_counter()
    await crowd.each("stopped", "interrupt", {}, crowd.sessions)
    answer.extra["stop_s"] = time.perf_counter() - start
    await crowd.look("stopping")
    answer.extra["at_work_in_the_end"] = await crowd.at_work()
    return answer


JOBS: dict[str, Callable[..., Awaitable[Answer]]] = {
    job.__name__: job
    for job in (
        gets,
        creates,
        runs,
        ran_once,
        holds,
        fans,
        stalls,
        histories,
        resumes,
        letters,
        waits,
    )
}


# --- the other side: asking for a job -------------------------------------------------------------


@dataclass
class Asked:
    """A job under way in its own process."""

    process: subprocess.Popen[bytes]

    def answer(self) -> Answer:
        """Wait for its end."""
        out, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"the load client failed with {self.process.returncode}")
        return Answer(**json.loads(out))


def begin(peer: Peer, job: str, **numbers: Any) -> Asked:
    """Start a job in a process of its own."""
    question = {"job": job, "peer": vars(peer), "numbers": numbers}
    command: Sequence[str] = [sys.executable, "-m", "bench.client"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - this file
    assert process.stdin is not None
    process.stdin.write(json.dumps(question).encode() + b"\n")
    process.stdin.flush()
    return Asked(process)


def ask(peer: Peer, job: str, **numbers: Any) -> Answer:
    """Run a job in a process of its own."""
    return begin(peer, job, **numbers).answer()


def main() -> None:
    """Do what stdin asks for."""
    question = json.loads(sys.stdin.readline())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def work() -> Answer:
            return await JOBS[question["job"]](Peer(**question["peer"]), **question["numbers"])

        answer = runner.run(work())
    print(json.dumps(vars(answer)))


if __name__ == "__main__":
    main()
