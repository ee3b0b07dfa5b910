"""The parts of the soak: a team's clients with books, bad readers, a disk that fills, a hangman."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from brainpilot_rt.testing.daemon import DaemonHome, NotStarted, RunningDaemon
from proof.vitals import Vitals, look

SESSIONS: Final = 8
TURNS_A_SESSION: Final = 12
TURN_PATIENCE_S: Final = 90.0
"""After that a turn is interrupted by its user: a silent provider is not the daemon's fault."""
PAUSE_S: Final = (0.5, 3.0)
TROUBLE: Final = (httpx.TransportError, OSError)


@dataclass(slots=True)
class Books:
    """What the clients of one daemon were promised, and what came of it."""

    counts: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    accepted: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Session -> letters that were acknowledged."""


@dataclass(slots=True)
class Subject:
    """A daemon under observation: its home, its present life, what was promised in it."""

    name: str
    home: DaemonHome
    books: Books = field(default_factory=Books)
    daemon: RunningDaemon | None = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    vitals: list[Vitals] = field(default_factory=list[Vitals])
    ages: list[Vitals] = field(default_factory=list[Vitals])
    """Of each life, at the same age."""
    begun: float = field(default_factory=time.monotonic)

    async def start(self) -> None:
        """Bring it up."""
        try:
            self.daemon = await self.home.start()
        except NotStarted as failed:
            self.books.broken.append(f"{self.name}: it did not start again: {failed}"[:2000])
            raise
        self.books.counts["lives"] += 1
        self.up.set()

    async def kill(self) -> None:
        """Kill -9, without a word to anybody."""
        daemon = self.daemon
        self.up.clear()
        self.daemon = None
        if daemon is not None:
            await daemon.kill()
            await daemon.http.aclose()

    def look(self) -> Vitals | None:
        """Weigh it now."""
        if self.daemon is None:
            return None
        elapsed = time.monotonic() - self.begun
        return look(self.daemon.process.pid, self.home.data_dir, elapsed)


async def _ask(subject: Subject, method: str, path: str, **more: Any) -> httpx.Response:
    """One request to the life that is up; waits for one that is."""
    await subject.up.wait()
    daemon = subject.daemon
    if daemon is None:
        raise httpx.ConnectError("it died")
    return await daemon.http.request(method, path, **more)


async def client(subject: Subject, number: int, dice: random.Random) -> None:
    """A user for ever: a session, some turns, a look whether all was kept, its end, a new one."""
    count = 0
    while True:
        count += 1
        name = f"soak-{number}-{count}"
        try:
            await _through(subject, name, dice)
        except TROUBLE:
            subject.books.counts["cut off"] += 1
            await asyncio.sleep(0.1)


async def _through(subject: Subject, name: str, dice: random.Random) -> None:
    books = subject.books
    await _until_ok(subject, "POST", "/sessions", {"id": name}, f"new-{name}")
    books.counts["sessions"] += 1
    mine = books.accepted.setdefault(name, set())
    for turn in range(TURNS_A_SESSION):
        body = {"content": f"turn {turn}: " + "please " * dice.randrange(1, 100)}
        answer = await _until_ok(
            subject, "POST", f"/sessions/{name}/messages", body, f"{name}-{turn}"
        )
        if "letterId" in answer:
            mine.add(str(answer["letterId"]))
        books.counts["messages"] += 1
        await _until_idle(subject, name)
        await asyncio.sleep(dice.uniform(*PAUSE_S))
    await _check_kept(subject, name, mine)
    await _until_ok(subject, "DELETE", f"/sessions/{name}", None, f"end-{name}")
    del books.accepted[name]


async def _until_ok(
    subject: Subject, method: str, path: str, body: dict[str, Any] | None, key: str
) -> dict[str, Any]:
    """Ask under one key until there is an answer: over deaths, full disks and pauses."""
    while True:
        try:
            headers = {"idempotency-key": key}
            answer = await _ask(subject, method, path, json=body, headers=headers)
        except TROUBLE:
            await asyncio.sleep(0.2)
            continue
        if answer.status_code in {429, 503, 507}:
            subject.books.counts["refused for now"] += 1
            await asyncio.sleep(0.5)
            continue
        if answer.status_code == 404 and method == "DELETE":
            return {}
        if answer.status_code >= 400:
            text = f"{subject.name}: {method} {path}: {answer.status_code} {answer.text[:300]}"
            subject.books.broken.append(text)
            raise httpx.TransportError(text)
        return dict(answer.json())


async def _until_idle(subject: Subject, name: str) -> None:
    """Wait until the session rests; a user whose patience ends interrupts."""
    patience = time.monotonic() + TURN_PATIENCE_S
    while True:
        await asyncio.sleep(0.4)
        try:
            answer = await _ask(subject, "GET", f"/sessions/{name}/state")
        except TROUBLE:
            continue
        if answer.status_code == 200 and not answer.json()["workState"]["active"]:
            subject.books.counts["turns"] += 1
            return
        if time.monotonic() > patience:
            patience = time.monotonic() + TURN_PATIENCE_S
            subject.books.counts["interrupts"] += 1
            with contextlib.suppress(*TROUBLE):
                await _ask(subject, "POST", f"/sessions/{name}/interrupt", json={})


async def _check_kept(subject: Subject, name: str, mine: set[str]) -> None:
    """Everything that was acknowledged is in the log exactly once, which has no gap."""
    while True:
        with contextlib.suppress(*TROUBLE):
            answer = await _ask(subject, "GET", f"/sessions/{name}/export")
            if answer.status_code == 200:
                break
        await asyncio.sleep(0.3)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    kept = Counter(line["letter_id"] for line in lines if line["type"] == "letter_accepted")
    wrong = {letter: kept[letter] for letter in mine if kept[letter] != 1}
    if wrong:
        subject.books.broken.append(f"{subject.name}/{name}: acknowledged, then in the log {wrong}")
    if [line["seq"] for line in lines] != list(range(1, len(lines) + 1)):
        subject.books.broken.append(f"{subject.name}/{name}: a gap in seq")
    subject.books.counts["letters checked"] += len(mine)


async def slow_reader(subject: Subject, dice: random.Random) -> None:
    """Opens the stream of everything and reads nothing, or a few bytes a second; then again."""
    loop = asyncio.get_running_loop()
    while True:
        await subject.up.wait()
        daemon = subject.daemon
        if daemon is None:
            continue
        with contextlib.suppress(OSError, TimeoutError), socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)  # noqa: FBT003 - the signature of the standard library
            host, port = daemon.url.removeprefix("http://").split(":")
            await loop.sock_connect(connection, (host, int(port)))
            head = ("GET /events HTTP/1.1", f"Host: {host}:{port}",
                    f"Authorization: Bearer {daemon.token}", "", "")  # fmt: skip
            await loop.sock_sendall(connection, "\r\n".join(head).encode())
            subject.books.counts["slow readers"] += 1
            until = time.monotonic() + dice.uniform(20, 60)
            reads = dice.random() < 0.5
            while time.monotonic() < until and subject.daemon is daemon:
                await asyncio.sleep(1)
                if reads:
                    async with asyncio.timeout(1):
                        await loop.sock_recv(connection, 64)
        await asyncio.sleep(0.5)


async def pauser(subject: Subject, dice: random.Random) -> None:
    """Stops the whole process for a moment now and then, as a laptop's lid does."""
    while True:
        await asyncio.sleep(dice.uniform(20, 60))
        daemon = subject.daemon
        if daemon is None:
            continue
        with contextlib.suppress(ProcessLookupError):
            daemon.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(dice.uniform(0.5, 3))
            daemon.process.send_signal(signal.SIGCONT)
            subject.books.counts["pauses"] += 1


async def hangman(subject: Subject, dice: random.Random, every_s: tuple[float, float]) -> None:
    """Kill -9 after a while, a new life at once, for ever."""
    while True:
        await asyncio.sleep(dice.uniform(*every_s))
        await subject.kill()
        subject.books.counts["kills"] += 1
        await subject.start()


async def disk_filler(subject: Subject, disk: Path, dice: random.Random, gap_s: float) -> None:
    """Takes all room of the daemon's disk for a few seconds, then gives it back."""
    ballast = disk / "ballast"
    while True:
        await asyncio.sleep(dice.uniform(gap_s / 2, gap_s))
        try:
            await asyncio.to_thread(_fill, ballast)
            subject.books.counts["disk full windows"] += 1
            await asyncio.sleep(dice.uniform(2, 6))
        finally:
            ballast.unlink(missing_ok=True)


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"x")


@contextlib.contextmanager
def small_disk(where: Path, megabytes: int):  # noqa: ANN201 - Generator[Path | None]
    """A file system of its own, or None where we may not mount one."""
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(where)],  # noqa: S607 - the system's
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        yield None
        return
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=False)  # noqa: S607 - the system's


async def watch(subject: Subject, every_s: float, say: Callable[[Vitals], None]) -> None:
    """Weigh it now and then."""
    while True:
        await asyncio.sleep(every_s)
        seen = subject.look()
        if seen is not None:
            subject.vitals.append(seen)
            say(seen)
