"""Folds of a state into what the outside may see (`views.py`). Pure."""

from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.eventlog.port import SessionRow
from brainpilot_rt.sessions.run_folds import letter_view
from brainpilot_rt.sessions.state import AgentState, SessionState
from brainpilot_rt.sessions.views import (
    ActiveTool,
    AgentView,
    LetterView,
    QuestionView,
    SessionSummary,
    SessionView,
    TaskView,
)


def view(state: SessionState) -> SessionView:
    """The authoritative snapshot of a session."""
    agents = tuple(_agent(state, agent) for agent in state.agents.values())
    host = state.host_turn
    return SessionView(
        session=state.session,
        title=state.title,
        seq=state.seq,
        last_activity_ms=state.last_ms,
        host_run_id=host.host_run_id if host else None,
        working=working(state),
        agents=agents,
        questions=tuple(
            QuestionView(
                request_id=one.request_id,
                agent=one.agent,
                question=one.question,
                options=one.options,
                allow_free_text=one.allow_free_text,
                visible=number == 0,
            )
            for number, one in enumerate(state.questions.values())
        ),
        tasks=tuple(
            TaskView(
                task_id=one.task_id,
                creator=one.creator,
                assignee=one.assignee,
                title=one.title,
                opened_ms=one.opened_ms,
            )
            for one in state.tasks.values()
        ),
        usage=state.usage,
        usage_by_agent=dict(state.usage_by_agent),
        cost_usd=state.cost_usd,
        thinking=state.thinking,
        domain_resources=state.domain_resources,
        provider_id=state.provider_id,
        model_id=state.model_id,
        agent=state.agent,
        labels=state.labels,
        cap_usd=state.cap_usd,
        spent_usd=state.spent_usd,
        created_ms=state.created_ms,
        approvals=tuple(state.approvals.values()),
        client_calls=tuple(state.client_calls.values()),
    )


def _agent(state: SessionState, agent: AgentState) -> AgentView:
    run = state.runs.get(agent.run_id) if agent.run_id else None
    return AgentView(
        name=agent.name,
        role=agent.role,
        kind=agent.kind,
        status=agent.phase,
        epoch=agent.epoch,
        updated_ms=agent.updated_ms,
        unread=len(state.queued_for(agent.name)),
        run_id=agent.run_id,
        paused=agent.paused,
        active_tools=tuple(
            ActiveTool(call_id=call.call_id, name=call.name, started_ms=call.since_ms)
            for call in (run.calls.values() if run else ())
            if call.started
        ),
        last_error=agent.last_error,
        last_error_ms=agent.last_error_ms,
        errors_in_a_row=agent.errors_in_a_row,
        retry_at_ms=agent.retry_at_ms,
        description=agent.description,
    )


def working(state: SessionState) -> bool:
    """True while anything is at work or about to be, in any agent we run."""
    return bool(state.runs or state.interrupted) or any(
        has_mail(state, agent) for agent in state.agents.values()
    )


def has_mail(state: SessionState, agent: AgentState) -> bool:
    """True when unread letters will make this agent run, now or after a pause."""
    able = agent.kind == "managed" and agent.phase is not AgentPhase.STOPPED and not agent.paused
    return able and any(one.wakes for one in state.queued_for(agent.name))


def unread(state: SessionState) -> int:
    """Letters that hold the daemon alive: unread, of managed agents that may run."""
    return sum(
        sum(one.wakes for one in state.queued_for(agent.name))
        for agent in state.agents.values()
        if has_mail(state, agent)
    )


def summary(state: SessionState) -> SessionSummary:
    """One line of the list of sessions."""
    return SessionSummary(
        session=state.session,
        title=state.title,
        created_ms=state.created_ms,
        updated_ms=state.last_ms,
        busy=state.busy,
        provider_id=state.provider_id,
        model_id=state.model_id,
        thinking=state.thinking,
        domain_resources=state.domain_resources,
        agent=state.agent,
        labels=state.labels,
    )


def summary_of(row: SessionRow, state: SessionState | None) -> SessionSummary:
    """A row of the log, or better what memory knows."""
    if state is not None:
        return summary(state)
    return SessionSummary(
        session=row.session,
        title=row.title,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        busy=row.busy,
    )


def letters(state: SessionState) -> list[LetterView]:
    """Receipts: the latest terminal ones, then every open letter."""
    return [
        *state.closed.values(),
        *(letter_view(one.letter, one.receipt, one) for one in state.letters.values()),
    ]
