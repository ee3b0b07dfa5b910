"""What a letter is stamped with, who it may go to, and the letters the daemon itself writes.

A recipient is resolved against the registry; an unknown one is an error naming the nearest agents,
never a ghost. Nothing a foreign hand could forge is taken from a letter; it is filled in here.
"""

from decimal import Decimal
from difflib import get_close_matches
from typing import Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Busy, NotFound
from brainpilot_rt.domain.ids import (
    PRINCIPAL,
    SPECIALISTS,
    TRACE,
    AgentName,
    HostRunId,
    LetterId,
    MessageId,
    TaskId,
)
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions.evolve import CHAIN_STOPPED
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.state import OpenTask, RunState, SessionState

PATH_MAX: Final = 32
TITLE_CHARS: Final = 120
KNOWN_ROLES: Final = frozenset({PRINCIPAL, TRACE, *SPECIALISTS})


def role_of(agent: AgentName, moment: Moment) -> str:
    """`principal`, `trace`, the name of a specialist or a member, or `expert` for any other."""
    return agent if agent in KNOWN_ROLES or agent in moment.members else "expert"


def create(state: SessionState, agent: AgentName, by: AgentName, moment: Moment) -> ev.AgentCreated:
    """The event that brings a managed agent to life (again)."""
    known = state.agents.get(agent)
    return ev.AgentCreated(
        agent=agent,
        role=role_of(agent, moment),
        epoch=known.epoch + 1 if known else 1,
        by=by,
        description=moment.members.get(agent, ""),
    )


def recipient(
    state: SessionState, name: AgentName, by: AgentName, moment: Moment
) -> list[ev.Event]:
    """Events that make the recipient exist; a well-known name is created on first use.

    Raises `NotFound` naming the nearest agents.
    """
    known = state.agents.get(name)
    if known is not None and known.phase is not AgentPhase.STOPPED:
        return []
    expected = KNOWN_ROLES | moment.members.keys()
    if name in expected and (known is None or known.kind == "managed"):
        return [create(state, name, by, moment)]
    alive = [one.name for one in state.agents.values() if one.phase is not AgentPhase.STOPPED]
    names = sorted({*alive, *expected})
    near = get_close_matches(name, names, n=3, cutoff=0.5) or names
    state_of = "has been stopped" if known else "does not exist"
    raise NotFound(
        f"agent {name!r} {state_of}; nearest: {', '.join(near)}. "
        "The principal can create one with create_agent.",
        code="unknown_agent",
    )


def stamp(  # noqa: PLR0913 - the stamp is what a letter is
    state: SessionState,
    moment: Moment,
    *,
    letter_id: LetterId,
    sender: AgentName,
    to: AgentName,
    kind: LetterKind,
    content: str,
    authority: Authority,
    run: RunState | None = None,
    task_id: TaskId | None = None,
    reply_to: LetterId | None = None,
    root_id: LetterId | None = None,
    hop: int | None = None,
    attachments: tuple[str, ...] = (),
    ttl_s: float | None = None,
    extra_sent: int = 0,
    budget: Decimal | None = None,
) -> Letter:
    """A letter of ours, with everything a foreign hand could forge filled in by us."""
    agent = state.agents.get(to)
    born = agent is not None and agent.phase is AgentPhase.STOPPED
    path = ((*run.path, run.agent) if run else (sender,))[-PATH_MAX:]
    return Letter.model_validate(
        {
            "id": letter_id,
            "session": state.session,
            "from": sender,
            "to": to,
            "kind": kind,
            "content": content,
            "task_id": task_id,
            "reply_to": reply_to,
            "root_id": root_id or (run.root_id if run else letter_id),
            "parent_id": run.letter_ids[-1] if run and run.letter_ids else None,
            "hop": hop if hop is not None else (run.hop + 1 if run else 0),
            "path": path,
            "seq_from": state.sent.get((sender, to), 0) + 1 + extra_sent,
            "created_at": moment.iso,
            "ttl_s": ttl_s,
            "attachments": attachments,
            "authority": authority,
            "budget": budget,
            "epoch": agent.epoch + born if agent else 1,
        }
    )


def title(content: str) -> str:
    """The first line, shortened."""
    first = content.strip().partition("\n")[0]
    return first if len(first) <= TITLE_CHARS else first[: TITLE_CHARS - 1] + "…"


def chain_stopped(root: LetterId, why: str) -> ev.NoticePosted:
    """The one loud notice that a causal chain was stopped."""
    return ev.NoticePosted(
        notice_id=f"chain:{root}",
        level="warning",
        message=f"A chain of letters was stopped at its limit of {why}. Send a message to go on.",
        code=CHAIN_STOPPED,
        details=root,
    )


def terminal(
    state: SessionState,
    task: OpenTask,
    moment: Moment,
    outcome: ev.TaskOutcome,
    text: str,
    *,
    extra_sent: int = 0,
) -> list[ev.Event]:
    """Close a task with the one letter that tells its creator how it ended (always fits).

    It may quote the assignee's last words: what its run had read is said of the letter, too.
    """
    assignee = state.agents.get(task.assignee)
    run = state.runs.get(assignee.run_id) if assignee and assignee.run_id else None
    creator = state.agents.get(task.creator)
    if creator is None or creator.phase is AgentPhase.STOPPED:
        return [ev.TaskClosed(task_id=task.task_id, outcome=outcome)]
    letter = stamp(
        state,
        moment,
        letter_id=LetterId(moment.new_id()),
        sender=task.assignee,
        to=task.creator,
        kind=LetterKind.RESULT_DELIVER,
        content=text,
        authority=Authority(origin="daemon", tainted=run is not None and run.tainted),
        task_id=task.task_id,
        reply_to=task.letter_id,
        root_id=task.root_id,
        hop=task.hop + 1,
        extra_sent=extra_sent,
    )
    return [
        ev.LetterAccepted(letter_id=letter.id, letter=letter),
        ev.TaskClosed(task_id=task.task_id, outcome=outcome, letter_id=letter.id),
    ]


def echo_of(
    state: SessionState, ids: tuple[LetterId, ...], fallback: HostRunId | None
) -> tuple[ev.UserEcho, ...]:
    """The chat bubbles that come due when queued user messages are taken up."""
    due: list[ev.UserEcho] = []
    for letter_id in ids:
        known = state.letters[letter_id]
        host = known.host_run_id or fallback
        if known.echo_due and known.message_id is not None:
            due.append(
                ev.UserEcho(
                    message_id=MessageId(known.message_id),
                    host_run_id=host or HostRunId(letter_id),
                    letter_id=letter_id,
                    text=known.letter.content,
                )
            )
    return tuple(due)


def starts_now(
    state: SessionState, name: AgentName, moment: Moment, *, resumed: bool = False
) -> bool:
    """Would a letter to this agent start a run at once? `resumed`: no pause is left by then."""
    agent = state.agents.get(name)
    limit = moment.limits.runs_concurrent_max
    free = limit <= 0 or len(state.runs) < limit
    idle = agent is None or agent.phase is not AgentPhase.RUNNING
    paused = agent is not None and agent.paused and not resumed
    return free and idle and not paused and not state.queued_for(name)


def depth(state: SessionState, name: AgentName, moment: Moment) -> None:
    """Refuse new work for an agent whose mailbox is full."""
    limit = moment.limits.mailbox_depth_max
    if len(state.queued_for(name)) >= limit:
        raise Busy(f"the mailbox of {name!r} holds {limit} unread letters; try again later")
