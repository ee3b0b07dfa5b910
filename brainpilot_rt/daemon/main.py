"""Runs a daemon: build, listen, wake the workers, wait, stop in order.

Signals belong here: a first SIGTERM or SIGINT stops in order, a second one at once. Event streams
are closed before uvicorn stops, because uvicorn waits for them for ever (D23).
"""

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable, Generator

import uvicorn

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.files import ensure_private_dir
from brainpilot_rt.aiokit.lock import InstanceLock
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.daemon.build import STOP_S, Daemon, built
from brainpilot_rt.daemon.listener import HttpServer, bound, uvicorn_config
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.whereabouts import Ready, leave, take_back, whereabouts

_log = logging.getLogger(__name__)


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
    failpoints.hit("boot.lock.before")
    with InstanceLock(settings.data_dir), bound(settings) as listener:
        failpoints.hit("boot.lock.after")
        async with built(settings) as daemon:
            await _work(daemon, listener, on_ready)
    return 0


async def _work(daemon: Daemon, listener: socket.socket, on_ready: Callable[[Ready], None]) -> None:
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
    server = HttpServer(uvicorn_config(app))
    serving = daemon.tasks.spawn(server.serve(sockets=[listener]), name="http server")
    try:
        with _signals(daemon.stop, server):
            await server.listening.wait()
            failpoints.hit("boot.listen.after")
            ready = whereabouts(settings, port)
            leave(settings, ready, daemon.instance_id)
            failpoints.hit("boot.ready.before")
            on_ready(ready)
            await daemon.supervisor.start()
            gc.collect()
            gc.freeze()
            await daemon.stop.wait()
            failpoints.hit("stop.asked.after")
            daemon.liveness.closing = True
            async with asyncio.timeout(STOP_S):
                await daemon.supervisor.close()
                await daemon.manager.record(DAEMON_STREAM, ev.DaemonStopped(reason="asked to"))
                failpoints.hit("stop.recorded.after")
    finally:
        app.state.streams.close()
        server.should_exit = True
        await asyncio.wait([serving])
        failpoints.hit("stop.http.after")
        take_back(settings)


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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed; everything works without it (D29)."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    return importlib.import_module("uvloop").new_event_loop
