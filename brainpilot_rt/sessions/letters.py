"""Decisions about letters: who may write to whom, and what a letter opens or closes.

Back-pressure refuses only new work: results, failures and cancels always fit (I-9). Every letter
carries its causal chain (`root_id`, `hop`, `path`); a chain over its cap is stopped once, loudly
(D11).
"""

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Conflict, Forbidden, NotFound
from brainpilot_rt.domain.ids import DAEMON, EXTERNAL, PRINCIPAL, TRACE, USER, AgentName
from brainpilot_rt.domain.letters import Authority, LetterKind
from brainpilot_rt.sessions.evolve import CHAIN_STOPPED
from brainpilot_rt.sessions.governing import envelope
from brainpilot_rt.sessions.moment import Moment, RefusedLoudly
from brainpilot_rt.sessions.runs import answer, held, interrupted
from brainpilot_rt.sessions.stamps import chain_stopped, depth, recipient, stamp, starts_now, title
from brainpilot_rt.sessions.state import OpenTask, RootUse, RunState, SessionState


def post(state: SessionState, command: cmd.PostUserMessage, moment: Moment) -> list[ev.Event]:
    """The user speaks: opens a host turn or joins the open one; resumes paused delivery.

    While this agent's question is the one that is shown, what the user types answers it
    (BrainPilot 0.2.2).
    """
    asked = next(iter(state.questions.values()), None)
    waits = asked is not None and asked.allow_free_text and not state.agents[asked.agent].paused
    if asked is not None and waits and asked.agent == command.agent:
        said = command.content.strip()
        return answer(state, cmd.AnswerQuestion(request_id=asked.request_id, answer=said))
    agent = state.agents.get(command.agent)
    if agent is None or not agent.paused:  # a full mailbox must not keep a pause for ever
        depth(state, command.agent, moment)
    events: list[ev.Event] = recipient(state, command.agent, USER, moment)
    if agent is not None and agent.kind == "external":
        raise Conflict(f"{command.agent!r} is an external agent; write to a managed one")
    host = state.host_turn
    if host is not None and state.agents[host.agent].paused:
        events += interrupted(state, moment)  # a stop is under way: what follows is a new request
        host = None
    if any(one.paused or one.retry_at_ms is not None for one in state.agents.values()):
        events.append(ev.DeliveryResumed())  # who speaks does not wait out somebody's pause
    letter = stamp(
        state,
        moment,
        letter_id=command.letter_id,
        sender=USER,
        to=command.agent,
        kind=LetterKind.USER_MESSAGE,
        content=command.content,
        authority=Authority(origin="user"),
        attachments=command.attachments,
        budget=command.limits.cap_usd if command.limits and host is None else None,
    )
    events.append(
        ev.LetterAccepted(
            letter_id=letter.id,
            letter=letter,
            message_id=command.message_id,
            host_run_id=host.host_run_id if host else command.host_run_id,
            queued=not starts_now(state, command.agent, moment, resumed=True),
        )
    )
    if host is None:
        events.append(
            ev.HostTurnStarted(
                host_run_id=command.host_run_id,
                letter_id=letter.id,
                agent=command.agent,
                limits=command.limits,
            )
        )
    return events


def send(state: SessionState, command: cmd.SendLetter, moment: Moment) -> list[ev.Event]:
    """A run's `send_message`: a delegation, the answer to a task, or a plain letter."""
    if command.letter_id in state.letters or command.letter_id in state.closed:
        return []
    run = state.runs.get(command.run_id)
    if run is None or run.agent != command.sender:
        raise Conflict("this run has ended; nothing was sent", code="fenced")
    if command.to == command.sender:
        raise BadRequest("an agent can not write to itself")
    answered = _answered(state, command)
    outside = answered is not None and answered.creator == EXTERNAL
    if command.to in (USER, EXTERNAL, DAEMON) and not outside:
        raise NotFound(
            f"{command.to!r} has no mailbox; what the principal says is shown to the user"
        )
    events: list[ev.Event] = []
    if not outside:
        events += recipient(state, command.to, command.sender, moment)
    kind = command.kind or _default_kind(command.to, answered)
    opens = kind is LetterKind.TASK_DELEGATE
    if answered is None:
        _within_caps(state, run, moment)
        depth(state, command.to, moment)
    task_id = command.new_task_id if opens else (answered.task_id if answered else None)
    letter = stamp(
        state,
        moment,
        letter_id=command.letter_id,
        sender=command.sender,
        to=command.to,
        kind=kind,
        content=command.content,
        authority=Authority(origin="agent", tainted=run.tainted),
        run=run,
        task_id=task_id,
        reply_to=answered.letter_id if answered else None,
        budget=envelope(state, run, command.budget, moment) if opens else None,
    )
    events.append(ev.LetterAccepted(letter_id=letter.id, letter=letter, run_id=run.run_id))
    if opens:
        events.append(
            ev.TaskOpened(
                task_id=command.new_task_id,
                letter_id=letter.id,
                creator=command.sender,
                assignee=command.to,
                title=title(command.content),
            )
        )
    elif answered is not None:
        events.append(
            ev.TaskClosed(task_id=answered.task_id, outcome="result", letter_id=letter.id)
        )
    if outside:  # it has no mailbox: whoever delegated reads the result in the log
        events.append(ev.LetterConsumed(letter_ids=(letter.id,), agent=EXTERNAL))
    return events


def _answered(state: SessionState, command: cmd.SendLetter) -> OpenTask | None:
    """The open task this letter answers: the one it names, else the only one it can mean."""
    if command.kind in (LetterKind.TASK_DELEGATE, LetterKind.TRACE_EVENT, LetterKind.SYSTEM):
        return None
    if command.task_id is not None:
        named = state.tasks.get(command.task_id)
        if named is None:
            raise Conflict(f"task {command.task_id} is not open", code="task_closed")
        if named.assignee != command.sender:
            raise Forbidden(f"task {command.task_id} belongs to {named.assignee}")
        if named.creator != command.to:
            raise BadRequest(f"the result of task {command.task_id} goes to {named.creator}")
        return named
    read = [one for one in held(state, command.sender) if one.creator == command.to]
    return read[0] if read else None


def _default_kind(to: AgentName, answered: OpenTask | None) -> LetterKind:
    if answered is not None or to == PRINCIPAL:
        return LetterKind.RESULT_DELIVER
    return LetterKind.TRACE_EVENT if to == TRACE else LetterKind.TASK_DELEGATE


def _within_caps(state: SessionState, run: RunState, moment: Moment) -> None:
    use = state.roots.get(run.root_id, RootUse())
    limits = moment.limits
    why = None
    if run.hop + 1 > limits.root_hops_max:
        why = f"{limits.root_hops_max} hops"
    elif use.letters >= limits.root_letters_max:
        why = f"{limits.root_letters_max} letters"
    if use.stopped or why is not None:
        error = Conflict(
            "this chain of letters has reached its limit; finish with what you have",
            code=CHAIN_STOPPED,
        )
        raise RefusedLoudly([] if use.stopped else [chain_stopped(run.root_id, str(why))], error)
