"""What follows from a state by itself: letters expire, runs start, a host turn ends.

`follow_ups` is applied after every decision, in the same commit, until nothing more follows. So
enqueueing and scheduling are one step (lesson 1), and "done" is computed from open tasks (D10).
"""

from typing import Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.graphs import reach
from brainpilot_rt.domain.ids import AgentName, RunId
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.runs import batch, end_of
from brainpilot_rt.sessions.stamps import chain_stopped, echo_of, terminal
from brainpilot_rt.sessions.state import AgentState, OpenLetter, RootUse, SessionState

_EDGES_SHOWN: Final = 12


def follow_ups(state: SessionState, moment: Moment) -> list[ev.Event]:
    """The next events that follow without anyone asking; empty when nothing does."""
    return (
        _expired(state, moment)
        or _undecided(state, moment)
        or _chains(state, moment)
        or _next_run(state, moment)
        or _stuck(state, moment)
        or _host_turn(state)
    )


def due_ms(state: SessionState, after_ms: int = 0) -> int | None:
    """When time alone will change something: the earliest retry or expiry later than `after_ms`.

    What was due by `after_ms` and has not happened waits for something else (capacity), not for
    time.
    """
    times = [
        one.retry_at_ms
        for one in state.agents.values()
        if one.retry_at_ms is not None and not one.paused and _has_mail(state, one.name)
    ]
    times += [
        one.accepted_ms + int(one.letter.ttl_s * 1000)
        for one in state.letters.values()
        if one.letter.ttl_s is not None and one.receipt == "queued"
    ]
    times += [one.expires_ms for one in state.approvals.values() if one.expires_ms is not None]
    return min((time for time in times if time > after_ms), default=None)


def _has_mail(state: SessionState, agent: AgentName) -> bool:
    return any(one.wakes for one in state.queued_for(agent))


def _expired(state: SessionState, moment: Moment) -> list[ev.Event]:
    for one in state.letters.values():
        ttl = one.letter.ttl_s
        if (
            ttl is not None
            and one.receipt == "queued"
            and one.accepted_ms > 0
            and moment.now_ms >= one.accepted_ms + int(ttl * 1000)
        ):
            return [
                ev.LetterExpired(letter_id=one.letter.id),
                *_bounce(state, one, moment, "its letter expired unread"),
            ]
    return []


def _undecided(state: SessionState, moment: Moment) -> list[ev.Event]:
    """Approvals that nobody decided in the time they were given: they count as denied."""
    return [
        ev.ApprovalDecided(
            approval_id=one.approval_id,
            agent=one.agent,
            decision="expired",
            by="clock",
            note="nobody decided in time",
        )
        for one in state.approvals.values()
        if one.expires_ms is not None and one.expires_ms <= moment.now_ms
    ]


def _bounce(state: SessionState, one: OpenLetter, moment: Moment, why: str) -> list[ev.Event]:
    task_id = one.letter.task_id
    task = state.tasks.get(task_id) if task_id is not None else None
    if task is None or task.letter_id != one.letter.id:
        return []
    return terminal(state, task, moment, "failed", f"Task {task.task_id} was not done: {why}.")


def _over(use: RootUse, moment: Moment) -> str:
    """The limit a causal chain has reached, in words; empty while it is within them."""
    limits = moment.limits
    if use.runs >= limits.root_runs_max:
        return f"{limits.root_runs_max} runs"
    return f"{limits.root_tokens_max:,} tokens" if use.tokens >= limits.root_tokens_max else ""


def _chains(state: SessionState, moment: Moment) -> list[ev.Event]:
    """Letters of a stopped chain die instead of starting runs; so the stop is final and loud."""
    for one in state.letters.values():
        if one.receipt != "queued" or not one.wakes:
            continue
        use = state.roots.get(one.letter.root_id, RootUse())
        if not use.stopped and (why := _over(use, moment)):
            return [chain_stopped(one.letter.root_id, why)]
        holder = state.agents.get(one.letter.to)
        if use.stopped and one.letter.hop > 0 and holder is not None and holder.kind == "managed":
            return [
                ev.LetterDied(letter_id=one.letter.id, reason="chain_stopped"),
                *_bounce(state, one, moment, "its chain of letters was stopped"),
            ]
    return []


def runnable(state: SessionState, agent: AgentState, moment: Moment) -> bool:
    """May this agent start a run now (capacity aside)?"""
    waiting = agent.retry_at_ms is not None and moment.now_ms < agent.retry_at_ms
    return (
        agent.kind == "managed"
        and agent.phase in (AgentPhase.IDLE, AgentPhase.ERROR)
        and not agent.paused
        and not waiting
        and not any(run.agent == agent.name for run in state.interrupted.values())
        and _has_mail(state, agent.name)
    )


def _next_run(state: SessionState, moment: Moment) -> list[ev.Event]:
    limit = moment.limits.runs_concurrent_max
    if limit > 0 and len(state.runs) + len(state.interrupted) >= limit:
        return []
    for agent in state.agents.values():
        if runnable(state, agent, moment):
            return [_start(state, agent.name, moment)]
    return []


def _start(state: SessionState, name: AgentName, moment: Moment) -> ev.RunStarted:
    taken = batch(state.queued_for(name), moment)
    first = state.letters[taken[0]]
    host = state.host_turn
    return ev.RunStarted(
        run_id=RunId("run_" + moment.new_id()),
        agent=name,
        letter_ids=taken,
        root_id=first.letter.root_id,
        host_run_id=host.host_run_id if host else None,
        attempt=first.attempts + 1,
        echo=echo_of(state, taken, host.host_run_id if host else None),
    )


def _stuck(state: SessionState, moment: Moment) -> list[ev.Event]:
    """Close the youngest task that nobody will ever finish, so that its creator can go on; say so.

    Agents that wait for each other's results, or for one whose letter died with its chain, would
    wait for ever. Only looked at when nothing runs.
    """
    if not state.tasks or state.runs or state.interrupted:
        return []
    moving = {one.letter.to for one in state.letters.values() if one.wakes}
    moving |= {one.name for one in state.agents.values() if one.kind == "external"}
    freed: dict[AgentName, list[AgentName]] = {}
    for task in state.tasks.values():
        freed.setdefault(task.assignee, []).append(task.creator)
    moving = reach(moving, freed)
    stuck = [task for task in state.tasks.values() if task.assignee not in moving]
    if not stuck:
        return []
    task = stuck[-1]
    edges = dict.fromkeys(f"{one.creator} waits for {one.assignee}" for one in stuck)
    shown = "; ".join(list(edges)[:_EDGES_SHOWN])
    why = f"nobody could go on ({shown}), so task {task.task_id} ({task.title}) was given up"
    notice = ev.NoticePosted(
        notice_id=f"stuck:{task.task_id}",
        level="warning",
        message=f"The team was stuck: {why}.",
        agent=task.assignee,
        code="wait_cycle",
        details=shown,
    )
    text = f"Failed: {why}. Do without this result, or ask somebody who is free."
    return [*terminal(state, task, moment, "failed", text), notice]


def _host_turn(state: SessionState) -> list[ev.Event]:
    host = state.host_turn
    if host is None or state.tasks or state.interrupted:
        return []
    agent = state.agents[host.agent]
    if agent.phase is AgentPhase.RUNNING or agent.paused or _has_mail(state, agent.name):
        return []
    return [end_of(state, "failed" if host.failed else "completed")]
