"""The folds of `evolve` that concern money, approvals and calls the client runs."""

from decimal import Decimal

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, TaskId
from brainpilot_rt.domain.usage import NO_USAGE, Usage, add_cost
from brainpilot_rt.sessions.mappings import changed, having, newest, without
from brainpilot_rt.sessions.state import (
    Granted,
    Reservation,
    RootUse,
    SessionState,
)
from brainpilot_rt.sessions.views import ClientCallView, asked_for

GRANTS_MAX = 200
"""Approvals beyond one call that a session remembers, the latest."""


def money(state: SessionState, event: ev.SpendReserved | ev.SpendSettled) -> SessionState:
    """Money was kept free for a call, or what became of it."""
    if isinstance(event, ev.SpendReserved):
        return _reserved(state, event)
    return _settled(state, event)


def used(
    state: SessionState, agent: AgentName, usage: Usage, cost_usd: Decimal | None
) -> SessionState:
    """A model call was made: what a session, its agents and the turn of the user come to."""
    by_agent = state.usage_by_agent.get(agent, NO_USAGE).plus(usage)
    host = state.host_turn
    return changed(
        state,
        usage=state.usage.plus(usage),
        usage_by_agent=having(state.usage_by_agent, agent, by_agent),
        cost_usd=add_cost(state.cost_usd, cost_usd),
        host_turn=host
        and changed(host, usage=host.usage.plus(usage), cost_usd=add_cost(host.cost_usd, cost_usd)),
    )


def _reserved(state: SessionState, event: ev.SpendReserved) -> SessionState:
    """Money is kept free for a call."""
    run = state.runs.get(event.run_id)
    kept = Reservation(
        reservation_id=event.reservation_id,
        run_id=event.run_id,
        agent=event.agent,
        model=event.model,
        amount_usd=event.amount_usd,
        root_id=event.root_id,
        task_id=run.task_id if run else None,
    )
    return changed(state, reservations=having(state.reservations, event.reservation_id, kept))


def _settled(state: SessionState, event: ev.SpendSettled) -> SessionState:
    """A reservation came to its end; what was charged counts in every envelope above it."""
    kept = state.reservations.get(event.reservation_id)
    counted = event.counted_usd
    after = changed(
        state,
        reservations=without(state.reservations, event.reservation_id),
        spent_usd=state.spent_usd + counted,
    )
    if event.without_reply:
        after = used(after, event.agent, event.usage, counted)  # an estimate: no provider told
    if not counted:
        return after
    run = after.runs.get(event.run_id) or after.interrupted.get(event.run_id)
    root_id = run.root_id if run else kept.root_id if kept else None
    task_id = run.task_id if run else kept.task_id if kept else None
    if event.run_id in after.runs and run is not None:
        paid = changed(run, spent_usd=run.spent_usd + counted)
        after = changed(after, runs=having(after.runs, event.run_id, paid))
    if root_id is not None:
        use = after.roots.get(root_id, RootUse())
        spent = changed(use, spent_usd=use.spent_usd + counted)
        after = changed(after, roots=having(after.roots, root_id, spent))
    return _charged(after, task_id, counted)


def _charged(state: SessionState, task_id: TaskId | None, counted: Decimal) -> SessionState:
    tasks = dict(state.tasks)
    seen: set[TaskId] = set()
    while task_id is not None and task_id in tasks and task_id not in seen:
        seen.add(task_id)
        task = tasks[task_id]
        tasks[task_id] = changed(task, spent_usd=task.spent_usd + counted)
        task_id = task.paid_by
    return changed(state, tasks=tasks) if seen else state


def approval(
    state: SessionState, event: ev.ApprovalRequested | ev.ApprovalDecided, at_ms: int
) -> SessionState:
    """An approval was asked for, or somebody decided."""
    if isinstance(event, ev.ApprovalRequested):
        asked = asked_for(event, state.session, at_ms)
        return changed(state, approvals=having(state.approvals, event.approval_id, asked))
    known = state.approvals.get(event.approval_id)
    after = changed(state, approvals=without(state.approvals, event.approval_id))
    if known is None or event.decision != "approved":
        return after
    grant = Granted(
        approval_id=event.approval_id,
        agent=known.agent,
        run_id=known.run_id,
        call_id=known.call_id,
        tool=known.tool,
        digest=known.digest,
        definition=known.definition,
        reasons=known.reasons,
        scope=event.scope,
        until_ms=event.until_ms,
    )
    return changed(after, grants=newest(having(state.grants, event.approval_id, grant), GRANTS_MAX))


def client_call(
    state: SessionState, event: ev.ClientCallOpened | ev.ClientCallAnswered
) -> SessionState:
    """The client is asked to run a call, or has."""
    if isinstance(event, ev.ClientCallAnswered):
        return changed(state, client_calls=without(state.client_calls, event.call_id))
    opened = ClientCallView(
        call_id=event.call_id,
        run_id=event.run_id,
        agent=event.agent,
        name=event.name,
        arguments=event.arguments,
    )
    return changed(state, client_calls=having(state.client_calls, event.call_id, opened))


def call_ended(state: SessionState, call_id: CallId) -> SessionState:
    """What was waited for, or granted, for one call goes with it."""
    spent = [
        key for key, one in state.grants.items() if one.call_id == call_id and one.scope == "once"
    ]
    if not spent and call_id not in state.client_calls:
        return state
    return changed(
        state,
        grants=without(state.grants, *spent),
        client_calls=without(state.client_calls, call_id),
    )


def run_ended(state: SessionState, run_id: RunId) -> SessionState:
    """Grants for a run go with it."""
    gone = [key for key, one in state.grants.items() if one.run_id == run_id and one.scope == "run"]
    return changed(state, grants=without(state.grants, *gone)) if gone else state
