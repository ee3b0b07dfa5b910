"""The composition root: what exists, in the order it starts; stopped in the reverse order.

lock -> log -> repair -> mail -> organs -> server -> workers. Nothing is built anywhere else and
nothing decides here. Signals belong to this module: a first SIGTERM or SIGINT stops in order, a
second one at once. Event streams are closed before uvicorn stops, because uvicorn waits for them
for ever (D23).
"""

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvicorn
from typing_extensions import override

from brainpilot_rt import __version__
from brainpilot_rt.agents.personas import team_profile
from brainpilot_rt.aiokit import failpoints, process
from brainpilot_rt.aiokit.files import ensure_private_dir
from brainpilot_rt.aiokit.lag import LoopLag
from brainpilot_rt.aiokit.lock import InstanceLock
from brainpilot_rt.aiokit.sources import Clock, NewId, SystemClock, UlidSource
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.context.retrieval import Retrieval
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON_STREAM, AgentName, SessionId
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.mailbox.codec import LetterLimits
from brainpilot_rt.mailbox.handlers import PostPolicy
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.mailbox.watcher import FileWatcher
from brainpilot_rt.models.dispatch import Dispatcher
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision import boot
from brainpilot_rt.supervision.backend import Backend
from brainpilot_rt.supervision.conversations import Conversations
from brainpilot_rt.supervision.liveness import Liveness, memory_full
from brainpilot_rt.supervision.mailroom import MailRoom
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.supervisor import Supervisor
from brainpilot_rt.supervision.template import Template
from brainpilot_rt.supervision.tokens import TokenFile
from brainpilot_rt.supervision.toolbox import marker, toolbox
from brainpilot_rt.supervision.traces import Traces
from brainpilot_rt.supervision.whereabouts import Ready, leave, take_back, whereabouts
from brainpilot_rt.supervision.worktrees import Worktrees
from brainpilot_rt.tools.shell import MARKER

STOP_S: Final = 10.0

_log = logging.getLogger(__name__)


class PortTaken(Exception):
    """The address can not be bound; the message says which and why."""


def run(settings: Settings, *, on_ready: Callable[[Ready], None]) -> int:
    """Run a daemon in the foreground until it is stopped; the exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings, on_ready=on_ready))


async def serve(settings: Settings, *, on_ready: Callable[[Ready], None]) -> int:
    """Start everything, say where, run until a signal or an idle shutdown, stop everything.

    Raises `AlreadyOwned` when another daemon has the data directory and `PortTaken` when the
    address can not be bound; both before anything was changed.
    """
    os.umask(0o077)
    failpoints.configure(settings.failpoints)
    for folder in (settings.data_dir, settings.mailbox_dir):
        folder.parent.mkdir(parents=True, exist_ok=True)
        ensure_private_dir(folder)
    with InstanceLock(settings.data_dir), _bound(settings) as listener:
        async with _built(settings) as daemon:
            await _work(daemon, listener, on_ready)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Daemon:
    """Everything that exists."""

    settings: Settings
    manager: SessionManager
    liveness: Liveness
    supervisor: Supervisor
    backend: Backend
    tasks: TaskSet
    token: TokenFile
    stop: asyncio.Event
    instance_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What everything else stands on."""

    settings: Settings
    stack: AsyncExitStack
    stop: asyncio.Event
    clock: Clock
    new_id: NewId
    tasks: TaskSet
    log: SqliteEventLog
    hub: Hub
    liveness: Liveness
    manager: SessionManager


@asynccontextmanager
async def _built(settings: Settings) -> AsyncGenerator[_Daemon]:
    """Build every part and repair what a crash left; close the parts in the reverse order."""
    async with AsyncExitStack() as stack:
        ground = await _ground(settings, stack)
        manager, log = ground.manager, ground.log
        sessions, counts = await boot.repair_sessions(manager, log)
        office, missing = await _mail(ground, sessions)
        counts["files_placed"] = missing
        await process.end_marked(MARKER, marker(settings), grace_s=2.0)
        worktrees = Worktrees(
            manager, settings.data_dir, settings.mailbox_dir, settings.environment
        )
        traces = Traces(log, ground.hub)
        organs, supervisor = await _organs(ground, worktrees, traces)
        lag = LoopLag(ground.clock, interval_s=0.25, window=240)
        lag.start(ground.tasks)
        instance_id = ground.new_id()
        backend = Backend(
            organs,
            supervisor,
            office=office,
            worktrees=worktrees,
            traces=traces,
            lag=lag,
            identity=(__version__, instance_id),
            begin_stop=ground.stop.set,
            memory_full=partial(memory_full, settings.mem_limit_mb),
        )
        backend.audit_violations = await boot.audit_busy(manager, log)
        started = ev.DaemonStarted(version=__version__, pid=os.getpid(), instance_id=instance_id)
        await manager.record(DAEMON_STREAM, started, boot.recovered(counts))
        token = TokenFile(settings.data_dir)
        token.ensure()
        yield _Daemon(
            settings=settings,
            manager=manager,
            liveness=ground.liveness,
            supervisor=supervisor,
            backend=backend,
            tasks=ground.tasks,
            token=token,
            stop=ground.stop,
            instance_id=instance_id,
        )


async def _ground(settings: Settings, stack: AsyncExitStack) -> _Ground:
    clock = SystemClock()
    new_id = UlidSource(clock)
    stop = asyncio.Event()
    log = await SqliteEventLog.open(settings.data_dir / "log.db", clock=clock)
    stack.push_async_callback(log.close)
    tasks = TaskSet(on_crash=partial(_crashed, stop))
    stack.push_async_callback(tasks.close, STOP_S)
    hub = Hub(clock.now_ms)
    liveness = Liveness(clock.now_ms)

    def on_item(item: Item) -> None:
        liveness.touch()
        liveness.changed(item.session)

    hub.listen(on_item)
    return _Ground(
        settings=settings,
        stack=stack,
        stop=stop,
        clock=clock,
        new_id=new_id,
        tasks=tasks,
        log=log,
        hub=hub,
        liveness=liveness,
        manager=SessionManager(log, hub, clock=clock, new_id=new_id, limits=settings.sessions),
    )


async def _mail(ground: _Ground, sessions: list[SessionId]) -> tuple[PostOffice, int]:
    """Replay what the log promised, arm the watcher, take in what lies there."""
    mail = ground.settings.mail
    room = MailRoom(ground.manager, ground.hub, new_id=ground.new_id)
    office = PostOffice(
        ground.settings.mailbox_dir,
        room.handlers(),
        watcher=FileWatcher(lambda what: _log.warning("mailbox watcher: %s", what)),
        sources=(ground.clock, ground.new_id),
        policy=PostPolicy(
            rescan_s=mail.rescan_s,
            done_max=mail.done_max,
            letters=LetterLimits(bytes_max=mail.letter_bytes_max),
        ),
        on_crash=partial(_crashed, ground.stop),
    )
    boot.open_mailboxes(office, sessions)
    room.follow(office, ground.tasks)
    ground.stack.push_async_callback(office.stop)
    missing = await boot.reconcile(ground.manager, room)
    await office.start()
    return office, missing


async def _organs(
    ground: _Ground, worktrees: Worktrees, traces: Traces
) -> tuple[Organs, Supervisor]:
    settings = ground.settings
    retrieval = await Retrieval.open(settings.data_dir / "retrieval.db")
    ground.stack.push_async_callback(retrieval.close)
    template = Template(settings)
    await template.probe()
    dispatcher = Dispatcher(template.current(), clock=ground.clock, new_id=ground.new_id)
    ground.stack.push_async_callback(dispatcher.close)
    # The probe of the sandbox starts processes: nobody waits for it but the first run.
    tools = ground.tasks.spawn(toolbox(settings, template, ground.liveness), name="toolbox")
    profile = team_profile()
    made: list[Supervisor] = []

    async def destroy(session: SessionId, agent: AgentName, by: AgentName) -> None:
        await made[0].destroy(session, agent, by)

    organs = Organs(
        manager=ground.manager,
        hub=ground.hub,
        log=ground.log,
        liveness=ground.liveness,
        conversations=Conversations(
            ground.log,
            ground.hub,
            keep_max=settings.agents.conversations_max,
            chars_max=settings.agents.context_chars_max,
        ),
        stream=dispatcher.stream,
        model_of=partial(template.model_of, dispatcher),
        tools=lambda: asyncio.shield(tools),
        search=retrieval.search_fresh,
        workspace=worktrees.of,
        profile=lambda _role: profile,
        prompts=template.prompts,
        trace_nodes=traces.nodes,
        load_trace=traces.load,
        destroy=destroy,
        tasks=ground.tasks,
        clock=ground.clock,
        new_id=ground.new_id,
        settings=settings.agents,
        attempts_max=settings.sessions.attempts_max,
    )
    supervisor = Supervisor(organs, ground.tasks, ground.clock)
    made.append(supervisor)
    return organs, supervisor


async def _work(
    daemon: _Daemon, listener: socket.socket, on_ready: Callable[[Ready], None]
) -> None:
    """Listen, say so, wake the workers, wait for the stop, stop in order."""
    port = int(listener.getsockname()[1])
    settings = daemon.settings
    config = ServerConfig(
        http=settings.http,
        hosts=hosts_of(port, settings.http.allowed_hosts),
        token=daemon.token.read,
        clock=SystemClock(),
        mem_limit_bytes=settings.mem_limit_mb * 2**20 if settings.mem_limit_mb else None,
    )
    app = build_app(daemon.backend, config)
    server = _Server(_uvicorn_config(app))
    serving = daemon.tasks.spawn(server.serve(sockets=[listener]), name="http server")
    try:
        with _signals(daemon.stop, server):
            await server.listening.wait()
            ready = whereabouts(settings, port)
            leave(settings, ready, daemon.instance_id)
            on_ready(ready)
            await daemon.supervisor.start()
            gc.collect()
            gc.freeze()
            await daemon.stop.wait()
            daemon.liveness.closing = True
            async with asyncio.timeout(STOP_S):
                await daemon.supervisor.close()
                await daemon.manager.record(DAEMON_STREAM, ev.DaemonStopped(reason="asked to"))
    finally:
        app.state.streams.close()
        server.should_exit = True
        await asyncio.wait([serving])
        take_back(settings)


class _Server(uvicorn.Server):
    """uvicorn without its signals, and with a way to know that it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals belong to the daemon."""
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()


def _uvicorn_config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ws="none",
        proxy_headers=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


@contextlib.contextmanager
def _signals(stop: asyncio.Event, server: uvicorn.Server) -> Generator[None]:
    """A first SIGTERM or SIGINT stops in order, a second one at once; SIGHUP changes nothing."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            _log.warning("second signal: ending at once")
            os._exit(130)
        server.should_exit = False
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the token is read again anyway
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _bound(settings: Settings) -> Generator[socket.socket]:
    """The listening socket; `PortTaken` says who may be in the way."""
    host, port = settings.http.host, settings.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            hint = "; choose another with --port, or 0 for any free one" if port else ""
            raise PortTaken(f"can not listen on {host}:{port}: {reason}{hint}") from None
        listener.set_inheritable(False)
        yield listener
    finally:
        listener.close()


def _crashed(stop: asyncio.Event, name: str, cause: BaseException) -> None:
    """A worker's crash is its own; a crash of an endless task ends the daemon in order."""
    _log.critical("%s crashed: %r", name, cause)
    if not name.startswith(("run ", "wake ", "stall notice")):
        stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed; everything works without it (D29)."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    return importlib.import_module("uvloop").new_event_loop
