"""A team whose every step is decided from outside, and which may die at any of them.

A `World` is what outlives a daemon: the log's files, the mailbox directories, the clock, what the
outside has seen. A `Life` is one daemon in it: the real SessionManager, log, mail room, supervisor
and SSE streams on a loop that only turns when told to. The model and the tools wait until the
world says what they do. Nothing runs on a thread, so a life is a function of its orders and its
seed.

A crash is a copy of the files as they are at that instant. The objects are not told: they are
never run again, and whatever they still hold is never looked at.
"""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.sources import encode_ulid
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.eventlog.schema import last_pos, prepare
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.eventlog.store import LogConnection, LogStore
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.stream import Streams
from brainpilot_rt.settings import HttpSettings, SessionLimits
from brainpilot_rt.testing.models import Reply, ScriptedModel
from brainpilot_rt.testing.shuffled_loop import ShuffledLoop
from brainpilot_rt.testing.sources import START, SequentialIds
from brainpilot_rt.testing.team import Setup, Team, team
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from tests.flows.reliability.clients import Reader
from tests.flows.reliability.graves import bury
from tests.flows.reliability.history import log_is_whole

T = TypeVar("T")

DEED, LOOK = "bash", "read"
"""The tools, under names that every persona may use: one that cannot be undone, one that can."""
FULL = ("log.commit.before", "files.create.before", "files.write.before", "files.mkdir.before")


class PowerCut(SystemExit):
    """The process ends here. Asyncio lets a SystemExit pass through everything."""


class InlineConnection:
    """What `LogStore` needs of its connection, on the loop: work once begun is always done."""

    def __init__(self, inner: sqlite3.Connection, loop: ShuffledLoop) -> None:
        self._inner = inner
        self._loop = loop

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in a turn of its own, as a thread would."""
        done = self._loop.create_future()
        self._loop.call_soon(self._do, work, done)
        return await done

    def _do(self, work: Callable[[sqlite3.Connection], Any], done: Any) -> None:
        try:
            result = work(self._inner)
        except Exception as failure:  # noqa: BLE001 - the outcome of the work, as on a thread
            if not done.cancelled():
                done.set_exception(failure)
            return
        if not done.cancelled():
            done.set_result(result)

    async def close(self) -> None:
        """Close the file."""
        self._inner.close()


class Nothing(Arguments):
    """No arguments."""


@dataclass(eq=False)
class Waiting:
    """A model call or a tool call that waits for the world."""

    agent: str
    what: str
    decided: Any


@dataclass(eq=False)
class Claim:
    """Something a client asked for. `outcome` once it has been told."""

    what: str
    task: Any
    note: Any = None
    told: bool = False


class Clock:
    """Tells the loop's time, of all lives together, and may be set forward and back."""

    def __init__(self) -> None:
        self.loop: ShuffledLoop | None = None
        self.passed_s = 0.0
        self.step_s = 0.0

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self.passed_s + (self.loop.time() if self.loop else 0.0)

    def now(self) -> datetime:
        """Wall-clock time."""
        return START + timedelta(seconds=self.monotonic() + self.step_s)

    def now_ms(self) -> int:
        """Wall-clock time in milliseconds."""
        return int(START.timestamp() * 1000 + (self.monotonic() + self.step_s) * 1000)


@dataclass(eq=False)
class Life:
    """One daemon."""

    loop: ShuffledLoop
    log: SqliteEventLog
    manager: Any
    crew: Team
    streams: Streams
    alive: bool = True
    file: sqlite3.Connection | None = None
    calls: list[Waiting] = field(default_factory=list[Waiting])
    execs: list[Waiting] = field(default_factory=list[Waiting])
    claims: list[Claim] = field(default_factory=list[Claim])


class World:
    """What outlives a daemon. Every order is a plain function; `turns` None means: come to rest."""

    def __init__(self, root: Path, seed: int | None = None) -> None:
        self.root = root
        self.seed = seed
        self.lives = 0
        self.clock = Clock()
        self.new_id = SequentialIds()
        self.deeds: Counter[str] = Counter()
        """How often each irreversible call took effect."""
        self.visible: dict[SessionId, list[ev.Recorded]] = {}
        """What was ever published."""
        self.told: list[tuple[str, Any, Any]] = []
        """What clients were told: (what, note, answer)."""
        self.faults: list[str] = []
        self.readers: list[Reader] = []
        self.gone: set[SessionId] = set()
        self.written = 0
        self.buried: list[Life] = []
        self.life: Life | None = None
        self._booting: Life | None = None
        self.start()

    # --- lives ------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where the current life's files are."""
        return self.root / f"life-{self.lives}"

    @property
    def crew(self) -> Team:
        """The team that is alive."""
        assert self.life is not None
        return self.life.crew

    def start(self) -> None:
        """Begin a life, again if it dies while it begins."""
        while self.life is None:
            self._begin()

    def _begin(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
        if (self.folder / "log.db").exists():
            self.faults += log_is_whole(self.folder, self.visible, self.gone)
        loop = ShuffledLoop(None if self.seed is None else self.seed + self.lives)
        self.clock.loop = loop
        life = self._booting = Life(
            loop, cast("Any", None), None, cast("Any", None), cast("Any", None)
        )
        boot = loop.create_task(self._boot(life))
        with failpoints.dying(self._cut):
            self._drive(life, loop.turn)
        self._booting = None
        if life.alive:
            boot.result()
            self.life = life

    async def _boot(self, life: Life) -> None:
        path = self.folder / "log.db"
        inner = life.file = sqlite3.connect(path, isolation_level=None)
        epoch, pos = prepare(inner, new_epoch="world0000001"), last_pos(inner)
        connection = cast("LogConnection", InlineConnection(inner, life.loop))
        life.log = SqliteEventLog(LogStore(connection, self.clock, epoch, pos))
        life.log.on_commit(lambda batch: self._publish(life, batch))
        setup = Setup(
            tools=self._tools(life),
            limits=SessionLimits(runs_concurrent_max=2, mailbox_depth_max=12, questions_max=2),
            mail=True,
            clock=self.clock,
            new_id=self.new_id,
            audited=False,
        )

        def stream(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
            return self._answer(life, request)

        life.manager = team(life.log, stream, self.folder, setup)
        life.crew = await life.manager.__aenter__()
        backend = life.crew.backend
        life.streams = Streams(backend, Hub(backend, HttpSettings()))

    def _drive(self, life: Life, orders: Callable[[], None]) -> None:
        try:
            orders()
        except PowerCut:
            self._die(life)

    def _cut(self) -> None:
        """A failpoint says: die here. The files are copied before anything else can happen."""
        life = self._booting or self.life
        assert life is not None
        if life.alive:
            life.alive = False
            self._copy()
            raise PowerCut

    def _copy(self) -> None:
        old = self.folder
        self.lives += 1
        for name in ("log.db", "log.db-wal"):
            if (old / name).exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(old / name, self.folder / name)
        if (old / "mail").exists():
            shutil.copytree(old / "mail", self.folder / "mail", symlinks=True)

    def _die(self, life: Life) -> None:
        self.clock.passed_s += life.loop.time()
        self.clock.loop = None
        self._harvest(life)
        for reader in self.readers:
            reader.cut()
        if life.file is not None:
            life.file.close()  # what a dead life still writes fails, and costs no descriptor
        self.buried.append(life)
        self.life = None

    def crash(self) -> None:
        """Die between two steps."""
        life = self.life
        assert life is not None
        self._harvest(life)
        life.alive = False
        self._copy()
        self._die(life)

    def stop(self) -> bool:
        """End the life in order; False when it died on the way."""
        life = self.life
        assert life is not None
        for call in life.execs:
            if not call.decided.done():
                call.decided.set_result("ok")

        async def end() -> None:
            life.streams.close()
            await life.manager.__aexit__(None, None, None)
            await life.log.close()

        ending = life.loop.create_task(end())
        with failpoints.dying(self._cut):
            self._drive(life, lambda: life.loop.pass_time(60))
        if not life.alive:
            return False
        life.alive = False
        ending.result()
        self._copy()
        self._die(life)
        return True

    def turn(self, turns: int | None = None, pass_s: float = 0.0) -> None:
        """Let the life go on."""
        life = self.life
        assert life is not None
        with failpoints.dying(self._cut):
            self._drive(life, lambda: life.loop.turn(turns))
            if life.alive and pass_s:
                self._drive(life, lambda: life.loop.pass_time(pass_s))
        if life.alive:
            self._harvest(life)
            self.faults += [f"task {name} died: {cause!r}" for name, cause in life.crew.crashes]

    def close(self) -> None:
        """Forget every life: end its tasks so that nothing complains."""
        if self.life is not None:
            self.life.alive = False
            self._die(self.life)
        for life in self.buried:
            bury(life.loop)

    # --- what the outside does --------------------------------------------------------------

    def put(self, box: Path, name: str, data: bytes) -> None:
        """Another process writes a letter; when, is counted and not measured."""
        unfinished = box / "tmp" / name
        unfinished.write_bytes(data)
        self.written += 1
        os.utime(unfinished, (self.written, self.written))
        unfinished.rename(box / "new" / name)

    def ask(self, what: str, work: Coroutine[Any, Any, Any], note: Any = None) -> None:
        """A client asks for something; its answer is harvested when there is one."""
        assert self.life is not None
        task = self.life.loop.create_task(work)
        self.life.claims.append(Claim(what, task, note))

    def _harvest(self, life: Life) -> None:
        for claim in life.claims:
            if claim.told or not claim.task.done():
                continue
            claim.told = True
            failure = claim.task.exception() if not claim.task.cancelled() else None
            if failure is None and not claim.task.cancelled():
                self.told.append((claim.what, claim.note, claim.task.result()))
            elif failure is not None and not isinstance(failure, RuntimeFault | PowerCut):
                self.faults.append(f"{claim.what} {claim.note}: {failure!r}")

    def _publish(self, life: Life, batch: Any) -> None:
        if life.alive:
            for recorded in batch:
                self.visible.setdefault(recorded.session, []).append(recorded)

    async def _answer(self, life: Life, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        call = Waiting(request.agent, request.run_id, life.loop.create_future())
        life.calls.append(call)
        try:
            reply: Reply = await call.decided
        finally:
            life.calls.remove(call)
        model = ScriptedModel()
        model.script(request.agent, reply)
        async for event in model.stream(request):
            yield event

    def _tools(self, life: Life) -> list[Tool]:
        async def deed(context: ToolContext, wanted: Nothing) -> ToolOutput:
            return await self._do(life, context, DEED)

        async def look(context: ToolContext, wanted: Nothing) -> ToolOutput:
            return await self._do(life, context, LOOK)

        return [
            tool(deed, Nothing, name=DEED, effect=Effect.IRREVERSIBLE),
            tool(look, Nothing, name=LOOK, effect=Effect.PURE),
        ]

    async def _do(self, life: Life, context: ToolContext, name: str) -> ToolOutput:
        call = Waiting(context.agent, context.call_id, life.loop.create_future())
        if life.alive and name == DEED:
            self.deeds[context.call_id] += 1
        life.execs.append(call)
        try:
            how = await call.decided
        finally:
            life.execs.remove(call)
        if how == "err":
            raise OSError("the tool broke")
        return ToolOutput(f"done {name}")


def foreign_name(number: int) -> str:
    """The id a foreign writer gave its file."""
    return encode_ulid((1 << 100) + number)
