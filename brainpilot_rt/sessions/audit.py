"""The no-silent-loss audit: every accepted unit of work has exactly one terminal record (I-12).

A fold over the events of one session that keeps books of its own, independent of `evolve`, so that
a defect there shows here. Open units are no violation as long as somebody can still end them: a
letter, task or question that is open, a run that is the current one of its agent.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.tools import Effect


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: what, which one, at which `seq`."""

    session: SessionId
    what: str
    which: str
    seq: int


class Audit:
    """Feed it a session's events in order, then read `violations()`."""

    def __init__(self, session: SessionId) -> None:
        self._session = session
        self._seq = 0
        self._open: dict[tuple[str, str], int] = {}
        self._ended: set[tuple[str, str]] = set()
        self._owner: dict[tuple[str, str], str] = {}
        self._cut: set[str] = set()
        """Runs a crash or shutdown cut that have no successor yet: they still own their units."""
        self._working: dict[str, str] = {}
        """The run of each agent at work: never two."""
        self._once: set[str] = set()
        """Calls that must not be executed again (I-6)."""
        self._found: list[Violation] = []

    def feed(self, records: Iterable[ev.Recorded]) -> "Audit":
        """Take more events."""
        for recorded in records:
            if recorded.seq != self._seq + 1:
                self._blame("gap", str(self._seq + 1), recorded.seq)
            self._seq = recorded.seq
            self._take(recorded.event, recorded.seq)
            self._forbid(recorded.event, recorded.seq)
        return self

    def violations(self) -> list[Violation]:
        """What is wrong, including units whose owner has ended without them."""
        orphans = [
            Violation(self._session, f"{kind}_left_open", which, seq)
            for (kind, which), seq in self._open.items()
            if (owner := self._owner.get((kind, which))) is not None
            and ("run", owner) not in self._open
            and owner not in self._cut
        ]
        return [*self._found, *orphans]

    def _take(self, event: ev.Event, seq: int) -> None:  # noqa: C901, PLR0912, PLR0915 - one line per pair of start and end
        match event:
            case ev.LetterAccepted() | ev.LetterReceived():
                self._start("letter", event.letter_id, seq)
            case ev.LetterConsumed():
                self._end_all("letter", event.letter_ids, seq)
            case ev.LetterExpired() | ev.LetterDied():
                self._end("letter", event.letter_id, seq)
            case ev.TaskOpened():
                self._start("task", event.task_id, seq)
            case ev.TaskClosed():
                self._end("task", event.task_id, seq)
            case ev.HostTurnStarted():
                self._start("host_turn", event.host_run_id, seq)
            case ev.HostTurnFinished():
                self._end("host_turn", event.host_run_id, seq)
            case ev.RunStarted():
                self._start("run", event.run_id, seq)
                if event.resumes is not None:
                    self._inherit(event.resumes, event.run_id)
            case ev.RunFinished():
                self._end("run", event.run_id, seq)
                self._end_all("letter", event.letter_ids, seq)
            case ev.RunInterrupted():
                self._end("run", event.run_id, seq)
                self._cut.add(event.run_id)
            case ev.TextStarted():
                self._start("text", event.message_id, seq, event.run_id)
            case ev.TextFinished():
                self._end("text", event.message_id, seq)
            case ev.ToolPlanned():
                self._start("call", event.call_id, seq, event.run_id)
            case ev.ToolFinished():
                self._end("call", event.call_id, seq)
            case ev.QuestionAsked():
                self._start("question", event.request_id, seq, event.run_id)
            case ev.QuestionAnswered() | ev.QuestionCancelled():
                self._end("question", event.request_id, seq)
            case ev.SpendReserved():
                self._start("reservation", event.reservation_id, seq, event.run_id)
            case ev.SpendSettled(purpose=None):
                self._end("reservation", event.reservation_id, seq)
            case ev.ApprovalRequested():
                self._start("approval", event.approval_id, seq, event.run_id)
            case ev.ApprovalDecided():
                self._end("approval", event.approval_id, seq)
            case _:
                pass

    def _forbid(self, event: ev.Event, seq: int) -> None:
        """Two runs of one agent at a time; a second execution of what can not be undone."""
        match event:
            case ev.RunStarted():
                if self._working.setdefault(event.agent, event.run_id) != event.run_id:
                    self._blame("run_beside_another", event.run_id, seq)
            case ev.RunFinished() | ev.RunInterrupted():
                self._working.pop(event.agent, None)
            case ev.ToolPlanned(effect=Effect.IRREVERSIBLE):
                self._once.add(event.call_id)
            case ev.ToolStarted() if event.attempt > 1 and event.call_id in self._once:
                self._blame("irreversible_call_repeated", event.call_id, seq)
            case _:
                pass

    def _start(self, kind: str, which: str, seq: int, owner: str | None = None) -> None:
        if (kind, which) in self._open or (kind, which) in self._ended:
            self._blame(f"{kind}_started_twice", which, seq)
        self._open[kind, which] = seq
        if owner is not None:
            self._owner[kind, which] = owner

    def _end(self, kind: str, which: str, seq: int) -> None:
        if self._open.pop((kind, which), None) is None:
            twice = (kind, which) in self._ended
            self._blame(f"{kind}_ended_{'twice' if twice else 'without_start'}", which, seq)
        self._ended.add((kind, which))

    def _end_all(self, kind: str, ids: Iterable[str], seq: int) -> None:
        for which in ids:
            self._end(kind, which, seq)

    def _inherit(self, before: str, after: str) -> None:
        self._cut.discard(before)
        for key, owner in self._owner.items():
            if owner == before and key in self._open:
                self._owner[key] = after

    def _blame(self, what: str, which: str, seq: int) -> None:
        self._found.append(Violation(self._session, what, which, seq))
