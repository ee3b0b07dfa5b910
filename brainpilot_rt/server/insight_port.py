"""What the server needs to show and change what governs agents."""

from typing import Protocol

from brainpilot_rt.server.ports import Backend
from brainpilot_rt.supervision.oversight import Oversight


class HasOversight(Backend, Protocol):
    """A backend with oversight."""

    @property
    def oversight(self) -> Oversight:
        """What the log tells, the rules, and the shared memory."""
        ...
