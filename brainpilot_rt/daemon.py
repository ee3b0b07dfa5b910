"""The composition root: what exists, in the order it starts; stopped in the reverse order.

lock -> log -> repair -> mail -> organs -> server -> workers. Nothing is built anywhere else and
nothing decides here. Signals belong to this module: a first SIGTERM or SIGINT stops in order, a
second one at once. Event streams are closed before uvicorn stops, because uvicorn waits for them
for ever (D23).
"""

import asyncio
import contextlib
import gc
import hashlib
import json
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from typing_extensions import override

from brainpilot_rt import __version__
from brainpilot_rt.agents.personas import team_profile
from brainpilot_rt.aiokit import failpoints, process
from brainpilot_rt.aiokit.files import DirHandle, ensure_private_dir, replace_atomic
from brainpilot_rt.aiokit.lag import LoopLag
from brainpilot_rt.aiokit.lock import InstanceLock
from brainpilot_rt.aiokit.sources import Clock, NewId, SystemClock, UlidSource
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.context.retrieval import Retrieval
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON_STREAM, SessionId
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.mailbox.codec import LetterLimits
from brainpilot_rt.mailbox.handlers import PostPolicy
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.mailbox.watcher import FileWatcher
from brainpilot_rt.models.dispatch import Dispatcher
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision import boot
from brainpilot_rt.supervision.backend import Backend
from brainpilot_rt.supervision.conversations import Conversations
from brainpilot_rt.supervision.liveness import Liveness
from brainpilot_rt.supervision.mailroom import MailRoom
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.supervisor import Supervisor
from brainpilot_rt.supervision.template import Template
from brainpilot_rt.supervision.tokens import TokenFile
from brainpilot_rt.supervision.traces import Traces
from brainpilot_rt.supervision.worktrees import Worktrees
from brainpilot_rt.tools import sandbox
from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.finding import finding_tools
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.retrieving import search_tool
from brainpilot_rt.tools.shell import MARKER, ShellPolicy, shell_tool
from brainpilot_rt.tools.skills import skill_tool
from brainpilot_rt.tools.team import team_tools
from brainpilot_rt.tools.tracing import graph_tools
from brainpilot_rt.workspace.files import Workspace

DAEMON_FILE: Final = "daemon.json"
STOP_S: Final = 10.0
LAG_INTERVAL_S: Final = 0.25

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a daemon that is ready can be found."""

    url: str
    pid: int
    token_file: str
    data_dir: str
    mailbox_dir: str
    version: str


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
    log: SqliteEventLog
    manager: SessionManager
    liveness: Liveness
    supervisor: Supervisor
    backend: Backend
    tasks: TaskSet
    token: TokenFile
    stop: asyncio.Event
    instance_id: str


@asynccontextmanager
async def _built(settings: Settings) -> AsyncGenerator[_Daemon]:
    """Build every part and repair what a crash left; close the parts in the reverse order."""
    clock = SystemClock()
    new_id = UlidSource(clock)
    stop = asyncio.Event()
    tasks = TaskSet(on_crash=partial(_crashed, stop))
    instance_id = new_id()
    async with AsyncExitStack() as stack:
        log = await SqliteEventLog.open(settings.data_dir / "log.db", clock=clock)
        stack.push_async_callback(log.close)
        hub = Hub(clock.now_ms)
        liveness = Liveness(clock.now_ms)
        manager = SessionManager(log, hub, clock=clock, new_id=new_id, limits=settings.sessions)
        hub.listen(lambda _item: liveness.touch())
        sessions, counts = await boot.repair_sessions(manager, log)

        room = MailRoom(manager, hub, new_id=new_id)
        office = _postoffice(settings, room, clock, new_id, stop)
        boot.open_mailboxes(office, sessions)
        room.follow(office, tasks)
        stack.push_async_callback(office.stop)
        counts["files_placed"] = await boot.reconcile(manager, room)
        await office.start()

        await process.end_marked(MARKER, _marker(settings), grace_s=2.0)
        retrieval = await Retrieval.open(settings.data_dir / "retrieval.db")
        stack.push_async_callback(retrieval.close)
        template = Template(settings)
        await template.probe()
        dispatcher = Dispatcher(template.current(), clock=clock, new_id=new_id)
        stack.push_async_callback(dispatcher.close)
        worktrees = Worktrees(
            manager, settings.data_dir, settings.mailbox_dir, settings.environment
        )
        traces = Traces(log, hub)
        profile = team_profile()
        stops: list[Supervisor] = []
        organs = Organs(
            manager=manager,
            hub=hub,
            log=log,
            liveness=liveness,
            conversations=Conversations(
                log,
                hub,
                keep_max=settings.agents.conversations_max,
                chars_max=settings.agents.context_chars_max,
            ),
            stream=dispatcher.stream,
            model_of=partial(template.model_of, dispatcher),
            tools=await _tools(settings, template),
            search=partial(_search, retrieval),
            workspace=worktrees.of,
            profile=lambda _role: profile,
            prompts=template.prompts,
            trace_nodes=traces.nodes,
            load_trace=traces.load,
            destroy=lambda session, agent, by: stops[0].destroy(session, agent, by),
            tasks=tasks,
            clock=clock,
            new_id=new_id,
            settings=settings.agents,
            attempts_max=settings.sessions.attempts_max,
        )
        supervisor = Supervisor(organs, tasks, clock)
        stops.append(supervisor)
        lag = LoopLag(clock, interval_s=LAG_INTERVAL_S, window=240)
        lag.start(tasks)
        backend = Backend(
            organs,
            supervisor,
            office=office,
            worktrees=worktrees,
            traces=traces,
            lag=lag,
            identity=(__version__, instance_id),
            begin_stop=stop.set,
            memory_full=partial(_memory_full, settings.mem_limit_mb),
        )
        backend.audit_violations = await boot.audit_busy(manager, log)
        started = ev.DaemonStarted(version=__version__, pid=os.getpid(), instance_id=instance_id)
        await manager.record(DAEMON_STREAM, started, boot.recovered(counts))
        token = TokenFile(settings.data_dir)
        token.ensure()
        yield _Daemon(
            settings=settings,
            log=log,
            manager=manager,
            liveness=liveness,
            supervisor=supervisor,
            backend=backend,
            tasks=tasks,
            token=token,
            stop=stop,
            instance_id=instance_id,
        )
        await tasks.close(STOP_S)


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
            _announce(daemon, port, on_ready)
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
        with contextlib.suppress(FileNotFoundError):
            (settings.data_dir / DAEMON_FILE).unlink()


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


def _announce(daemon: _Daemon, port: int, on_ready: Callable[[Ready], None]) -> None:
    """Leave `daemon.json` for the clients of this machine, then say that we are ready."""
    settings = daemon.settings
    host = "127.0.0.1" if settings.http.host in ("0.0.0.0", "") else settings.http.host  # noqa: S104 - compared, not bound
    shown = f"[{host}]" if ":" in host else host
    ready = Ready(
        url=f"http://{shown}:{port}",
        pid=os.getpid(),
        token_file=str(daemon.token.path),
        data_dir=str(settings.data_dir),
        mailbox_dir=str(settings.mailbox_dir),
        version=__version__,
    )
    record = {**asdict(ready), "instance_id": daemon.instance_id}
    with DirHandle.open(settings.data_dir) as folder:
        replace_atomic(folder, DAEMON_FILE, json.dumps(record).encode() + b"\n", sync=False)
    on_ready(ready)


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


def _postoffice(
    settings: Settings, room: MailRoom, clock: Clock, new_id: NewId, stop: asyncio.Event
) -> PostOffice:
    mail = settings.mail
    return PostOffice(
        settings.mailbox_dir,
        room.handlers(),
        watcher=FileWatcher(lambda what: _log.warning("mailbox watcher: %s", what)),
        sources=(clock, new_id),
        policy=PostPolicy(
            rescan_s=mail.rescan_s,
            done_max=mail.done_max,
            letters=LetterLimits(bytes_max=mail.letter_bytes_max),
        ),
        on_crash=partial(_crashed, stop),
    )


async def _tools(settings: Settings, template: Template) -> Registry:
    """Every tool there is; which of them an agent is offered is decided per role."""
    path = settings.environment.get("PATH", "")
    policy = ShellPolicy(
        mode=settings.agents.shell,
        sandbox=await sandbox.probe(path),
        marker_prefix=_marker(settings),
    )
    shell = shell_tool(policy)
    return Registry(
        [
            *editing_tools(),
            *finding_tools(),
            *team_tools(),
            *graph_tools(),
            search_tool(),
            skill_tool(template.skill_libraries),
            *([shell] if shell else []),
        ]
    )


async def _search(
    retrieval: Retrieval, session: SessionId, workspace: Workspace, query: str, top_k: int
) -> list[Passage]:
    """Bring the index up to date with the files, then search it."""
    del session
    key = str(workspace.root)
    await retrieval.refresh(key, workspace)
    return await retrieval.search(key, query, top_k)


def _marker(settings: Settings) -> str:
    digest = hashlib.sha256(str(settings.data_dir).encode()).hexdigest()
    return f"bp-{digest[:16]}-"


def _memory_full(limit_mb: int | None) -> bool:
    """BrainPilot's opt-in memory guard: true from 85 % of the limit on."""
    if limit_mb is None:
        return False
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >= limit_mb * 2**20 * 0.85


def _crashed(stop: asyncio.Event, name: str, cause: BaseException) -> None:
    """A worker's crash is its own; a crash of an endless task ends the daemon in order."""
    _log.critical("%s crashed: %r", name, cause)
    if not name.startswith(("run ", "wake ", "stall notice")):
        stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
