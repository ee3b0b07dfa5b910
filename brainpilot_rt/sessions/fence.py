"""The fence: a run that has ended can not change anything any more (I-7). Pure."""

from collections.abc import Iterable

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Conflict
from brainpilot_rt.sessions.state import SessionState


def admit(state: SessionState, events: Iterable[ev.Event]) -> None:
    """Raise `Conflict(fenced)` when an event speaks for a run that is not at work."""
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
            ) if run_id not in state.runs:
                raise Conflict(f"{event.type}: run {run_id} has ended", code="fenced")
            case _:
                pass
