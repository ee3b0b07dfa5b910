"""One timer per session at most, set to the earliest thing that time changes in it.

When it rings the session is woken: the authority looks at what is due. A wake that the log refuses
is tried again.
"""

import asyncio
import logging
from functools import partial
from typing import Final

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain.errors import CommandRejected, Unavailable
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.schedule import due_ms

WAKE_AGAIN_S: Final = 5.0
"""Seconds until what the log refused is tried again."""

_log = logging.getLogger(__name__)


class Timers:
    """The timers of all sessions; none is set before `wake` or `arm` and after `close`."""

    def __init__(self, manager: SessionManager, tasks: TaskSet, clock: Clock) -> None:
        self._manager = manager
        self._tasks = tasks
        self._clock = clock
        self._set: dict[SessionId, asyncio.TimerHandle] = {}
        self._closed = False

    def arm(self, session: SessionId, looked_ms: int = 0) -> None:
        """Set the session's timer anew.

        `looked_ms`: up to when everything that was due has been looked at.
        """
        self.drop(session)
        state = self._manager.find(session)
        due = None if state is None else due_ms(state, looked_ms)
        if due is not None:
            self._ring_in(session, max(0.0, (due - self._clock.now_ms()) / 1000))

    async def wake(self, session: SessionId) -> None:
        """Have the authority look at what is due."""
        now_ms = self._clock.now_ms()
        try:
            await self._manager.dispatch(session, cmd.Wake())
        except CommandRejected as fault:
            _log.warning("waking %s: %s", session, fault)
        except Unavailable as fault:
            _log.warning("waking %s: %s", session, fault)
            self._ring_in(session, WAKE_AGAIN_S)
            return
        self.arm(session, now_ms)

    def drop(self, session: SessionId) -> None:
        """Stop the session's timer."""
        known = self._set.pop(session, None)
        if known is not None:
            known.cancel()

    def close(self) -> None:
        """Stop every timer; none is set any more."""
        self._closed = True
        for session in list(self._set):
            self.drop(session)

    def _ring_in(self, session: SessionId, delay_s: float) -> None:
        if self._closed:
            return
        wake = partial(self._tasks.spawn, name=f"wake {session}")
        self.drop(session)
        self._set[session] = asyncio.get_running_loop().call_later(
            delay_s, lambda: wake(self.wake(session)) and None
        )
