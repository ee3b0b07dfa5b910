"""Runs a daemon: build, listen, wake the workers, wait, stop in order.

A first SIGTERM or SIGINT stops in order, a second one at once (`signals`). Event streams are closed
before uvicorn stops, because uvicorn waits for them for ever (D23).
"""

import asyncio
import gc
import importlib.util
import logging
import os
import resource
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.files import ensure_private_dir
from brainpilot_rt.aiokit.lock import InstanceLock
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.daemon.build import STOP_S, Daemon, built
from brainpilot_rt.daemon.listener import HttpServer, bound, uvicorn_config
from brainpilot_rt.daemon.privacy import keep_memory_private
from brainpilot_rt.daemon.signals import StopSignals
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.supervision.whereabouts import Ready, leave, take_back, whereabouts

DESCRIPTORS: Final = 65_536
THREADS_S: Final = 3.0
"""How long threads may go on when everything else is closed."""

_log = logging.getLogger(__name__)


def run(settings: Settings, *, on_ready: Callable[[Ready], None]) -> int:
    """Run a daemon in the foreground until it is stopped; the exit code.

    The signals of the process are the daemon's from here to the end of the process.
    """
    signals = StopSignals()
    _use_all_descriptors()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(serve(settings, signals, on_ready=on_ready))
            # The interpreter joins its threads, and one may hang on a dead disk for ever.
            last = threading.Timer(THREADS_S, os._exit, (code,))
            last.daemon = True
            last.start()
            return code
    except asyncio.CancelledError:
        if not signals.asked:
            raise
        return 0  # stopped while it was starting
    finally:
        signals.done()


async def serve(
    settings: Settings, signals: StopSignals, *, on_ready: Callable[[Ready], None]
) -> int:
    """Start everything, say where, run until a signal or an idle shutdown, stop everything.

    0 when it was asked to stop, 1 when something forced it to. Raises `AlreadyOwned` when another
    daemon has the data directory or the mailboxes and `PortTaken` when the address can not be
    bound; all before anything was changed.
    """
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    if starting is not None:
        signals.follow(loop, starting.cancel)
    await asyncio.sleep(0)  # where a stop that was asked for before there was a loop is heard
    os.umask(0o077)
    if not settings.debuggable:
        keep_memory_private()
    failpoints.configure(settings.failpoints)
    for folder in (settings.data_dir, settings.mailbox_dir):
        folder.parent.mkdir(parents=True, exist_ok=True)
        ensure_private_dir(folder)
    failpoints.hit("boot.lock.before")
    with (
        InstanceLock(settings.data_dir) as lock,
        _mailboxes_locked(settings),
        bound(settings) as listener,
    ):
        failpoints.hit("boot.lock.after")
        async with built(settings, lock) as daemon:
            signals.follow(loop, daemon.stop.ask)
            try:
                await _work(daemon, listener, on_ready)
            finally:
                if lock.in_place():
                    take_back(settings)
        if daemon.stop.trouble:
            _log.critical("ended: %s", daemon.stop.trouble)
            return 1
    return 0


def _mailboxes_locked(settings: Settings) -> AbstractContextManager[object]:
    """Daemons with data of their own may not share mailboxes: each would take half the mail."""
    if settings.mailbox_dir.resolve() == settings.data_dir.resolve():
        return nullcontext()
    return InstanceLock(settings.mailbox_dir)


async def _work(daemon: Daemon, listener: socket.socket, on_ready: Callable[[Ready], None]) -> None:
    """Listen, say so, wake the workers, wait for the stop, stop in order."""
    port = int(listener.getsockname()[1])
    settings = daemon.settings
    config = ServerConfig(
        http=settings.http,
        hosts=hosts_of(port, settings.http.allowed_hosts),
        token=daemon.token.read,
        clients=ClientTokens(settings.data_dir).read,
        clock=SystemClock(),
        redact=daemon.secrets.text,
        mem_limit_bytes=settings.mem_limit_mb * 2**20 if settings.mem_limit_mb else None,
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
        await daemon.supervisor.start()
        gc.collect()
        gc.freeze()
        await daemon.stop.asked.wait()
        failpoints.hit("stop.asked.after")
        daemon.liveness.closing = True
        await _wind_up(daemon)
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
            await daemon.manager.record(DAEMON_STREAM, ev.DaemonStopped(reason=reason))
            failpoints.hit("stop.recorded.after")
    except (RuntimeFault, TimeoutError) as trouble:
        _log.warning("the stop is not complete, the next start will repair: %s", trouble)


def _use_all_descriptors() -> None:
    """Raise the soft limit, made for programs of another time, towards the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed; everything works without it (D29)."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    return importlib.import_module("uvloop").new_event_loop
