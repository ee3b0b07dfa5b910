"""Decisions about runs: what joins, how one ends, who is told, what a stop means.

A run consumes its letters with the commit that ends it. A task its agent still holds then is
closed by exactly one terminal letter, unless the agent itself waits for someone (its own open
tasks) or its letters are kept for a retry.
"""

from collections.abc import Iterable
from typing import Final

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, Busy, Conflict, Forbidden, NotFound
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName, LetterId, RunId
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions.fence import admit, fenced
from brainpilot_rt.sessions.governing import withdrawn
from brainpilot_rt.sessions.moment import Moment
from brainpilot_rt.sessions.stamps import create, echo_of, terminal
from brainpilot_rt.sessions.state import OpenLetter, OpenTask, RunState, SessionState
from brainpilot_rt.sessions.tallies import last_words


def batch(letters: list[OpenLetter], moment: Moment) -> tuple[LetterId, ...]:
    """The letters one run takes at once: oldest first, bounded, the first always."""
    taken: list[LetterId] = []
    room = moment.limits.letters_batch_chars_max
    for one in letters[: moment.limits.letters_batch_max]:
        room -= len(one.letter.content)
        if taken and room < 0:
            break
        taken.append(one.letter.id)
    return tuple(taken)


def join(state: SessionState, command: cmd.JoinLetters, moment: Moment) -> list[ev.Event]:
    """At a turn boundary the letters that arrived meanwhile join the run."""
    run = fenced(state, command.run_id)
    taken = batch(state.queued_for(run.agent), moment)
    if not taken or state.agents[run.agent].paused:
        return []  # the caller keeps `preceding` for what it does instead
    return [
        *command.preceding,
        ev.LettersJoined(
            run_id=run.run_id,
            agent=run.agent,
            letter_ids=taken,
            turn=command.turn,
            echo=echo_of(state, taken, run.host_run_id),
        ),
    ]


def held(state: SessionState, agent: AgentName) -> list[OpenTask]:
    """Tasks whose delegation the agent has read and not answered."""
    return [
        task
        for task in state.tasks.values()
        if task.assignee == agent
        and not (
            task.letter_id in state.letters and state.letters[task.letter_id].receipt == "queued"
        )
    ]


def waits(state: SessionState, agent: AgentName, root_id: LetterId | None = None) -> bool:
    """True when the agent waits for someone else: it ended its turn, it is not silent.

    `root_id`: only for what goes back to that letter.
    """
    return any(
        task.creator == agent and root_id in (None, task.root_id) for task in state.tasks.values()
    )


def remind(state: SessionState, command: cmd.RemindTasks) -> list[ev.Event]:
    """One reminder per held task, once."""
    run = fenced(state, command.run_id)
    reminders = [] if waits(state, run.agent) else _reminders(state, run)
    return [*command.preceding, *reminders] if reminders else []


def _reminders(state: SessionState, run: RunState) -> list[ev.Event]:
    return [
        ev.TaskReminded(
            task_id=task.task_id,
            run_id=run.run_id,
            agent=run.agent,
            text=(
                f"You still hold task {task.task_id} ({task.title}) and nobody has seen your text. "
                f'Deliver now: send_message with to="{task.creator}", msg_type="result_deliver", '
                f'task_id="{task.task_id}". If you can not do it, say why in that letter.'
            ),
        )
        for task in held(state, run.agent)
        if not task.reminded
    ]


def silent(state: SessionState, run_id: RunId) -> bool:
    """Would `remind` say something to this run?"""
    run = state.runs.get(run_id)
    return run is not None and not waits(state, run.agent) and bool(_reminders(state, run))


def finish(state: SessionState, command: cmd.FinishRun, moment: Moment) -> list[ev.Event]:
    """Close a run: texts and calls it left open, its letters, the tasks it leaves behind."""
    run = fenced(state, command.run_id)
    events = admit(state, command.closing)
    closed = {one.message_id for one in command.closing if isinstance(one, ev.TextFinished)}
    closed |= {one.call_id for one in command.closing if isinstance(one, ev.ToolFinished)}
    events += close_open(run, frozenset(closed), "agent_interrupted")
    events += [
        ev.QuestionCancelled(request_id=one.request_id, reason="interrupted", agent=one.agent)
        for one in state.questions.values()
        if one.run_id == run.run_id
    ]
    events += withdrawn(state, run)
    events += unsettled(state, run, "cancelled", command.closing)
    retry = command.retry_at_ms is not None
    events.append(
        ev.RunFinished(
            run_id=run.run_id,
            agent=run.agent,
            outcome=command.outcome,
            letter_ids=() if retry else run.letter_ids,
            turns=command.turns,
            reason=command.reason,
            error_code=command.error_code,
            message_id=command.message_id,
            answer=command.answer,
            citations=command.citations,
            unverified_citations=command.unverified_citations,
            retry_at_ms=command.retry_at_ms,
        )
    )
    events += last_words(run, events, moment.now_ms)
    if not retry:
        events += _left_behind(state, run, command, moment)
    if command.outcome == "failed" and not retry:
        events.append(
            ev.NoticePosted(
                notice_id=f"failed:{run.run_id}",
                level="error",
                message=f"{run.agent} could not finish: {command.reason}",
                agent=run.agent,
                run_id=run.run_id,
                code=command.error_code,
            )
        )
    if command.outcome == "completed" and command.reason in _UNUSUAL:
        events.append(
            ev.NoticePosted(
                notice_id=f"unusual:{run.run_id}",
                level="warning",
                message=f"{run.agent}: {_UNUSUAL[command.reason]}",
                agent=run.agent,
                run_id=run.run_id,
                code=command.reason,
            )
        )
    return events


def unsettled(
    state: SessionState, run: RunState, reason: str, facts: Iterable[ev.Event] = ()
) -> list[ev.Event]:
    """Charges for calls of a run that nobody will hear of any more, unless `facts` settle them.

    Whether the provider was paid is not known: the estimate counts, so that no cap fails open.
    """
    done = {one.reservation_id for one in facts if isinstance(one, ev.SpendSettled)}
    return [
        ev.SpendSettled(
            reservation_id=one.reservation_id,
            run_id=one.run_id,
            agent=one.agent,
            outcome="charged",
            model=one.model,
            counted_usd=one.amount_usd,
            estimated=True,
            reason=reason,
        )
        for one in state.reservations.values()
        if one.run_id == run.run_id and one.reservation_id not in done
    ]


_UNUSUAL: Final = {
    "length": "the reply was cut at the model's output limit.",
    "refusal": "the model refused to answer.",
    "max_turns": "the limit of turns was reached before the work was done.",
    "empty_reply": "the model's last reply had no text.",
}
"""Ends that are no failure and that a person must not mistake for an ordinary answer."""


def close_open(run: RunState, closed: frozenset[str], reason: str) -> list[ev.Event]:
    """Ends for every text and call a run would leave open: a start has exactly one end."""
    events: list[ev.Event] = [
        ev.TextFinished(
            run_id=run.run_id,
            agent=run.agent,
            message_id=message_id,
            kind="reasoning" if kind == "reasoning" else "text",
            text="",
            chunks=(),
            started_seq=seq,
            aborted=True,
        )
        for message_id, (seq, kind) in run.texts.items()
        if message_id not in closed
    ]
    events += [
        ev.ToolFinished(
            run_id=run.run_id,
            agent=run.agent,
            call_id=call.call_id,
            name=call.name,
            content="The call was stopped before it had a result.",
            status="interrupted",
            reason=reason,
        )
        for call in run.calls.values()
        if call.call_id not in closed
    ]
    return events


def _left_behind(
    state: SessionState, run: RunState, command: cmd.FinishRun, moment: Moment
) -> list[ev.Event]:
    if command.outcome == "completed" and waits(state, run.agent):
        return []
    outcome: ev.TaskOutcome = "cancelled" if command.outcome == "aborted" else "failed"
    said = f"\n\nIts last words were:\n{command.answer}" if command.answer else ""
    why = {
        "completed": f"{run.agent} ended without delivering a result.{said}",
        "failed": f"{run.agent} failed: {command.reason}",
        "aborted": f"{run.agent} was stopped ({command.reason or 'by the user'}).",
    }[command.outcome]
    events: list[ev.Event] = []
    told: dict[AgentName, int] = {}
    for task in held(state, run.agent):
        events += terminal(state, task, moment, outcome, why, extra_sent=told.get(task.creator, 0))
        told[task.creator] = told.get(task.creator, 0) + 1
    return events


def interrupt(state: SessionState, command: cmd.Interrupt) -> list[ev.Event]:
    """Raise the fence; the supervisor then ends what runs."""
    if command.agent is not None and command.agent not in state.agents:
        raise NotFound(f"agent {command.agent!r} does not exist")
    return [ev.StopRequested(agent=command.agent)]


def after_stop(state: SessionState, agent: AgentName | None, moment: Moment) -> list[ev.Event]:
    """What a finished stop leaves to say: the host turn's end and one notice."""
    host = state.host_turn
    if host is not None and not state.agents[host.agent].paused and agent in (None, host.agent):
        return []  # the user has spoken since: that turn goes on
    if agent is not None and (host is None or host.agent != agent):
        return [
            ev.NoticePosted(
                # Not `interrupt:`, by which BrainPilot's page knows that a whole turn was stopped.
                notice_id=f"stopped:{state.session}:{agent}:{state.seq}",
                level="info",
                message=f"{agent} was stopped.",
                agent=agent,
            )
        ]
    return [] if host is None else interrupted(state, moment)


def interrupted(state: SessionState, moment: Moment) -> list[ev.Event]:
    """The open host turn was stopped: its end, and the one notice of it."""
    host = state.host_turn
    assert host is not None
    return [
        end_of(state, "interrupted"),
        ev.NoticePosted(
            notice_id=f"interrupt:{state.session}:{host.host_run_id}",
            level="info",
            message="Stopped. Unread letters are kept and delivered after your next message.",
            run_id=host.host_run_id,
            code="interrupted",
            details=moment.iso,
        ),
    ]


def end_of(state: SessionState, outcome: str) -> ev.HostTurnFinished:
    """The event that ends the open host turn with what it came to."""
    host = state.host_turn
    assert host is not None
    return ev.HostTurnFinished.model_validate(
        {
            "host_run_id": host.host_run_id,
            "outcome": outcome,
            "agent": host.agent,
            "message_id": host.message_id,
            "answer": host.answer,
            "citations": host.citations,
            "unverified_citations": host.unverified_citations,
            "cost_usd": host.cost_usd,
            "usage": host.usage,
            "letters": host.letters,
            "runs": host.runs,
            "turns": host.turns,
            "code": host.code,
        }
    )


def create_agent(state: SessionState, command: cmd.CreateAgent, moment: Moment) -> list[ev.Event]:
    """A managed agent, new or revived; asking twice changes nothing."""
    known = state.agents.get(command.agent)
    if known is not None and known.kind == "external" and known.phase is not AgentPhase.STOPPED:
        raise Conflict(f"{command.agent!r} is an external agent")
    if known is not None and known.phase is not AgentPhase.STOPPED:
        return []
    if command.agent in ("user", "external", "daemon"):
        raise Conflict(f"{command.agent!r} is a reserved name")
    alive = sum(one.phase is not AgentPhase.STOPPED for one in state.agents.values())
    if alive >= moment.limits.agents_max:
        raise Busy(f"a session holds at most {moment.limits.agents_max} agents")
    return [create(state, command.agent, command.by, moment)]


def destroy_agent(state: SessionState, command: cmd.DestroyAgent, moment: Moment) -> list[ev.Event]:
    """Stop a name for good: its mail dies with a reason, its creditors are told."""
    known = state.agents.get(command.agent)
    if known is None or known.phase is AgentPhase.STOPPED:
        raise NotFound(f"agent {command.agent!r} does not exist or is stopped already")
    if command.agent == PRINCIPAL:
        raise Forbidden("the principal can not be destroyed")
    if known.phase is AgentPhase.RUNNING:
        raise Conflict(f"{command.agent!r} is running; stop it first", code="running")
    return gone(state, command.agent, "destroyed", command.by, moment)


def gone(
    state: SessionState, agent: AgentName, reason: str, by: AgentName, moment: Moment
) -> list[ev.Event]:
    """Events for an agent that will not come back by itself."""
    events: list[ev.Event] = [
        ev.AgentStopped(agent=agent, reason="left" if reason == "left" else "destroyed", by=by)
    ]
    events += [
        ev.LetterDied(letter_id=one.letter.id, reason=f"agent_{reason}")
        for one in state.letters.values()
        if one.letter.to == agent
    ]
    told: dict[AgentName, int] = {}
    for task in state.tasks.values():
        if task.assignee == agent:
            text = f"{agent} was {reason}; task {task.task_id} will not be done."
            extra = told.get(task.creator, 0)
            events += terminal(state, task, moment, "cancelled", text, extra_sent=extra)
            told[task.creator] = extra + 1
        elif task.creator == agent:
            # Nobody is left to read the result; an unread delegation is not begun any more.
            events.append(ev.TaskClosed(task_id=task.task_id, outcome="cancelled"))
            letter = state.letters.get(task.letter_id)
            if letter is not None and letter.receipt == "queued":
                events.append(ev.LetterDied(letter_id=task.letter_id, reason=f"sender_{reason}"))
    return events


def ask(state: SessionState, command: cmd.AskQuestion, moment: Moment) -> list[ev.Event]:
    """A run asks the user. Asking again with the same id (after a crash) changes nothing."""
    if command.request_id in state.questions:
        return []
    fenced(state, command.run_id)
    if len(state.questions) >= moment.limits.questions_max:
        raise Busy(f"{moment.limits.questions_max} questions are open already")
    return [
        ev.QuestionAsked(
            request_id=command.request_id,
            run_id=command.run_id,
            call_id=command.call_id,
            agent=command.agent,
            question=command.question,
            options=command.options,
            allow_free_text=command.allow_free_text,
        )
    ]


def answer(state: SessionState, command: cmd.AnswerQuestion) -> list[ev.Event]:
    """The first answer wins; a later one is told so."""
    asked = state.questions.get(command.request_id)
    if asked is None:
        raise Conflict("this question is not open any more", code="question_expired")
    if not asked.allow_free_text and asked.options and command.answer not in asked.options:
        raise BadRequest(f"answer with one of: {', '.join(asked.options)}")
    return [
        ev.QuestionAnswered(request_id=asked.request_id, answer=command.answer, agent=asked.agent)
    ]
