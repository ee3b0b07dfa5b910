"""What becomes of a run's letters, as a pure table: outcome -> Ack | Retry | Bury.

A run that completed consumes its letters. A run that failed is tried again only when the fault says
it may succeed later, with growing pauses, and at most `attempts_max` times; otherwise its letters
are consumed by the failure and everyone who waits for a task is told (escalation is the terminal
letter that `FinishRun` writes).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

FIRST_PAUSE_MS: Final = 2_000
PAUSE_MAX_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Ack:
    """The letters are consumed; the run ended as it says."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The letters are offered again at that time (Unix milliseconds)."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Bury:
    """No further attempt; whoever waits is told why."""


Verdict: TypeAlias = Ack | Retry | Bury


def verdict(
    *,
    failed: bool,
    retryable: bool,
    retry_after_s: float | None,
    attempt: int,
    attempts_max: int,
    now_ms: int,
) -> Verdict:
    """Decide about the letters of a run that ended by itself. `attempt` counts from 1."""
    if not failed:
        return Ack()
    if not retryable or attempt >= attempts_max:
        return Bury()
    pause_ms = min(FIRST_PAUSE_MS * 4 ** (attempt - 1), PAUSE_MAX_MS)
    if retry_after_s is not None:
        pause_ms = min(max(pause_ms, int(retry_after_s * 1000)), PAUSE_MAX_MS)
    return Retry(at_ms=now_ms + pause_ms)
