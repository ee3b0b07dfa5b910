"""A built daemon at work: it listens, says so, wakes its workers, and stops in order.

Event streams are closed before uvicorn stops, because uvicorn waits for them for ever (D23).
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TypeAlias

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.files import ensure_private_dir
from brainpilot_rt.aiokit.lock import InstanceLock
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.daemon.build import STOP_S, Daemon
from brainpilot_rt.daemon.listener import HttpServer, uvicorn_config
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.supervision.whereabouts import Ready, leave, whereabouts

OnReady: TypeAlias = Callable[[Ready], None]

_log = logging.getLogger(__name__)


def make_folders(settings: Settings) -> None:
    """The data directory and the mailboxes, private."""
    for folder in (settings.data_dir, settings.mailbox_dir):
        folder.parent.mkdir(parents=True, exist_ok=True)
        ensure_private_dir(folder)


@contextmanager
def claimed(settings: Settings) -> Generator[InstanceLock]:
    """The right to the data directory and to the mailboxes; `AlreadyOwned` when another has it.

    Daemons with data of their own may not share mailboxes: each would take half the mail.
    """
    together = settings.mailbox_dir.resolve() == settings.data_dir.resolve()
    with (
        InstanceLock(settings.data_dir) as lock,
        nullcontext() if together else InstanceLock(settings.mailbox_dir),
    ):
        yield lock


@asynccontextmanager
async def at_work(
    daemon: Daemon, listener: socket.socket | None, on_ready: OnReady
) -> AsyncGenerator[None]:
    """Listen (where there is something to listen on) and work; stop in order on leaving."""
    heard = _listening(daemon, listener, on_ready) if listener else nullcontext()
    async with heard:
        daemon.backend.mcp.servers.start()
        await daemon.supervisor.start()
        yield
        failpoints.hit("stop.asked.after")
        daemon.liveness.closing = True
        await _wind_up(daemon)


@asynccontextmanager
async def _listening(
    daemon: Daemon, listener: socket.socket, on_ready: OnReady
) -> AsyncGenerator[None]:
    port = int(listener.getsockname()[1])
    settings = daemon.settings
    config = ServerConfig(
        http=settings.http,
        hosts=hosts_of(port, settings.http.allowed_hosts),
        token=daemon.token.read,
        clients=ClientTokens(settings.data_dir, SystemClock().now_ms).read,
        clock=SystemClock(),
        redact=daemon.secrets.text,
        mem_limit_bytes=settings.mem_limit_mb * 2**20 if settings.mem_limit_mb else None,
        tools_parallel_max=settings.agents.tools_parallel_max,
    )
    app = build_app(daemon.backend, config)
    server = HttpServer(uvicorn_config(app))
    serving = daemon.tasks.spawn(server.serve(sockets=[listener]), name="http server")
    try:
        await server.listening.wait()
        failpoints.hit("boot.listen.after")
        ready = whereabouts(settings, port)
        leave(settings, ready, daemon.instance_id)
        failpoints.hit("boot.ready.before")
        on_ready(ready)
        yield
    finally:
        app.state.streams.close()
        server.should_exit = True
        await asyncio.wait([serving])
        failpoints.hit("stop.http.after")


async def _wind_up(daemon: Daemon) -> None:
    """Stop the workers and say so in the log; what cannot be done is left to the next start."""
    reason = daemon.stop.trouble or "asked to"
    try:
        async with asyncio.timeout(STOP_S):
            await daemon.supervisor.close()
            await daemon.backend.mcp.calls.close()
            await daemon.manager.record(DAEMON_STREAM, ev.DaemonStopped(reason=reason))
            failpoints.hit("stop.recorded.after")
    except (RuntimeFault, TimeoutError) as trouble:
        _log.warning("the stop is not complete, the next start will repair: %s", trouble)
