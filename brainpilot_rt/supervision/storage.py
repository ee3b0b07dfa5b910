"""Whether the log takes what it is given (reliability.md I-18).

Every change is still tried and refused by itself, with the reason; nothing is kept back for later,
so nothing can be acknowledged that is not stored. What this adds is the word for it, `read_only`,
in `/health`, in `/metrics`, in `/readyz` and on the streams, and a small commit tried every second
until one succeeds: a disk that has room again needs no restart and no user to notice.
"""

import asyncio
import logging
from typing import Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import RuntimeFault, Unavailable
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.manager import SessionManager

AGAIN_S: Final = 1.0

_log = logging.getLogger(__name__)


class Storage:
    """Knows whether the last thing heard of the log was a refusal. `watch` is its endless task."""

    def __init__(self, manager: SessionManager, log: EventLog) -> None:
        self.read_only: str | None = None
        """Why the log refuses (the code of the error); None while it takes everything."""
        self._manager = manager
        self._refused = 0
        self._trouble = asyncio.Event()
        log.on_failure(self._on_failure)

    async def watch(self) -> None:
        """Wait for trouble; then try until the log takes an event that says that it is over."""
        while True:
            await self._trouble.wait()
            await asyncio.sleep(AGAIN_S)
            over = ev.StorageRecovered(code=self.read_only or "", refused=self._refused)
            try:
                await self._manager.record(DAEMON_STREAM, over)
            except RuntimeFault as fault:
                _log.warning("read-only: %s", fault)
                continue
            self.read_only, self._refused = None, 0
            self._trouble.clear()
            _log.warning("no longer read-only")

    def _on_failure(self, fault: Unavailable) -> None:
        self._refused += 1
        self.read_only = fault.code
        if not self._trouble.is_set():
            _log.error("read-only: %s", fault)
            self._trouble.set()
