"""Lives of the state core without HTTP, each of which strace makes end, or fail, at one call.

`python -m proof.corelife` is a nursery: it has imported everything, reads an order per line and
forks a child that opens a real log and real mailboxes, lives through a short day, and says what
was acknowledged. The thread that is to be hit waits until strace has taken hold of it: strace
counts calls per thread, so a point is (thread, call, n-th time), and no other thread is slowed.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import brainpilot_rt
from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.letters import ForeignLetter
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.mailbox import postoffice
from brainpilot_rt.mailbox.sender import send_letter
from brainpilot_rt.testing.models import Call, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, Team, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, ToolOutput, tool
from proof.life import readable

THREADS: Final = ("main", "log", "mail", "pool")
PATIENCE_S: Final = 40.0
"""Longer than a life takes on a busy machine; one that takes longer hangs."""
EFFECTS: Final = "effects"
_CHECKPOINT_PAGES: Final = 12
_TRIES: Final = 4


class Nothing(Arguments):
    """No arguments."""


def effects_tool(folder: Path) -> Any:
    """A tool whose effect can be counted and is not to be repeated."""

    async def deed(context: ToolContext, _wanted: Nothing) -> ToolOutput:
        fd = os.open(folder / EFFECTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, f"{context.call_id}\n".encode())
        finally:
            os.close(fd)
        return ToolOutput("done")

    return tool(deed, Nothing, name="bash", effect=Effect.IRREVERSIBLE)


# --- the child --------------------------------------------------------------------------------


def _say(*words: object) -> None:
    line = " ".join(map(str, words)).replace("\n", " ").encode() + b"\n"
    for _ in range(_TRIES):  # the fault may be meant for this very write
        with contextlib.suppress(OSError):
            os.write(1, line)
            return


def _child(folder: Path, role: str) -> NoReturn:
    waiting = [role]

    def gate(name: str) -> None:
        if name in waiting:
            waiting.remove(name)
            _say("gate", threading.get_native_id())
            os.read(0, 1)

    def at_start(_frame: FrameType, _event: str, _argument: object) -> None:
        sys.setprofile(None)
        name = threading.current_thread().name
        gate(next((one for one in ("mail", "pool") if name.startswith(one)), "log"))

    threading.setprofile(at_start)
    postoffice.__dict__["_THREADS"] = 1
    code = 0
    gate("main")
    try:
        asyncio.run(_day(folder))
    except BaseException as fault:  # noqa: BLE001 - told, and judged by who started this life
        _say("ended", repr(fault))
        code = 1
    os._exit(code)


async def _day(folder: Path) -> None:
    asyncio.get_running_loop().set_default_executor(
        ThreadPoolExecutor(1, thread_name_prefix="pool")
    )
    log = await SqliteEventLog.open(
        folder / "log.db", clock=SystemClock(), checkpoint_pages=_CHECKPOINT_PAGES
    )
    _say("epoch", log.epoch)
    try:
        model = ScriptedModel(otherwise=Reply(("Well.",)))
        ask = Call("send_message", {"to": "librarian", "content": "look"})
        model.say("principal", Call("bash"), ask)
        setup = Setup(mail=True, tools=[effects_tool(folder)])
        async with team(log, model.stream, folder, setup) as crew:
            await _work(crew, folder)
    finally:
        await log.close()
    _say("closed")


async def _work(crew: Team, folder: Path) -> None:
    new_id = UlidSource(SystemClock())

    async def post(text: str) -> None:
        _say("posted", (await crew.post(text)).letter_id)

    async def send(content: str) -> None:
        letter = ForeignLetter.model_validate({"to": "principal", "content": content})
        await asyncio.to_thread(send_letter, folder / "mail", SESSION, letter, new_id=new_id)
        _say("sent", content)

    await _tried(crew.create)
    await _tried(lambda: post("one"))
    await _tried(crew.settled)
    await _tried(crew.office.scan)
    await _tried(lambda: send("foreign"))
    crew.watcher.changed()
    await _tried(crew.office.scan)
    await _tried(crew.settled)
    await _tried(lambda: post("two"))
    await _tried(crew.settled)
    await _tried(crew.office.scan)


async def _tried(what: Callable[[], Awaitable[Any]]) -> None:
    """Do it, and again when it was refused: what was not acknowledged may be repeated."""
    for _ in range(_TRIES):
        try:
            async with asyncio.timeout(PATIENCE_S / 2):
                await what()
        except (RuntimeFault, OSError, TimeoutError) as fault:
            _say("refused", repr(fault))
            await asyncio.sleep(0.02)
        else:
            return


def main() -> None:
    """Fork a child for each order, and say how it ended."""
    for line in sys.stdin:
        order: dict[str, str] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(Path(order["folder"]), order["thread"])
        _say("child", pid)
        _say("dead", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


# --- who starts them --------------------------------------------------------------------------


@dataclass(slots=True)
class Said:
    """What a life said and how it ended."""

    posted: list[str] = field(default_factory=list[str])
    sent: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    ended: str = ""
    epoch: str = ""
    code: int = 0
    hung: bool = False
    traced: list[str] = field(default_factory=list[str])
    """What strace saw: the lines of the calls asked for."""

    def hear(self, what: str, rest: str) -> None:
        """A line of the life itself."""
        match what:
            case "posted":
                self.posted.append(rest)
            case "sent":
                self.sent.append(rest)
            case "refused":
                self.refused.append(rest)
            case "epoch":
                self.epoch = rest
            case "ended":
                self.ended = rest
            case _:
                pass

    @property
    def killed(self) -> bool:
        """Whether the point was reached and killed it."""
        return self.code == -signal.SIGKILL and not self.hung


class Lives:
    """A nursery and the lives it gives, one at a time."""

    def __init__(self) -> None:
        here = Path(__file__).parents[1]
        root = Path(brainpilot_rt.__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proof.corelife"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "PYTHONPATH": f"{root}{os.pathsep}{here}"},
            bufsize=0,
        )
        self._rest = b""

    def __enter__(self) -> "Lives":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def live(self, folder: Path, thread: str, calls: str, inject: str | None) -> Said:
        """One life; `calls` and `inject` as strace takes them (without `inject`: only watched)."""
        said, trace = Said(), folder.parent / f"{folder.name}.trace"
        self._order(json.dumps({"folder": str(folder), "thread": thread}).encode() + b"\n")
        deadline = time.monotonic() + PATIENCE_S
        tracer: subprocess.Popen[bytes] | None = None
        pid = 0
        try:
            while True:
                line = self._line(deadline)
                if line is None:
                    said.hung = True
                    os.kill(pid, signal.SIGKILL)
                    deadline = time.monotonic() + PATIENCE_S
                    continue
                what, _, rest = line.partition(" ")
                if what == "child":
                    pid = int(rest)
                elif what == "gate":
                    tracer = _traced(int(rest), calls, inject, trace)
                    self._order(b"g")
                elif what == "dead":
                    said.code = int(rest)
                    return said
                else:
                    said.hear(what, rest)
        finally:
            if tracer is not None:
                tracer.wait()
                said.traced = trace.read_text(encoding="ascii", errors="replace").splitlines()
                trace.unlink()

    def _order(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def _line(self, deadline: float) -> str | None:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if not readable(out, max(0.0, deadline - time.monotonic())):
                return None
            data = os.read(out, 1 << 16)
            if not data:
                raise RuntimeError("the nursery died")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


def _traced(tid: int, calls: str, inject: str | None, trace: Path) -> "subprocess.Popen[bytes]":
    """Strace, holding this one thread."""
    tracer = shutil.which("strace")
    if tracer is None:
        raise FileNotFoundError("strace")
    command = [tracer, "-p", str(tid), "-o", str(trace), "-e", f"trace={calls}"]
    if inject is not None:
        command += ["-e", f"inject={inject}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stderr is not None
    said = process.stderr.readline()
    if b"attached" not in said:
        raise RuntimeError(f"strace: {said.decode(errors='replace')}")
    # Its end is read with the trace; nobody reads this pipe any more.
    process.stderr.close()
    return process


# --- what is left -----------------------------------------------------------------------------


def judge(folder: Path, said: Said) -> list[str]:
    """Start the core again on what is left, let it come to rest, and compare."""
    if said.hung:
        return ["hung: the life did not end"]
    try:
        found = asyncio.run(_after(folder, said))
    except Exception as broken:  # noqa: BLE001 - whatever the start raises is the finding
        return [f"start-up broke: {broken!r}"]
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        [[verdict]] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    return found if verdict == "ok" else [*found, f"damaged: {verdict}"]


async def _after(folder: Path, said: Said) -> list[str]:
    model = ScriptedModel(otherwise=Reply(("Well.",)))
    (folder / "mail").mkdir(exist_ok=True)
    log = await SqliteEventLog.open(folder / "log.db", clock=SystemClock())
    try:
        if said.epoch not in {"", log.epoch}:
            return ["epoch: a death was taken for a restored log"]
        if not await log.head(SESSION):
            return ["lost: everything"] if said.posted else []
        setup = Setup(mail=True, tools=[effects_tool(folder)])
        async with team(log, model.stream, folder, setup) as crew, asyncio.timeout(PATIENCE_S):
            await crew.organs.manager.load(SESSION)
            await crew.settled()
            await crew.office.scan()
            await crew.settled()
            found = [f"audit: {one}" for one in await crew.violations()]
            found += _compare([one.event for one in await crew.events()], said, folder)
        head = await log.head(SESSION)
        async with team(log, model.stream, folder, setup):
            pass
        if await log.head(SESSION) != head:
            found.append("another restart changed something")
        return found
    finally:
        await log.close()


def _compare(events: list[ev.Event], said: Said, folder: Path) -> list[str]:
    accepted = {one.letter_id for one in events if isinstance(one, ev.LetterAccepted)}
    received = Counter(one.letter.content for one in events if isinstance(one, ev.LetterReceived))
    found = [f"lost: posted letter {one}" for one in said.posted if one not in accepted]
    found += [f"lost: sent letter {one!r}" for one in said.sent if one not in received]
    # A send that was refused may have delivered; it was repeated.
    sends = 1 + len(said.refused)
    found += [f"twice: {one!r} became {n} letters" for one, n in received.items() if n > sends]
    effects = Counter[str]()
    with contextlib.suppress(FileNotFoundError):
        effects.update((folder / EFFECTS).read_text(encoding="ascii").split())
    found += [f"repeated: the effect of {one} {n} times" for one, n in effects.items() if n > 1]
    found += [
        f"lost: the effect of {one.call_id}"
        for one in events
        if isinstance(one, ev.ToolFinished)
        and (one.name, one.status) == ("bash", "completed")
        and not effects[one.call_id]
    ]
    found += [
        f"refused: {one.file} of {one.agent} ({one.reason})"
        for one in events
        if isinstance(one, ev.LetterRefused)
    ]
    return found


if __name__ == "__main__":
    main()
