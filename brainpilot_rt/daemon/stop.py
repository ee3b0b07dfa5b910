"""That the daemon is to end, and what forces it to, if anything does."""

import asyncio

from brainpilot_rt.aiokit.lock import InstanceLock

LOOK_S = 0.5
"""Seconds between two looks at the data directory."""


class Stop:
    """Asked for once, by a signal, an idle shutdown, or trouble; the first trouble is kept."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.trouble: str | None = None
        """Why the daemon cannot go on; None when it was asked to stop."""

    def ask(self) -> None:
        """Stop in order."""
        self.asked.set()

    def because(self, trouble: str) -> None:
        """Stop in order, with an exit code that says that this was not wanted."""
        self.trouble = self.trouble or trouble
        self.asked.set()


async def stop_when_displaced(lock: InstanceLock, stop: Stop) -> None:
    """End a daemon whose data directory was removed or replaced under it (F13).

    What it commits then goes to files that nobody will ever open, and a second daemon may have the
    directory: better no authority than two, or one that forgets. Nothing is made anew.
    """
    while lock.in_place():  # noqa: ASYNC110 - directories ring no bell
        await asyncio.sleep(LOOK_S)
    stop.because("the data directory was removed or replaced while the daemon ran")
    await asyncio.Event().wait()
