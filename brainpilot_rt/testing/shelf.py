"""The real reader of skills over folders of a test, without a daemon."""

from collections.abc import Sequence

from brainpilot_rt.context.skills import Library
from brainpilot_rt.domain.events import Event
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.supervision.skills import Skills
from brainpilot_rt.testing.sources import ManualClock


def shelf(user: Sequence[Library] = (), told: list[Event] | None = None) -> Skills:
    """Skills of a user; what is to be committed goes into `told`."""
    committed: list[Event] = [] if told is None else told

    async def record(_session: SessionId, event: Event) -> None:
        committed.append(event)

    return Skills(user, MemoryEventLog(clock=ManualClock()), record)
