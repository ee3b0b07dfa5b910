"""What a decision may know of the outside: the time, new ids, the limits. Always passed in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.events import Event
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.times import iso
from brainpilot_rt.settings import SessionLimits


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant of deciding."""

    now_ms: int
    new_id: Callable[[], str]
    limits: SessionLimits
    members: Mapping[AgentName, str] = field(default_factory=dict[AgentName, str])
    """Agents of the program that embeds us, each with its description: known like the seven."""

    @property
    def iso(self) -> str:
        """The instant as ISO 8601 in UTC, with milliseconds."""
        return iso(self.now_ms)


class RefusedLoudly(Exception):
    """A refusal that must also be seen: `events` are committed, then `error` goes to the caller."""

    def __init__(self, events: list[Event], error: CommandRejected) -> None:
        super().__init__(error.message)
        self.events = events
        self.error = error
