"""The folds of `evolve` that concern runs and the letters they take."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Protocol, TypeAlias, TypeVar

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, LetterId, RunId, TaskId
from brainpilot_rt.domain.letters import Letter
from brainpilot_rt.domain.phases import TRANSITIONS
from brainpilot_rt.domain.thinking import PLANNING_TOOLS
from brainpilot_rt.domain.tools import FOREIGN
from brainpilot_rt.sessions import governing_folds
from brainpilot_rt.sessions.mappings import changed, having, having_last, newest, without
from brainpilot_rt.sessions.state import (
    CLOSED_MAX,
    ROOTS_MAX,
    OpenCall,
    OpenLetter,
    OpenPlan,
    RootUse,
    RunRecord,
    RunState,
    SessionState,
)
from brainpilot_rt.sessions.tallies import tally
from brainpilot_rt.sessions.views import LetterView

Plans: TypeAlias = Mapping[tuple[AgentName, LetterId], OpenPlan]
PLANS_MAX: Final = 100
"""Plans of a session that are not at their end, the latest."""


class _Waited(Protocol):
    @property
    def run_id(self) -> RunId: ...


_K = TypeVar("_K")
_W = TypeVar("_W", bound=_Waited)


def close(
    state: SessionState, ids: tuple[LetterId, ...], receipt: str, reason: str | None
) -> SessionState:
    """Letters reached a terminal receipt."""
    closed = dict(state.closed)
    for letter_id in ids:
        known = state.letters.get(letter_id)
        if known is not None:
            closed[letter_id] = letter_view(known.letter, receipt, known, reason)
    return changed(state, letters=without(state.letters, *ids), closed=newest(closed, CLOSED_MAX))


def letter_view(
    letter: Letter, receipt: str, known: OpenLetter, reason: str | None = None
) -> LetterView:
    """A letter's receipt as the outside sees it."""
    return LetterView(
        letter_id=letter.id,
        sender=letter.from_,
        to=letter.to,
        kind=letter.kind,
        receipt=receipt,
        reason=reason,
        run_id=known.run_id,
        task_id=letter.task_id,
    )


def run_started(state: SessionState, event: ev.RunStarted, at_ms: int) -> SessionState:
    """An agent works: its letters are claimed, a cut predecessor is inherited."""
    before = state.interrupted.get(event.resumes) if event.resumes else None
    letters = dict(state.letters)
    taken: list[Letter] = []
    for letter_id in event.letter_ids:
        known = letters.get(letter_id)
        if known is not None:
            taken.append(known.letter)
            letters[letter_id] = changed(
                known,
                receipt="claimed",
                run_id=event.run_id,
                echo_due=False,
                attempts=event.attempt,
            )
    deepest = max(taken, key=lambda letter: letter.hop, default=None)
    use = state.roots.get(event.root_id, RootUse())
    run = RunState(
        run_id=event.run_id,
        agent=event.agent,
        letter_ids=event.letter_ids,
        root_id=event.root_id,
        host_run_id=event.host_run_id,
        attempt=event.attempt,
        first_turn=event.first_turn,
        turns=event.first_turn,
        started_ms=at_ms,
        hop=deepest.hop if deepest else 0,
        path=deepest.path if deepest else (),
        tainted=any(letter.authority.tainted for letter in taken)
        or (before is not None and before.tainted),
        calls=before.calls if before else {},
        record=before.record if before else RunRecord(use.runs + 1, at_ms),
        task_id=before.task_id if before else _payer(state, taken),
        spent_usd=before.spent_usd if before else Decimal(0),
    )
    host = state.host_turn
    after = changed(
        state,
        letters=letters,
        runs=having(state.runs, event.run_id, run),
        interrupted=without(state.interrupted, *([event.resumes] if event.resumes else [])),
        questions=_inherited(state.questions, event),
        approvals=_inherited(state.approvals, event),
        grants=_inherited(state.grants, event),
        client_calls=_inherited(state.client_calls, event),
        roots=newest(
            having_last(state.roots, event.root_id, changed(use, runs=use.runs + 1)), ROOTS_MAX
        ),
        host_turn=host and changed(host, runs=host.runs + 1),
    )
    return _phase(after, event.agent, "run_started", at_ms, run_id=event.run_id, retry_at_ms=None)


def _payer(state: SessionState, taken: list[Letter]) -> TaskId | None:
    """The task whose envelope pays for a run: of the first delegation it takes that has one."""
    named = (state.tasks.get(letter.task_id) for letter in taken if letter.task_id)
    found = next((task for task in named if task is not None and task.cap_usd is not None), None)
    if found is not None:
        return found.task_id
    # A result comes back: what its reader delegated was paid by what pays for the reader.
    waiting = (one for one in state.tasks.values() if taken and one.assignee == taken[0].to)
    mine = next((one for one in waiting if one.root_id == taken[0].root_id and one.cap_usd), None)
    return mine.task_id if mine else None


def _inherited(waiting: Mapping[_K, _W], event: ev.RunStarted) -> Mapping[_K, _W]:
    """What a cut run waited for is waited for by the run that goes on for it."""
    if event.resumes is None:
        return waiting
    return {
        key: changed(one, run_id=event.run_id) if one.run_id == event.resumes else one
        for key, one in waiting.items()
    }


def _phase(
    state: SessionState, name: AgentName, what: str, at_ms: int, **changes: object
) -> SessionState:
    agent = state.agents.get(name)
    if agent is None:
        return state
    phase = TRANSITIONS[agent.phase].get(what, agent.phase)
    moved = changed(agent, phase=phase, updated_ms=at_ms, **changes)
    return changed(state, agents=having(state.agents, name, moved))


def joined(state: SessionState, event: ev.LettersJoined) -> SessionState:
    """Letters joined at a turn boundary."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    letters = dict(state.letters)
    for letter_id in event.letter_ids:
        if letter_id in letters:
            letters[letter_id] = changed(
                letters[letter_id], receipt="claimed", run_id=event.run_id, echo_due=False
            )
    tainted = run.tainted or any(
        letters[one].letter.authority.tainted for one in event.letter_ids if one in letters
    )
    deepest = max(
        (letters[one].letter for one in event.letter_ids if one in letters),
        key=lambda letter: letter.hop,
        default=None,
    )
    joined = changed(run, letter_ids=(*run.letter_ids, *event.letter_ids), tainted=tainted)
    if deepest is not None and deepest.hop > run.hop:
        joined = changed(joined, hop=deepest.hop, path=deepest.path)
    return changed(state, letters=letters, runs=having(state.runs, run.run_id, joined))


def read(state: SessionState, event: ev.ContextAssembled | ev.PassagesRetrieved) -> SessionState:
    """A run reads something; from untrusted words on, what it says is tainted."""
    run = state.runs.get(event.run_id)
    if run is None or run.tainted or not taints(event):
        return state
    return changed(state, runs=having(state.runs, run.run_id, changed(run, tainted=True)))


def taints(event: ev.Event) -> bool:
    """Whether it shows untrusted words to a run."""
    match event:
        case ev.ContextAssembled(sections=sections):
            return any(section.untrusted for section in sections)
        case ev.PassagesRetrieved(passages=passages):
            return bool(passages)
        case ev.ToolFinished(name=name, status=status):
            return name.startswith(FOREIGN) and status not in ("refused", "interrupted")
        case _:
            return False


def run_ended(
    state: SessionState, event: ev.RunFinished | ev.RunInterrupted, at_ms: int
) -> SessionState:
    """A run is over; its letters are consumed, kept for a retry, or wait for a successor."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    runs = without(state.runs, event.run_id)
    if isinstance(event, ev.RunInterrupted):
        if event.reason == "shutdown":  # a clean stop is no attempt that failed
            run = changed(run, attempt=run.attempt - 1)
        after = changed(state, runs=runs, interrupted=having(state.interrupted, event.run_id, run))
        return _phase(after, event.agent, "run_completed", at_ms, run_id=None)
    after = close(changed(state, runs=runs), event.letter_ids, "consumed", None)
    if event.retry_at_ms is not None:
        after = _release(after, run.letter_ids)
    else:
        after = changed(after, plans=_kept_plans(after, event, run))
    after = governing_folds.run_ended(after, event.run_id)
    agent = after.agents[event.agent]
    failed = event.outcome == "failed"
    after = _phase(
        after,
        event.agent,
        "run_failed" if failed else "run_completed",
        at_ms,
        run_id=None,
        retry_at_ms=event.retry_at_ms,
        last_error=event.reason if failed else agent.last_error,
        last_error_ms=at_ms if failed else agent.last_error_ms,
        errors_in_a_row=agent.errors_in_a_row + 1 if failed else 0,
    )
    host = after.host_turn
    if host is None or host.agent != event.agent or event.outcome == "aborted":
        return after
    return changed(
        after,
        host_turn=changed(
            host,
            message_id=event.message_id,
            answer=event.answer,
            citations=event.citations,
            unverified_citations=event.unverified_citations,
            failed=failed,
            code=event.error_code or event.reason if failed else event.reason,
        ),
    )


def _kept_plans(state: SessionState, event: ev.RunFinished, run: RunState) -> Plans:
    """A plan lives on only while its agent waits for somebody, or has not read what came of it."""
    waits = any(one.letter.root_id == run.root_id for one in state.queued_for(run.agent)) or any(
        (task.creator, task.root_id) == (run.agent, run.root_id) for task in state.tasks.values()
    )
    if event.outcome == "completed" and waits:
        return state.plans
    return without(state.plans, (run.agent, run.root_id))


def _release(state: SessionState, ids: tuple[LetterId, ...]) -> SessionState:
    letters = {
        key: changed(one, receipt="queued", run_id=None) if key in ids else one
        for key, one in state.letters.items()
    }
    return changed(state, letters=letters)


def text(state: SessionState, event: ev.TextStarted | ev.TextFinished, seq: int) -> SessionState:
    """A text opened or closed."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    texts = (
        having(run.texts, event.message_id, (seq, event.kind))
        if isinstance(event, ev.TextStarted)
        else without(run.texts, event.message_id)
    )
    return changed(state, runs=having(state.runs, run.run_id, changed(run, texts=texts)))


def replied(state: SessionState, event: ev.ModelReplied | ev.ModelAsked) -> SessionState:
    """A model call was paid for."""
    state = governing_folds.used(state, event.agent, event.usage, event.cost_usd)
    host = state.host_turn
    run = state.runs.get(event.run_id)
    roots = state.roots
    if run is not None:
        use = roots.get(run.root_id, RootUse())
        roots = having(roots, run.root_id, changed(use, tokens=use.tokens + event.usage.total))
    return changed(
        state,
        runs=state.runs
        if run is None
        else having(
            state.runs,
            run.run_id,
            changed(
                run,
                turns=run.turns if isinstance(event, ev.ModelAsked) else event.turn + 1,
                record=tally(run.record, event),
            ),
        ),
        roots=roots,
        host_turn=host
        and changed(
            host,
            turns=host.turns + (event.agent == host.agent and isinstance(event, ev.ModelReplied)),
        ),
    )


def call(
    state: SessionState, event: ev.ToolPlanned | ev.ToolStarted | ev.ToolFinished, at_ms: int
) -> SessionState:
    """A tool call was planned, started or finished."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    if isinstance(event, ev.ToolPlanned):
        calls = having(run.calls, event.call_id, OpenCall(event.call_id, event.name, event.effect))
    elif isinstance(event, ev.ToolFinished):
        calls = without(run.calls, event.call_id)
        tainted = run.tainted or taints(event)
        run = changed(run, record=tally(run.record, event), tainted=tainted)
        state = changed(state, plans=_begun(state, run, event.name))
        state = governing_folds.call_ended(state, event.call_id)
    elif event.call_id in run.calls:
        started = changed(run.calls[event.call_id], started=True, since_ms=at_ms)
        calls = having(run.calls, event.call_id, started)
    else:
        return state
    return changed(state, runs=having(state.runs, run.run_id, changed(run, calls=calls)))


def judged(state: SessionState, event: ev.ToolJudged) -> SessionState:
    """The firewall gave its verdict on a call."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    known = changed(run, record=tally(run.record, event))
    return changed(state, runs=having(state.runs, run.run_id, known))


def thought(state: SessionState, event: ev.IntentClassified | ev.ProgramPrompted) -> SessionState:
    """The program of a run was chosen, or it told the model what to do next."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    thinking = changed(run, record=tally(run.record, event))
    plans = state.plans
    if isinstance(event, ev.ProgramPrompted) and event.reason == "step":
        plans = _begun(state, run, event.reason)
    host = state.host_turn
    if (
        isinstance(event, ev.IntentClassified)
        and event.source != "fixed"
        and host is not None
        and (host.agent, host.root_id) == (run.agent, run.root_id)
    ):
        host = changed(host, program=event.program)
    return changed(
        state, runs=having(state.runs, run.run_id, thinking), plans=plans, host_turn=host
    )


def planned(state: SessionState, event: ev.PlanChanged) -> SessionState:
    """A plan is as it is now."""
    run = state.runs.get(event.run_id)
    if run is None:
        return state
    key = (event.agent, run.root_id)
    known = state.plans.get(key)
    replans = known.replans if known else 0
    plan = OpenPlan(
        plan=event.plan, replans=replans + (event.op == "revised"), call_id=event.call_id
    )
    return changed(state, plans=newest(having_last(state.plans, key, plan), PLANS_MAX))


def _begun(state: SessionState, run: RunState, what: str) -> Plans:
    key = (run.agent, run.root_id)
    known = state.plans.get(key)
    if known is None or known.begun or what in PLANNING_TOOLS:
        return state.plans
    return having(state.plans, key, changed(known, begun=True))
