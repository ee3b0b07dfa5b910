"""A mailbox watcher that a test drives: it satisfies `Watcher` of `mailbox.watcher`."""

import asyncio
from pathlib import Path

from brainpilot_rt.mailbox.watcher import OnHint


class ManualWatcher:
    """Says only what the test tells it to, besides being armed at the start."""

    def __init__(self) -> None:
        self.degraded = False
        self._on_hint: OnHint | None = None

    async def watch(self, root: Path, on_hint: OnHint) -> None:  # noqa: ARG002 - the port has it
        """Wait for the test to speak; cancelled at the end."""
        self._on_hint = on_hint
        on_hint(None)
        try:
            await asyncio.Event().wait()
        finally:
            self._on_hint = None

    def changed(self, *paths: Path) -> None:
        """Say that these paths changed; with none, that anything may have."""
        if self._on_hint is not None:
            self._on_hint({str(path) for path in paths} or None)
