"""`evolve(state, recorded) -> state`: what a fact does to a session. Pure, total, no refusal.

The log has already accepted the event, so nothing here says no; an event about something that is
no longer open changes only what it can. Replaying the log gives exactly the state that lived.
"""

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.governing import NO_LIMITS
from brainpilot_rt.domain.ids import LetterId, TaskId
from brainpilot_rt.domain.letters import Letter
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions import governing_folds, memory_folds, run_folds
from brainpilot_rt.sessions.mappings import changed, having, having_last, newest, without
from brainpilot_rt.sessions.state import (
    ROOTS_MAX,
    AgentState,
    HostTurn,
    OpenLetter,
    OpenQuestion,
    OpenTask,
    RootUse,
    SessionState,
)


def evolve(state: SessionState, recorded: ev.Recorded) -> SessionState:
    """Return the state after one committed event."""
    after = _apply(state, recorded.event, recorded.seq, recorded.at_ms)
    return changed(after, seq=recorded.seq, last_ms=recorded.at_ms)


def _apply(state: SessionState, event: ev.Event, seq: int, at_ms: int) -> SessionState:  # noqa: C901, PLR0911, PLR0912 - one case per event, the whole point of the fold
    match event:
        case ev.SessionCreated():
            return _created(state, event, at_ms)
        case ev.SessionUpdated():
            return _updated(state, event)
        case ev.AgentCreated() | ev.AgentStopped():
            return _registry(state, event, at_ms)
        case ev.LetterAccepted() | ev.LetterReceived():
            return _accepted(state, event, at_ms)
        case ev.LetterPlaced() | ev.LetterClaimed():
            return _moved(state, event)
        case ev.LetterConsumed():
            return run_folds.close(state, event.letter_ids, "consumed", None)
        case ev.LetterExpired():
            return run_folds.close(state, (event.letter_id,), "expired", None)
        case ev.LetterDied():
            return run_folds.close(state, (event.letter_id,), "dead", event.reason)
        case ev.TaskOpened() | ev.TaskReminded() | ev.TaskClosed():
            return _task(state, event, at_ms)
        case ev.HostTurnStarted() | ev.HostTurnFinished():
            return _host_turn(state, event, at_ms)
        case ev.RunStarted():
            return memory_folds.begun(run_folds.run_started(state, event, at_ms), event)
        case ev.LettersJoined():
            return run_folds.joined(state, event)
        case ev.RunFinished() | ev.RunInterrupted():
            return run_folds.run_ended(state, event, at_ms)
        case ev.TextStarted() | ev.TextFinished():
            return run_folds.text(state, event, seq)
        case ev.ModelReplied() | ev.ModelAsked():
            return run_folds.replied(state, event)
        case ev.ToolPlanned() | ev.ToolStarted() | ev.ToolFinished():
            return run_folds.call(state, event, at_ms)
        case ev.IntentClassified() | ev.ProgramPrompted():
            return run_folds.thought(state, event)
        case ev.ToolJudged():
            return run_folds.judged(state, event)
        case ev.ContextAssembled() | ev.PassagesRetrieved():
            return run_folds.read(state, event)
        case ev.PlanChanged():
            return run_folds.planned(state, event)
        case ev.StopRequested() | ev.DeliveryResumed():
            return _pause(state, event)
        case ev.QuestionAsked() | ev.QuestionAnswered() | ev.QuestionCancelled():
            return _question(state, event)
        case ev.MemoryAdded() | ev.MemoryRemoved() | ev.MemoryEvicted() | ev.MemorySummarised():
            return changed(state, memory=memory_folds.folded(state.memory, event))
        case ev.SpendReserved() | ev.SpendSettled():
            return governing_folds.money(state, event)
        case ev.ApprovalRequested() | ev.ApprovalDecided():
            return governing_folds.approval(state, event, at_ms)
        case ev.ClientCallOpened() | ev.ClientCallAnswered():
            return governing_folds.client_call(state, event)
        case ev.NoticePosted():
            return _notice(state, event)
        case _:
            told: ev.Told = event  # the type checker's proof that no case is forgotten
            return _unchanged(state, told)


def _unchanged(state: SessionState, told: ev.Told) -> SessionState:
    del told
    return state


def _created(state: SessionState, event: ev.SessionCreated, at_ms: int) -> SessionState:
    return changed(
        state,
        title=event.title,
        created_ms=at_ms,
        provider_id=event.provider_id,
        model_id=event.model_id,
        thinking=event.thinking,
        domain_resources=event.domain_resources,
        workspace=event.workspace,
        agent=event.agent,
        cap_usd=event.cap_usd,
        labels=event.labels,
    )


def _updated(state: SessionState, event: ev.SessionUpdated) -> SessionState:
    return changed(
        state,
        title=state.title if event.title is None else event.title,
        thinking=event.thinking or state.thinking,
        cap_usd=state.cap_usd if event.cap_usd is None else event.cap_usd,
        labels=state.labels if event.labels is None else event.labels,
    )


def _registry(
    state: SessionState, event: ev.AgentCreated | ev.AgentStopped, at_ms: int
) -> SessionState:
    known = state.agents.get(event.agent)
    if isinstance(event, ev.AgentCreated):
        agent = AgentState(
            name=event.agent,
            role=event.role,
            kind=event.kind,
            phase=AgentPhase.IDLE,
            epoch=event.epoch,
            updated_ms=at_ms,
            description=event.description,
            paused=bool(known and known.paused),
        )
    elif known is None:
        return state
    else:
        agent = changed(
            known,
            phase=AgentPhase.STOPPED,
            updated_ms=at_ms,
            run_id=None,
            retry_at_ms=None,
            paused=False,
        )
    return changed(
        state,
        agents=having(state.agents, event.agent, agent),
        plans=without(state.plans, *(key for key in state.plans if key[0] == event.agent)),
    )


def _accepted(
    state: SessionState, event: ev.LetterAccepted | ev.LetterReceived, at_ms: int
) -> SessionState:
    letter = event.letter
    open_letter = OpenLetter(
        letter=letter,
        message_id=event.message_id,
        host_run_id=event.host_run_id,
        echo_due=event.queued,
        accepted_ms=at_ms,
    )
    pair = (letter.from_, letter.to)
    use = state.roots.get(letter.root_id, RootUse())
    host = state.host_turn
    return changed(
        state,
        letters=having(state.letters, letter.id, open_letter),
        sent=having(state.sent, pair, state.sent.get(pair, 0) + 1),
        roots=newest(
            having_last(state.roots, letter.root_id, changed(use, letters=use.letters + 1)),
            ROOTS_MAX,
        ),
        host_turn=host and changed(host, letters=host.letters + 1),
    )


def _moved(state: SessionState, event: ev.LetterPlaced | ev.LetterClaimed) -> SessionState:
    known = state.letters.get(event.letter_id)
    if known is None:
        return state
    moved = (
        changed(known, placed=True)
        if isinstance(event, ev.LetterPlaced)
        else changed(known, placed=True, receipt="claimed")
    )
    return changed(state, letters=having(state.letters, event.letter_id, moved))


def _task(
    state: SessionState, event: ev.TaskOpened | ev.TaskReminded | ev.TaskClosed, at_ms: int
) -> SessionState:
    if isinstance(event, ev.TaskClosed):
        return changed(state, tasks=without(state.tasks, event.task_id))
    if isinstance(event, ev.TaskReminded):
        task = state.tasks.get(event.task_id)
        if task is None:
            return state
        return changed(
            state, tasks=having(state.tasks, event.task_id, changed(task, reminded=True))
        )
    known = state.letters.get(event.letter_id)
    if known is None:
        return state
    letter = known.letter
    opened = OpenTask(
        task_id=event.task_id,
        letter_id=event.letter_id,
        creator=event.creator,
        assignee=event.assignee,
        title=event.title,
        opened_ms=at_ms,
        root_id=letter.root_id,
        hop=letter.hop,
        cap_usd=letter.budget,
        paid_by=_payer(state, letter),
    )
    return changed(state, tasks=having(state.tasks, event.task_id, opened))


def _payer(state: SessionState, letter: Letter) -> TaskId | None:
    """The task whose envelope a delegation is cut from: that of the run that sends it."""
    sender = state.agents.get(letter.from_)
    run = state.runs.get(sender.run_id) if sender and sender.run_id else None
    return run.task_id if run else None


def _host_turn(
    state: SessionState, event: ev.HostTurnStarted | ev.HostTurnFinished, at_ms: int
) -> SessionState:
    if isinstance(event, ev.HostTurnFinished):
        return changed(state, host_turn=None)
    turn = HostTurn(
        host_run_id=event.host_run_id,
        agent=event.agent,
        root_id=event.letter_id,
        started_ms=at_ms,
        letters=1,
        limits=event.limits or NO_LIMITS,
    )
    if turn.limits.cap_usd is None:
        return changed(state, host_turn=turn)
    use = changed(state.roots.get(turn.root_id, RootUse()), cap_usd=turn.limits.cap_usd)
    return changed(state, host_turn=turn, roots=having(state.roots, turn.root_id, use))


def _pause(state: SessionState, event: ev.StopRequested | ev.DeliveryResumed) -> SessionState:
    paused = isinstance(event, ev.StopRequested)
    agents = {
        name: changed(agent, paused=paused, retry_at_ms=None)
        if event.agent in (None, name) and agent.kind == "managed"
        else agent
        for name, agent in state.agents.items()
    }
    return changed(state, agents=agents)


def _question(
    state: SessionState,
    event: ev.QuestionAsked | ev.QuestionAnswered | ev.QuestionCancelled,
) -> SessionState:
    if not isinstance(event, ev.QuestionAsked):
        return changed(state, questions=without(state.questions, event.request_id))
    asked = OpenQuestion(
        request_id=event.request_id,
        run_id=event.run_id,
        call_id=event.call_id,
        agent=event.agent,
        question=event.question,
        options=event.options,
        allow_free_text=event.allow_free_text,
    )
    return changed(state, questions=having(state.questions, event.request_id, asked))


CHAIN_STOPPED = "chain_stopped"
"""Code of the one notice that stops a causal chain; `details` is its root."""


def _notice(state: SessionState, event: ev.NoticePosted) -> SessionState:
    if event.code != CHAIN_STOPPED or event.details is None:
        return state
    root = LetterId(event.details)
    use = changed(state.roots.get(root, RootUse()), stopped=True)
    return changed(state, roots=having(state.roots, root, use))
