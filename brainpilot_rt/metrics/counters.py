"""Counters: what happened since the daemon started, folded from events.

Plain integers under bounded labels: outcomes, kinds, reasons. Never a session, an agent, a path or
a text, which would grow without bound and say more than a number should.
"""

from collections import Counter
from decimal import Decimal

from brainpilot_rt.domain.events import (
    Chunk,
    HostTurnFinished,
    LetterAccepted,
    LetterDied,
    LetterExpired,
    LetterReceived,
    LetterRefused,
    ModelAsked,
    ModelAttemptFailed,
    ModelReplied,
    Recorded,
    RunFinished,
    RunInterrupted,
    RunStarted,
    ToolFinished,
)
from brainpilot_rt.domain.ids import RunId
from brainpilot_rt.metrics.governed import Governed
from brainpilot_rt.metrics.thoughts import Thoughts


class _Repeats:
    def __init__(self) -> None:
        self.count = 0
        self.waiting: dict[RunId, int] = {}
        """Runs that go on and have not heard the model yet -> their first turn."""


class Counters:
    """All counters; `fold` is called for every commit."""

    def __init__(self) -> None:
        self.events = 0
        self.runs: Counter[str] = Counter()
        """By outcome; `interrupted` are those a crash or shutdown cut."""
        self.host_turns: Counter[str] = Counter()
        """By outcome."""
        self.letters: Counter[str] = Counter()
        """Accepted ones by kind."""
        self.letters_lost: Counter[str] = Counter()
        """Refused, expired and dead ones."""
        self.tool_calls: Counter[str] = Counter()
        """By status."""
        self.model_calls: Counter[str] = Counter()
        """`replied` and `failed` attempts, and calls beside the conversation by purpose."""
        self._repeats = _Repeats()
        self.thoughts = Thoughts()
        self.governed = Governed()
        self.tokens: Counter[str] = Counter()
        """By kind."""
        self.refused: Counter[str] = Counter()
        """HTTP requests refused before any route, by reason."""

    def fold(self, item: Recorded | Chunk) -> None:
        """Count one commit."""
        if isinstance(item, Chunk):
            return
        self.events += 1
        match item.event:
            case RunStarted(resumes=str()) as event:
                self._repeats.waiting[event.run_id] = event.first_turn
            case RunFinished() | RunInterrupted():
                self._ended(item.event)
            case HostTurnFinished(outcome=outcome):
                self.host_turns[outcome] += 1
            case LetterAccepted(letter=letter) | LetterReceived(letter=letter):
                self.letters[letter.kind.value] += 1
            case LetterRefused() | LetterExpired() | LetterDied():
                self.letters_lost[item.event.type.removeprefix("letter_")] += 1
            case ToolFinished(status=status):
                self.tool_calls[status] += 1
            case ModelAttemptFailed():
                self.model_calls["failed"] += 1
            case ModelReplied() | ModelAsked():
                self._paid(item.event)
            case _:
                self.thoughts.fold(item.event)
                self.governed.fold(item.event)

    @property
    def model_calls_repeated(self) -> int:
        """First replies of runs that go on after a crash or shutdown (I-3).

        At most so many were paid for twice: whether the call that was cut had been sent, nobody
        knows.
        """
        return self._repeats.count

    def refuse(self, reason: str) -> None:
        """Count a request that went no further."""
        self.refused[reason] += 1

    def _ended(self, event: RunFinished | RunInterrupted) -> None:
        self.runs[event.outcome if isinstance(event, RunFinished) else "interrupted"] += 1
        self._repeats.waiting.pop(event.run_id, None)

    def _paid(self, event: ModelReplied | ModelAsked) -> None:
        if isinstance(event, ModelAsked):
            self.model_calls[event.purpose] += 1
        else:
            self.model_calls["replied"] += 1
            if self._repeats.waiting.pop(event.run_id, None) == event.turn:
                self._repeats.count += 1
        usage = event.usage
        self.tokens["input"] += usage.input
        self.tokens["output"] += usage.output
        self.tokens["cache_read"] += usage.cache_read
        self.tokens["cache_write"] += usage.cache_write
        self.governed.cost_usd += event.cost_usd or Decimal(0)
