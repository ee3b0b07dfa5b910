"""The fence: a run that has ended can not change anything any more (I-7). Pure.

And what has ended ends once: a stop, an answer and a result may come at the same moment, each
reported by somebody who could not know of the others. The first to be decided is the one recorded.
"""

from collections.abc import Iterable

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.sessions.state import RunState, SessionState


def fenced(state: SessionState, run_id: str) -> RunState:
    """The run, if it is still the one at work; a late finisher gets `Conflict(fenced)` (I-7)."""
    for run in state.runs.values():
        if run.run_id == run_id:
            return run
    raise Conflict("this run has ended; nothing was changed", code="fenced")


def admit(state: SessionState, events: Iterable[ev.Event]) -> list[ev.Event]:
    """The events, without second ends of calls and questions.

    Raises `Conflict(fenced)` when one speaks for a run that is not at work.
    """
    kept: list[ev.Event] = []
    begun: set[str] = set()
    for event in events:
        match event:
            case (
                ev.TextStarted(run_id=run_id)
                | ev.TextFinished(run_id=run_id)
                | ev.ModelReplied(run_id=run_id)
                | ev.ModelAttemptFailed(run_id=run_id)
                | ev.ModelStalled(run_id=run_id)
                | ev.ToolPlanned(run_id=run_id)
                | ev.ToolStarted(run_id=run_id)
                | ev.ToolFinished(run_id=run_id)
                | ev.IntentClassified(run_id=run_id)
                | ev.ContextAssembled(run_id=run_id)
                | ev.ModelAsked(run_id=run_id)
                | ev.ProgramPrompted(run_id=run_id)
                | ev.PlanChanged(run_id=run_id)
                | ev.PassagesRetrieved(run_id=run_id)
                | ev.CitationChecked(run_id=run_id)
                | ev.EvidenceInsufficient(run_id=run_id)
                | ev.LimitExceeded(run_id=run_id)
                | ev.CircuitChanged(run_id=run_id)
                | ev.ConversationCompacted(run_id=run_id)
                | ev.CompactionFailed(run_id=run_id)
                | ev.ModelSelected(run_id=run_id)
                | ev.SpendReserved(run_id=run_id)
                | ev.TurnRated(run_id=run_id)
                | ev.ToolJudged(run_id=run_id)
            ) if state.exists and run_id not in state.runs:
                raise Conflict(f"{event.type}: run {run_id} has ended", code="fenced")
            case ev.ToolPlanned(call_id=begins) | ev.SpendReserved(reservation_id=begins):
                begun.add(begins)
            case _:
                pass
        if not _ended(state, event, begun):
            kept.append(event)
    return kept


def _ended(state: SessionState, event: ev.Event, begun: set[str]) -> bool:
    if state.session == DAEMON_STREAM:
        return False  # it has no state that knows what is open
    match event:
        case ev.ToolFinished(run_id=run_id, call_id=call_id):
            return call_id not in begun and call_id not in state.runs[run_id].calls
        case ev.QuestionCancelled(request_id=request_id):
            return request_id not in state.questions
        case ev.ApprovalDecided(approval_id=approval_id):
            return approval_id not in state.approvals
        case ev.SpendSettled(reservation_id=reservation_id, purpose=None):
            known = reservation_id in begun or reservation_id in state.reservations
            return state.exists and not known
        case _:
            return False
