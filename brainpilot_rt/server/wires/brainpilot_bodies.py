"""The BrainPilot wire, event by event: the bodies of the frames, without their envelope.

What BrainPilot has no name for is a CUSTOM frame named after the event (`by_name`), so that every
event has at least one frame and a reader that holds every `seq` holds everything.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from brainpilot_rt.domain.events import (
    AgentCreated,
    AgentStopped,
    HostTurnFinished,
    HostTurnStarted,
    LetterAccepted,
    LetterClaimed,
    LetterConsumed,
    LetterDied,
    LetterExpired,
    LetterPlaced,
    LetterReceived,
    LetterRefused,
    LettersJoined,
    ModelAttemptFailed,
    ModelReplied,
    NoticePosted,
    QuestionAnswered,
    QuestionAsked,
    QuestionCancelled,
    RunFinished,
    RunInterrupted,
    RunStarted,
    SessionCreated,
    SessionUpdated,
    TaskClosed,
    TaskOpened,
    TextFinished,
    TextStarted,
    ToolFinished,
    ToolPlanned,
    TraceNodeSaved,
    UserEcho,
)
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.values import Value
from brainpilot_rt.server.wires.brainpilot_governing import BESIDE

Frame: TypeAlias = dict[str, Any]
"""A JSON object, ready to be written."""


def custom(name: str, value: Frame, **envelope: str | None) -> Frame:
    """A CUSTOM frame; envelope fields that are None are left out."""
    frame: Frame = {"type": "CUSTOM", "name": name, "value": value}
    return frame | present(**envelope)


def present(**fields: Any) -> Frame:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _plain(value: Value, *leave_out: str) -> Frame:
    return value.model_dump(mode="json", exclude={"type", *leave_out}, exclude_none=True)


def by_name(event: Value) -> list[Frame]:
    """What only this daemon knows about: the event under its own name."""
    value = _plain(event)
    name = str(getattr(event, "type", ""))
    return [custom(name, value, agent_name=value.get("agent"), run_id=value.get("run_id"))]


def _status(agent: str, status: str, **more: Any) -> Frame:
    body: Frame = {"type": "agent_status_update", "name": agent, "status": status}
    return body | {"agent_name": agent} | present(**more)


def _user_chunk(message_id: str | None, host_run_id: str | None, text: str, to: str) -> Frame:
    body: Frame = {"type": "TEXT_MESSAGE_CHUNK", "role": "user", "delta": text, "agent_name": to}
    return body | present(message_id=message_id, run_id=host_run_id)


def _echoes(echo: tuple[UserEcho, ...], agent: str) -> list[Frame]:
    return [_user_chunk(said.message_id, said.host_run_id, said.text, agent) for said in echo]


def _letter(op: str, **value: Any) -> Frame:
    return custom("letter", {"op": op} | present(**value))


def _letter_in(event: LetterAccepted | LetterReceived) -> list[Frame]:
    letter = event.letter
    op = "accepted" if isinstance(event, LetterAccepted) else "received"
    mail = _letter(
        op,
        letter=letter.model_dump(mode="json", by_alias=True, exclude_none=True),
        run_id=getattr(event, "run_id", None),
    )
    if letter.kind is not LetterKind.USER_MESSAGE or event.queued:
        return [mail]
    said = _user_chunk(event.message_id, event.host_run_id, letter.content, letter.to)
    return [said, mail]


def _session_title(event: SessionCreated | SessionUpdated) -> list[Frame]:
    if event.title is None:
        return [custom("session_updated", {"thinkingLevel": event.thinking})]
    return [custom("session_title", {"title": event.title})]


def _agent_created(event: AgentCreated) -> list[Frame]:
    return [_status(event.agent, "idle", role=event.role, kind=event.kind, epoch=event.epoch)]


def _agent_stopped(event: AgentStopped) -> list[Frame]:
    return [_status(event.agent, "stopped", reason=event.reason)]


def _letter_claimed(event: LetterClaimed) -> list[Frame]:
    return [_letter("claimed", letter_ids=[event.letter_id], agent=event.agent)]


def _letter_became(op: str) -> Callable[[Value], list[Frame]]:
    return lambda event: [_letter(op, **_plain(event))]


def _task_opened(event: TaskOpened) -> list[Frame]:
    task: Frame = {
        "id": event.task_id,
        "from": event.creator,
        "to": event.assignee,
        "title": event.title,
        "status": "pending",
        "letter_id": event.letter_id,
    }
    return [custom("task_state", {"op": "created", "task": task})]


def _task_closed(event: TaskClosed) -> list[Frame]:
    status = "completed" if event.outcome == "result" else event.outcome
    task = {"id": event.task_id, "status": status} | present(letter_id=event.letter_id)
    op = "cancelled" if event.outcome == "cancelled" else "replied"
    return [custom("task_state", {"op": op, "task": task})]


def _host_turn_started(event: HostTurnStarted) -> list[Frame]:
    value = {"op": "started"} | _plain(event)
    return [custom("host_turn", value, run_id=event.host_run_id)]


def _host_turn_finished(event: HostTurnFinished) -> list[Frame]:
    value = {"op": "finished"} | _plain(event)
    return [custom("host_turn", value, run_id=event.host_run_id)]


def _run_started(event: RunStarted) -> list[Frame]:
    frames = _echoes(event.echo, event.agent)
    if event.letter_ids:
        frames.append(_claimed(event))
    frames.append(_status(event.agent, "running", active_run_id=event.run_id))
    started: Frame = {"type": "RUN_STARTED", "run_id": event.run_id, "agent_name": event.agent}
    more = present(host_run_id=event.host_run_id, resumes=event.resumes)
    return [*frames, started | more]


def _letters_joined(event: LettersJoined) -> list[Frame]:
    return [*_echoes(event.echo, event.agent), _claimed(event)]


def _claimed(event: RunStarted | LettersJoined) -> Frame:
    return _letter(
        "claimed", letter_ids=list(event.letter_ids), run_id=event.run_id, agent=event.agent
    )


def _text_started(event: TextStarted) -> list[Frame]:
    kind = "TEXT" if event.kind == "text" else "REASONING"
    return [
        {
            "type": f"{kind}_MESSAGE_START",
            "message_id": event.message_id,
            "role": "assistant",
            "agent_name": event.agent,
            "run_id": event.run_id,
        }
    ]


def _text_finished(event: TextFinished) -> list[Frame]:
    kind = "TEXT" if event.kind == "text" else "REASONING"
    end: Frame = {
        "type": f"{kind}_MESSAGE_END",
        "message_id": event.message_id,
        "agent_name": event.agent,
        "run_id": event.run_id,
    }
    if not event.aborted:
        return [end]
    end["aborted"] = True
    if event.text or event.kind != "text":
        return [end]
    # Only a crash leaves an aborted text without a word: this wire has no other mark for it.
    notice: Frame = {
        "type": "system_message",
        "id": f"superseded:{event.message_id}",
        "level": "warning",
        "message": f"The answer {event.message_id} was cut off by a restart; it is said anew.",
        "recoverable": True,
        "code": "TEXT_SUPERSEDED",
        "agent": event.agent,
        "metadata": {"superseded": event.message_id},
    }
    return [end, notice]


def _model_replied(event: ModelReplied) -> list[Frame]:
    value = _plain(event, "message")
    return [custom("model_replied", value, agent_name=event.agent, run_id=event.run_id)]


def _model_attempt_failed(event: ModelAttemptFailed) -> list[Frame]:
    retry = {
        "attempt": event.attempt,
        "maxAttempts": event.attempts_max,
        "delayMs": event.delay_ms,
        "reason": event.reason,
    }
    return [_status(event.agent, "running", active_run_id=event.run_id, retry=retry)]


def _tool_planned(event: ToolPlanned) -> list[Frame]:
    call: Frame = {
        "tool_call_id": event.call_id,
        "agent_name": event.agent,
        "run_id": event.run_id,
    }
    arguments = event.raw_arguments
    if event.arguments is not None:
        arguments = to_json(event.arguments, inf_nan_mode="null").decode()
    return [
        {"type": "TOOL_CALL_START", "tool_call_name": event.name} | call,
        {"type": "TOOL_CALL_ARGS", "delta": arguments} | call,
    ]


def _tool_finished(event: ToolFinished) -> list[Frame]:
    call: Frame = {
        "tool_call_id": event.call_id,
        "agent_name": event.agent,
        "run_id": event.run_id,
    }
    known = event.status in {"completed", "interrupted"}
    end: Frame = {
        "type": "TOOL_CALL_END",
        "status": event.status if known else "failed",
        "duration_ms": event.duration_ms,
    }
    result: Frame = {
        "type": "TOOL_CALL_RESULT",
        "message_id": f"tool-result:{event.call_id}",
        "content": event.content,
        "is_error": event.status != "completed",
    }
    reason = event.reason if known else event.reason or event.status
    more = present(full_output_path=event.full_output_path)
    return [end | call | present(reason=reason), result | call | more]


def _run_finished(event: RunFinished) -> list[Frame]:
    frames: list[Frame] = []
    if event.letter_ids:
        ids = list(event.letter_ids)
        frames.append(_letter("consumed", letter_ids=ids, run_id=event.run_id, agent=event.agent))
    run: Frame = {"run_id": event.run_id, "agent_name": event.agent}
    if event.outcome == "failed":
        error: Frame = {
            "type": "RUN_ERROR",
            "message": event.reason or "the run failed",
            "code": event.error_code or "RUNTIME_ERROR",
            "terminal": event.retry_at_ms is None,
        }
        return [*frames, error | run, _status(event.agent, "error")]
    result = {"outcome": event.outcome, "turns": event.turns}
    result |= present(message_id=event.message_id, reason=event.reason or None)
    finished: Frame = {"type": "RUN_FINISHED", "result": result}
    return [*frames, finished | run, _status(event.agent, "idle")]


def _run_interrupted(event: RunInterrupted) -> list[Frame]:
    result = {"outcome": "interrupted", "reason": event.reason}
    finished: Frame = {"type": "RUN_FINISHED", "result": result}
    run: Frame = {"run_id": event.run_id, "agent_name": event.agent}
    return [finished | run, _status(event.agent, "idle")]


def _question_asked(event: QuestionAsked) -> list[Frame]:
    body: Frame = {
        "type": "user_input_request",
        "request_id": event.request_id,
        "agent": event.agent,
        "question": event.question,
        "allow_free_text": event.allow_free_text,
        "agent_name": event.agent,
        "run_id": event.run_id,
    }
    return [body | ({"options": list(event.options)} if event.options else {})]


def _question_answered(event: QuestionAnswered) -> list[Frame]:
    return [{"type": "user_input_response", "agent_name": event.agent} | _plain(event, "agent")]


def _question_cancelled(event: QuestionCancelled) -> list[Frame]:
    return [{"type": "user_input_cancelled", "agent_name": event.agent} | _plain(event, "agent")]


def _notice(event: NoticePosted) -> list[Frame]:
    return [{"type": "system_message", "id": event.notice_id} | _plain(event, "notice_id")]


def node_json(event: TraceNodeSaved) -> Frame:
    """A node of the Graph-of-Trace, as the V1 graph shows it."""
    node = event.node
    return _plain(node, "created_at", "updated_at") | {
        "type": node.type,
        "parentIds": [parent.id for parent in node.parents],
        "childIds": [],
        "toolCalls": [],
        "createdAt": node.created_at,
        "updatedAt": node.updated_at,
    }


def _trace_node(event: TraceNodeSaved) -> list[Frame]:
    value = {"op": event.op, "node": node_json(event)}
    return [custom("trace_node", value, agent_name=event.agent)]


def _beside(known: Callable[[Any], list[Frame]]) -> Callable[[Any], list[Frame]]:
    """The event under its own name, and then what BrainPilot knows that says the same."""
    return lambda event: [*by_name(event), *known(event)]


BODIES: Final[dict[type[Value], Callable[[Any], list[Frame]]]] = {
    AgentCreated: _agent_created,
    AgentStopped: _agent_stopped,
    HostTurnFinished: _host_turn_finished,
    HostTurnStarted: _host_turn_started,
    LetterAccepted: _letter_in,
    LetterClaimed: _letter_claimed,
    LetterConsumed: _letter_became("consumed"),
    LetterDied: _letter_became("dead"),
    LetterExpired: _letter_became("expired"),
    LetterPlaced: _letter_became("placed"),
    LetterReceived: _letter_in,
    LetterRefused: _letter_became("refused"),
    LettersJoined: _letters_joined,
    ModelAttemptFailed: _model_attempt_failed,
    ModelReplied: _model_replied,
    NoticePosted: _notice,
    QuestionAnswered: _question_answered,
    QuestionAsked: _question_asked,
    QuestionCancelled: _question_cancelled,
    RunFinished: _run_finished,
    RunInterrupted: _run_interrupted,
    RunStarted: _run_started,
    SessionCreated: _session_title,
    SessionUpdated: _session_title,
    TaskClosed: _task_closed,
    TaskOpened: _task_opened,
    TextFinished: _text_finished,
    TextStarted: _text_started,
    ToolFinished: _tool_finished,
    ToolPlanned: _tool_planned,
    TraceNodeSaved: _trace_node,
    **{kind: _beside(known) for kind, known in BESIDE.items()},
}
"""How an event class is shown; every other class goes through `by_name`."""
