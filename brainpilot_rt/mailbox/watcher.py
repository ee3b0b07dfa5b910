"""Hints that something changed under the mailbox root; the directories stay the truth.

`Watcher` is the port: whoever watches may be slow, may lose events and may name paths that changed
nothing. Only two things are relied upon: after it has armed itself, or lost track, it says so with
`None` ("anything may have changed"), and it never ends by itself.

`FileWatcher` is one watchfiles instance for the whole root, on a thread of its own, because each
instance of `awatch` would hold a worker of the loop's shared pool for ever. Settings: the defaults
of watchfiles delay a letter by up to 1.6 seconds; a step of 1 ms brings that to about 2 ms, for 1.5
percent of a processor. Its time-out is off, as the time-out path can drop an event, and so is its
filter. One name that is not UTF-8 makes an instance fail for good, an overflow of the kernel's
queue is swallowed: hence the restart here, and the regular sweep of the postoffice.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Set
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from watchfiles import Change, watch

Hint: TypeAlias = Set[str] | None
"""Absolute paths that may have changed, or None: anything may have."""
OnHint: TypeAlias = Callable[[Hint], None]

_STEP_MS: Final = 1
_DEBOUNCE_MS: Final = 20
_POLL_S: Final = 0.25
_REARM_S: Final = 30.0
_RESTARTS_BEFORE_POLLING: Final = 3
_QUIET_S: Final = 5.0
_NO_ROOT: Final = "the mailbox root is gone"

_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Says that something may have changed under a directory."""

    @property
    def degraded(self) -> bool:
        """True while only polling is possible (no inotify, or its limits are reached)."""
        ...

    async def watch(self, root: Path, on_hint: OnHint) -> None:
        """Call `on_hint` on the event loop until cancelled. Says None once armed."""
        ...


class FileWatcher:
    """A `Watcher` over watchfiles that restarts itself, and polls while it cannot arm."""

    def __init__(self, on_trouble: Callable[[str], None]) -> None:
        self._on_trouble = on_trouble
        self.degraded = False

    async def watch(self, root: Path, on_hint: OnHint) -> None:
        """Call `on_hint` on the event loop until cancelled. Says None once armed."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            trouble = await self._watch_once(root, on_hint)
            # An instance that worked for a while and then met, say, a strange name starts afresh.
            failures = 1 if clock() - began > _QUIET_S else failures + 1
            self.degraded = failures > _RESTARTS_BEFORE_POLLING
            _log.warning("mailbox watcher restarts: %s", trouble)
            self._on_trouble(trouble)
            for _ in range(round(_REARM_S / _POLL_S) if self.degraded else 1):
                on_hint(None)
                await asyncio.sleep(_POLL_S)

    async def _watch_once(self, root: Path, on_hint: OnHint) -> str:
        """Watch until the instance fails; return why. The thread has ended when this does."""
        session = _WatchThread(asyncio.get_running_loop(), root, self._armed(on_hint))
        session.thread.start()
        try:
            return await asyncio.shield(session.ended)
        finally:
            session.stopped = True
            while not session.ended.done():
                # The thread looks at `stopped` every millisecond.
                await asyncio.wait([session.ended])

    def _armed(self, on_hint: OnHint) -> OnHint:
        def hint(paths: Hint) -> None:
            if paths is None:
                self.degraded = False
            on_hint(paths)

        return hint


class _WatchThread:
    """One watchfiles instance on one thread; also the stop event it polls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, root: Path, on_hint: OnHint) -> None:
        self.ended: asyncio.Future[str] = loop.create_future()
        self.stopped = False
        self.thread = threading.Thread(target=self._run, name="mailbox watcher", daemon=True)
        self._loop = loop
        self._root = str(root)
        self._on_hint = on_hint
        self._armed = False

    def is_set(self) -> bool:
        """Whether to stop. Being asked at all means that the watch is armed."""
        if not self._armed:
            self._armed = True
            # watchfiles watches a directory that does not exist, in vain and without a word.
            if not Path(self._root).is_dir():
                self.stopped = True
            else:
                self._tell(self._on_hint, None)
        return self.stopped

    def _run(self) -> None:
        try:
            why = self._follow()
        except Exception as error:  # noqa: BLE001 - the thread's boundary; the task is told why
            why = f"{type(error).__name__}: {error}"
        self._tell(self._end, why)

    def _follow(self) -> str:
        changes = watch(
            self._root,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=0,
            raise_interrupt=False,
            force_polling=False,
            ignore_permission_denied=True,
            stop_event=self,
        )
        for batch in changes:
            if (Change.deleted, self._root) in batch:
                return _NO_ROOT
            self._tell(self._on_hint, {path for _, path in batch})
        return _NO_ROOT

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)

    def _tell(self, what: Callable[..., None], argument: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, argument)
