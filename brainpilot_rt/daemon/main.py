"""Runs a daemon as a process: build, work, wait, stop in order.

A first SIGTERM or SIGINT stops in order, a second one at once (`signals`).
"""

import asyncio
import gc
import importlib.util
import logging
import os
import resource
import threading
from collections.abc import Callable
from typing import Final

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.daemon.build import built
from brainpilot_rt.daemon.listener import bound
from brainpilot_rt.daemon.privacy import keep_memory_private
from brainpilot_rt.daemon.signals import StopSignals
from brainpilot_rt.daemon.work import OnReady, at_work, claimed, make_folders
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.whereabouts import take_back

DESCRIPTORS: Final = 65_536
THREADS_S: Final = 3.0
"""How long threads may go on when everything else is closed."""

_log = logging.getLogger(__name__)


def run(settings: Settings, *, on_ready: OnReady) -> int:
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


async def serve(settings: Settings, signals: StopSignals, *, on_ready: OnReady) -> int:
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
    make_folders(settings)
    failpoints.hit("boot.lock.before")
    with claimed(settings) as lock, bound(settings) as listener:
        failpoints.hit("boot.lock.after")
        async with built(settings, lock) as daemon:
            signals.follow(loop, daemon.stop.ask)
            try:
                async with at_work(daemon, listener, on_ready):
                    gc.collect()
                    gc.freeze()
                    await daemon.stop.asked.wait()
            finally:
                if lock.in_place():
                    take_back(settings)
        if daemon.stop.trouble:
            _log.critical("ended: %s", daemon.stop.trouble)
            return 1
    return 0


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
