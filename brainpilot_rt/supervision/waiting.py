"""Waiting for a word from outside, durably: a question, an approval, a result the client brings.

After a restart what is waited for may be open still, and answered at any moment: whoever answers it
then must be heard, and it must not be asked again. So listening and looking at the state are one
step, and the log is asked only about what is not open.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.commands import Command
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.state import SessionState

_LOOK_BACK: Final = 256
"""Words of the wanted kind that are looked through for one given before a crash."""

Matches: TypeAlias = Callable[[ev.Event], bool]


class Waiting:
    """Asks and waits, for as long as it takes."""

    def __init__(self, manager: SessionManager, hub: Hub, log: EventLog) -> None:
        self._manager = manager
        self._hub = hub
        self._log = log

    async def word(
        self,
        session: SessionId,
        opening: Command,
        *,
        is_open: Callable[[SessionState], bool],
        wanted: str,
        matches: Matches,
    ) -> ev.Event:
        """The event that ends it. `opening` asks; `wanted` is the type that the log is asked for.

        `is_open`: whether it was asked already and nobody has said anything yet.
        """
        waiting: asyncio.Future[ev.Event] = asyncio.get_running_loop().create_future()

        def on_item(item: Item) -> None:
            if isinstance(item, ev.Recorded) and not waiting.done() and matches(item.event):
                waiting.set_result(item.event)

        undo = self._hub.listen(on_item)
        try:
            if not is_open(self._manager.state(session)):
                known = await self._log.read_back(
                    session, limit=_LOOK_BACK, types=frozenset({wanted})
                )
                given = next((one.event for one in known if matches(one.event)), None)
                if given is not None:
                    return given
                await self._manager.dispatch(session, opening)
            return await waiting
        finally:
            undo()
