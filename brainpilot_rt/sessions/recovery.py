"""What start-up must repair in one session, as events. Pure, and nothing on a second call.

A crash leaves runs without an end. Each is closed as interrupted (it consumes nothing), every text
it was saying is ended as aborted, an irreversible call that may have happened becomes `unknown`
(D7). When the workers start, a new run takes over its letters, its committed turns, its open
questions and the calls that may safely run (again). A run that crashes the daemon every time is
buried after `attempts_max` tries that made no progress.
"""

from typing import Literal

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import RunId
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.runs import close_open, held, unsettled
from brainpilot_rt.sessions.stamps import terminal
from brainpilot_rt.sessions.state import RunState, SessionState
from brainpilot_rt.sessions.tallies import last_words

UNKNOWN = (
    "The daemon stopped while this call was running. It may or may not have taken effect; "
    "nobody knows. Check before you do it again."
)


def repair(state: SessionState, moment: Moment) -> list[ev.Event]:
    """Events that leave no text, call or run of a dead process open."""
    events: list[ev.Event] = []
    for run in state.runs.values():
        events += unsettled(state, run, "crash")
        stuck = run.attempt >= moment.limits.attempts_max and not _moved(state, run)
        events += _buried(state, run, moment) if stuck else _cut(run, "crash")
    return events


def resume(state: SessionState, moment: Moment) -> list[ev.Event]:
    """A successor for every run that was cut; asked when workers start, so it counts as a try."""
    return [
        ev.RunStarted(
            run_id=RunId("run_" + moment.new_id()),
            agent=run.agent,
            letter_ids=run.letter_ids,
            root_id=run.root_id,
            host_run_id=run.host_run_id,
            attempt=1 if _moved(state, run) else run.attempt + 1,
            resumes=run.run_id,
            first_turn=run.turns,
        )
        for run in state.interrupted.values()
    ]


def _moved(state: SessionState, run: RunState) -> bool:
    """Did this try get anywhere? Waiting for a person is no failure of it."""
    waiting = (*state.questions.values(), *state.approvals.values(), *state.client_calls.values())
    asked = any(one.run_id == run.run_id for one in waiting)
    return run.turns > run.first_turn or asked


def cut(state: SessionState) -> list[ev.Event]:
    """A clean stop: close texts and runs; the next start resumes them."""
    return [
        event
        for run in state.runs.values()
        for event in (*unsettled(state, run, "shutdown"), *_cut(run, "shutdown"))
    ]


def mend(state: SessionState, run_id: RunId, tries: int) -> list[ev.Event]:
    """A run begins again after trouble with the log: what it left open is not done twice.

    Never empty for a run at work: it shows that the log takes commits again before a model is paid.
    """
    run = state.runs.get(run_id)
    if run is None:
        return []
    failed = ev.ModelAttemptFailed(
        run_id=run.run_id,
        agent=run.agent,
        turn=run.turns,
        attempt=tries,
        attempts_max=tries + 1,
        delay_ms=0,
        reason="the log was in trouble",
    )
    return [*_texts(run), *_unknown(run), *unsettled(state, run, "crash"), failed]


def _texts(run: RunState) -> list[ev.Event]:
    return [
        one for one in close_open(run, frozenset(), "crash") if isinstance(one, ev.TextFinished)
    ]


def _unknown(run: RunState) -> list[ev.Event]:
    return [
        ev.ToolFinished(
            run_id=run.run_id,
            agent=run.agent,
            call_id=call.call_id,
            name=call.name,
            content=UNKNOWN,
            status="unknown",
            reason="crash",
        )
        for call in run.calls.values()
        if call.started and call.effect is Effect.IRREVERSIBLE
    ]


def _cut(run: RunState, reason: Literal["crash", "shutdown"]) -> list[ev.Event]:
    return [
        *_texts(run),
        *_unknown(run),
        ev.RunInterrupted(run_id=run.run_id, agent=run.agent, reason=reason),
    ]


def _buried(state: SessionState, run: RunState, moment: Moment) -> list[ev.Event]:
    why = f"the daemon stopped {run.attempt} times while {run.agent} worked on this"
    events = close_open(run, frozenset(), "crash")
    events.append(
        ev.RunFinished(
            run_id=run.run_id,
            agent=run.agent,
            outcome="failed",
            letter_ids=run.letter_ids,
            turns=run.turns,
            reason=why,
            error_code="poison",
        )
    )
    events += last_words(run, events, moment.now_ms)
    events.append(
        ev.NoticePosted(
            notice_id=f"failed:{run.run_id}",
            level="error",
            message=f"Given up: {why}.",
            agent=run.agent,
            run_id=run.run_id,
            code="poison",
        )
    )
    for number, task in enumerate(held(state, run.agent)):
        events += terminal(state, task, moment, "failed", f"Given up: {why}.", extra_sent=number)
    return events
