"""Decisions about approvals, calls the client runs, and what a delegation may spend. Pure.

An approval is a durable record (D21): asked once, decided once. The first word counts, whoever says
it; what was decided by the end of a run or by the clock is said like any other decision.
"""

from decimal import Decimal
from typing import Final

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Busy, Conflict
from brainpilot_rt.domain.governing import PICO
from brainpilot_rt.domain.ids import LetterId, TaskId
from brainpilot_rt.sessions.fence import admit, fenced
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.state import RunState, SessionState

NOTHING: Final = Decimal(0)


def request_approval(
    state: SessionState, command: cmd.RequestApproval, moment: Moment
) -> list[ev.Event]:
    """A call waits for a person. Asking again (after a crash) changes nothing."""
    if command.approval_id in state.approvals:
        return admit(state, command.preceding)
    fenced(state, command.run_id)
    if len(state.approvals) >= moment.limits.approvals_max:
        raise Busy(f"{moment.limits.approvals_max} approvals are open already")
    return [
        *admit(state, command.preceding),
        ev.ApprovalRequested(
            approval_id=command.approval_id,
            run_id=command.run_id,
            agent=command.agent,
            call_id=command.call_id,
            tool=command.tool,
            arguments=dict(command.arguments),
            digest=command.digest,
            definition=command.definition,
            reasons=command.reasons,
            expires_ms=command.expires_ms,
        ),
    ]


def decide_approval(
    state: SessionState, command: cmd.DecideApproval, moment: Moment
) -> list[ev.Event]:
    """The first word on it; a later one is told so. A yes that comes too late is an expiry."""
    asked = state.approvals.get(command.approval_id)
    if asked is None:
        raise Conflict("this approval is not open any more", code="approval_decided")
    if command.decision != "approved" and command.scope != "once":
        raise BadRequest("only an approval reaches beyond its call")
    late = asked.expires_ms is not None and moment.now_ms >= asked.expires_ms
    if late and command.decision == "approved":
        raise Conflict("it had to be decided before now, so it counts as denied", code="expired")
    return [
        ev.ApprovalDecided(
            approval_id=asked.approval_id,
            agent=asked.agent,
            decision=command.decision,
            scope=command.scope,
            by=command.by,
            note=command.note,
            until_ms=command.until_ms,
        )
    ]


def withdrawn(state: SessionState, run: RunState) -> list[ev.Event]:
    """The end of what a run was still waiting for."""
    return [
        ev.ApprovalDecided(
            approval_id=one.approval_id, agent=one.agent, decision="withdrawn", by=run.run_id
        )
        for one in state.approvals.values()
        if one.run_id == run.run_id
    ]


def open_client_call(state: SessionState, command: cmd.OpenClientCall) -> list[ev.Event]:
    """A call that the client is to run. Opening it again changes nothing."""
    if command.call_id in state.client_calls:
        return []
    fenced(state, command.run_id)
    return [
        ev.ClientCallOpened(
            run_id=command.run_id,
            agent=command.agent,
            call_id=command.call_id,
            name=command.name,
            arguments=dict(command.arguments),
        )
    ]


def answer_client_call(state: SessionState, command: cmd.AnswerClientCall) -> list[ev.Event]:
    """The first result counts; a later one is told so."""
    if command.call_id not in state.client_calls:
        raise Conflict("no call with this id waits for a result", code="call_not_open")
    return [
        ev.ClientCallAnswered(
            call_id=command.call_id, content=command.content, is_error=command.is_error
        )
    ]


# --- envelopes ------------------------------------------------------------------------------


def left_of(state: SessionState, root_id: LetterId, task_id: TaskId | None) -> Decimal | None:
    """What an envelope (None: that of the request itself) has left to spend or to hand on.

    What was handed on to open tasks and is not spent yet is not there any more; it comes back when
    they close. What is reserved for calls under way is gone too. None: nobody set a bound.
    """
    task = state.tasks.get(task_id) if task_id is not None else None
    if task is not None:
        cap, spent = task.cap_usd, task.spent_usd
    else:
        use = state.roots.get(root_id)
        cap, spent = (use.cap_usd, use.spent_usd) if use else (None, NOTHING)
    if cap is None:
        return None
    payer = task.task_id if task is not None else None
    handed_on = sum(
        (
            max(one.cap_usd - one.spent_usd, NOTHING)
            for one in state.tasks.values()
            if one.cap_usd is not None and one.root_id == root_id and one.paid_by == payer
        ),
        NOTHING,
    )
    reserved = sum(
        (
            one.amount_usd
            for one in state.reservations.values()
            if one.root_id == root_id and one.task_id == payer
        ),
        NOTHING,
    )
    return cap - spent - handed_on - reserved


def envelope(
    state: SessionState, run: RunState, wanted: Decimal | None, moment: Moment
) -> Decimal | None:
    """What a delegation of this run may spend, cut from what its sender has left.

    Without a bound on the sender the delegation has only the one it was given, if any.
    """
    if wanted is not None and wanted <= 0:
        raise BadRequest("a delegation needs a budget above 0, or none")
    left = left_of(state, run.root_id, run.task_id)
    if left is None:
        return wanted
    if left <= 0:
        raise Conflict("nothing of the budget is left to delegate", code="budget_exhausted")
    if wanted is not None and wanted > left:
        raise BadRequest(f"only {left:.6f} US dollars of the budget are left to delegate")
    share = Decimal(str(moment.limits.delegation_share))
    return wanted if wanted is not None else (left * share).quantize(PICO)
