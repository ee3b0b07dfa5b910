"""Decisions about foreign letters and external agents: accepted once, stamped, not believed."""

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Conflict
from brainpilot_rt.domain.ids import EXTERNAL, PRINCIPAL, RESERVED, HostRunId, LetterId
from brainpilot_rt.domain.letters import Authority, LetterKind
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.stamps import KNOWN_ROLES, depth, recipient, stamp, starts_now, title
from brainpilot_rt.sessions.state import OpenTask, SessionState


def receive(state: SessionState, command: cmd.ReceiveLetter, moment: Moment) -> list[ev.Event]:
    """A foreign letter: accepted once per id, stamped by us, never believed about its origin."""
    known, closed = state.letters.get(command.letter_id), state.closed.get(command.letter_id)
    if known is not None or closed is not None:
        if command.agent not in (known and known.letter.to, closed and closed.to):
            raise Conflict(f"another agent has a letter with the id {command.letter_id}")
        return []
    foreign = command.letter
    if foreign.to != command.agent:
        raise BadRequest(f"addressed to {foreign.to!r}, found in the mailbox of {command.agent!r}")
    answered = _external_answer(state, command)
    events: list[ev.Event] = recipient(state, command.agent, EXTERNAL, moment)
    kind = foreign.kind or (LetterKind.RESULT_DELIVER if answered else LetterKind.USER_MESSAGE)
    closes = answered is not None and kind is LetterKind.RESULT_DELIVER
    if not closes:
        depth(state, command.agent, moment)
    opens = kind is LetterKind.TASK_DELEGATE
    sender = answered.assignee if answered else EXTERNAL
    letter = stamp(
        state,
        moment,
        letter_id=command.letter_id,
        sender=sender,
        to=command.agent,
        kind=kind,
        content=foreign.content,
        authority=Authority(origin="external", tainted=True),
        task_id=answered.task_id if answered else (command.new_task_id if opens else None),
        reply_to=answered.letter_id if answered else None,
        root_id=answered.root_id if answered else None,
        hop=answered.hop + 1 if answered else 0,
        attachments=foreign.attachments,
        ttl_s=foreign.ttl_s,
    )
    host_id, opens_turn = _host_turn(state, command, kind)
    events.append(
        ev.LetterReceived(
            letter_id=letter.id,
            letter=letter,
            message_id=command.message_id if kind is LetterKind.USER_MESSAGE else None,
            host_run_id=host_id,
            queued=not starts_now(state, command.agent, moment),
        )
    )
    if opens_turn:
        events.append(_opened(command.host_run_id, letter.id))
    if opens:
        events.append(
            ev.TaskOpened(
                task_id=command.new_task_id,
                letter_id=letter.id,
                creator=EXTERNAL,
                assignee=command.agent,
                title=title(foreign.content),
            )
        )
    if answered is not None and closes:
        events.append(
            ev.TaskClosed(task_id=answered.task_id, outcome="result", letter_id=letter.id)
        )
    return events


def _host_turn(
    state: SessionState, command: cmd.ReceiveLetter, kind: LetterKind
) -> tuple[HostRunId | None, bool]:
    """The host turn a letter belongs to, and whether it opens it.

    Behind a fence it waits for the user's next message, and for the turn which that one opens.
    """
    if kind is not LetterKind.USER_MESSAGE or command.agent != PRINCIPAL:
        return None, False
    if state.host_turn is not None:
        return state.host_turn.host_run_id, False
    principal = state.agents.get(PRINCIPAL)
    if principal is not None and principal.paused:
        return None, False
    return command.host_run_id, True


def _opened(host_run_id: HostRunId, letter_id: LetterId) -> ev.HostTurnStarted:
    return ev.HostTurnStarted(host_run_id=host_run_id, letter_id=letter_id, agent=PRINCIPAL)


def _external_answer(state: SessionState, command: cmd.ReceiveLetter) -> OpenTask | None:
    """The open task, held by an external agent, that the file names."""
    foreign = command.letter
    for task in state.tasks.values():
        holder = state.agents.get(task.assignee)
        named = task.task_id == foreign.task_id or task.letter_id == foreign.reply_to
        if named and holder is not None and holder.kind == "external":
            if task.creator != command.agent:
                raise BadRequest(f"the result of task {task.task_id} goes to {task.creator}")
            return task
    return None


def report(state: SessionState, command: cmd.ReportLetter) -> list[ev.Event]:
    """What an external agent did with a letter; each step is recorded once."""
    known = state.letters.get(command.letter_id)
    holder = state.agents.get(command.agent)
    if known is None or known.letter.to != command.agent:
        return []
    if holder is None or holder.kind != "external":
        return []  # what a managed agent reads is decided by its runs
    if command.receipt == "placed":
        return [] if known.placed else [ev.LetterPlaced(letter_id=command.letter_id)]
    if command.receipt == "claimed":
        if known.receipt == "claimed":
            return []
        return [ev.LetterClaimed(letter_id=command.letter_id, agent=command.agent)]
    return [ev.LetterConsumed(letter_ids=(command.letter_id,), agent=command.agent)]


def join_external(state: SessionState, command: cmd.JoinExternal) -> list[ev.Event]:
    """An external agent appears. It may not take a managed or reserved name."""
    known = state.agents.get(command.agent)
    if command.agent in RESERVED or command.agent in KNOWN_ROLES:
        raise Conflict(f"{command.agent!r} is a reserved name")
    if command.card.name != command.agent:
        raise BadRequest(f"agent.json says {command.card.name!r} in folder {command.agent!r}")
    if known is not None and known.kind == "managed" and known.phase is not AgentPhase.STOPPED:
        raise Conflict(f"{command.agent!r} is a managed agent")
    if known is not None and known.phase is not AgentPhase.STOPPED:
        return []
    return [
        ev.AgentCreated(
            agent=command.agent,
            role="external",
            kind="external",
            epoch=known.epoch + 1 if known else 1,
            by=EXTERNAL,
            description=command.card.description,
        )
    ]
