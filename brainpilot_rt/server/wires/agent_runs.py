"""The wire of agent runs: a fold over the log of one session, event by event, into named frames.

A run is a host turn. What is shown is the work of the agent it is addressed to; of other agents
only the calls that wait for somebody's word. Turns are counted over the whole host turn, because an
agent that waits for a delegation goes on in another run of ours.

The order inside a turn is fixed, whatever order the facts were committed in: the model, what a
guardrail said about the input, the text, the calls with their results, the savings, the warnings.
So what comes early is kept until the model is known, and what is late until the last result is
there. A call is shown when it is known how it was judged: when it starts, waits or ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.times import iso
from brainpilot_rt.server.wires import agent_run_bodies as bodies
from brainpilot_rt.server.wires.agent_run_bodies import Body, Call, View
from brainpilot_rt.server.wires.agent_run_stage import OpenRun, Stage


@dataclass(frozen=True, slots=True)
class RunFrame:
    """One frame. `seq` and `part` are its cursor: `part` 0 is the last frame of the event."""

    event: str
    data: Body
    seq: int
    part: int


class Projector:
    """A deterministic fold over one session's events from its first."""

    def __init__(self, session: SessionId, view: View = "run") -> None:
        self._stage = Stage(session, view)

    def feed(self, recorded: ev.Recorded) -> list[RunFrame]:
        """The frames of the next event."""
        fold = _FOLDS.get(type(recorded.event))
        if fold is None:
            return []
        fold(self._stage, recorded.event, recorded.at_ms)
        made = self._stage.take()
        at, seq, last = iso(recorded.at_ms), recorded.seq, len(made)
        return [
            RunFrame(
                name,
                {"type": name, "id": f"evt_{seq}_{n}", "processed_at": at, **body},
                seq,
                n if n < last else 0,
            )
            for n, (name, body) in enumerate(made, 1)
        ]


_Fold: TypeAlias = Callable[[Stage, Any, int], None]


def _labelled(to: Stage, event: ev.SessionCreated | ev.SessionUpdated, _at_ms: int) -> None:
    """The tools of the client, as far as the labels of the session name them."""
    labels = event.labels or {}
    made: Any = labels.get("agent")
    sources = [labels, cast("dict[str, Any]", made) if isinstance(made, dict) else {}]
    for source in sources:
        for key in ("custom_tools", "client_tools"):
            found = source.get(key)
            for one in cast("list[object]", found) if isinstance(found, list) else []:
                named = cast("dict[str, Any]", one)["name"] if isinstance(one, dict) else one
                to.custom.add(str(named))


def _letter(to: Stage, event: ev.LetterAccepted | ev.LetterReceived, _at_ms: int) -> None:
    said = event.letter
    if to.managed and event.message_id is not None and said.kind is LetterKind.USER_MESSAGE:
        body = {"id": event.message_id, "content": bodies.words(said.content)}
        to.letters[said.id] = body
        to.emit("user.message", {**body, "processed_at": None})


def _taken(to: Stage, event: ev.RunStarted | ev.LettersJoined, _at_ms: int) -> None:
    for letter_id in event.letter_ids:
        if (body := to.letters.pop(letter_id, None)) is not None:
            to.emit("user.message", body)


def _stop(to: Stage, _event: ev.StopRequested, _at_ms: int) -> None:
    if to.managed:
        to.emit("user.interrupt", {})


def _began(to: Stage, event: ev.HostTurnStarted, at_ms: int) -> None:
    to.run = OpenRun(event.host_run_id, event.agent, at_ms)
    to.running(to.run)


def _selected(to: Stage, event: ev.ModelSelected, _at_ms: int) -> None:
    if (run := to.of_run(event)) is None:
        return
    turn = to.index(run, (event.run_id, event.turn))
    if to.managed:
        to.emit("span.model_request_start", {"id": _span(event)})
    to.emit("br.model_selected", bodies.selected(event, turn))
    to.fire_early(run, turn)


def _text(to: Stage, event: ev.TextFinished, _at_ms: int) -> None:
    run = to.of_run(event)
    if run is None or event.aborted:
        return
    if event.kind == "text":
        run.said = event.message_id
    elif to.managed:
        to.emit("agent.thinking", {"id": event.message_id})


def _replied(to: Stage, event: ev.ModelReplied, _at_ms: int) -> None:
    if (run := to.of_run(event)) is None:
        return
    turn = to.index(run, (event.run_id, event.turn))
    to.fire_early(run, turn)
    said, run.said = run.said, ""
    if event.message.text:
        body = bodies.message(event, turn)
        to.emit("agent.message", {**body, "id": said} if said else body)
    if to.managed:
        to.emit("span.model_request_end", bodies.asked(event, _span(event)))
    run.replied = turn + 1
    run.answered = True
    run.open_calls = {call.call_id for call in event.message.tool_calls}
    run.called = bool(run.open_calls)
    to.settle_if_over(run)


def _span(event: ev.ModelSelected | ev.ModelReplied) -> str:
    return f"span_{event.run_id}_{event.turn}"


def _planned(to: Stage, event: ev.ToolPlanned, _at_ms: int) -> None:
    if (run := to.run) is None:
        return
    ours = event.agent == run.agent
    turn = run.indices.get((event.run_id, event.turn), 0) if ours else max(run.turns - 1, 0)
    call = Call(event, turn, {} if ours else {"agentId": event.agent})
    call.custom = event.name in to.custom
    run.calls[event.call_id] = call


def _judged(to: Stage, event: ev.ToolJudged, _at_ms: int) -> None:
    if to.run is not None and (call := to.run.calls.get(event.call_id)) is not None:
        call.reasons = event.reasons
        call.permission = "deny" if event.action == "block" else call.permission


def _started(to: Stage, event: ev.ToolStarted, _at_ms: int) -> None:
    call = to.run.calls.get(event.call_id) if to.run is not None else None
    if call is not None and not call.tag and not call.custom:
        to.show(call)


def _finished(to: Stage, event: ev.ToolFinished, _at_ms: int) -> None:
    run = to.run
    call = run.calls.pop(event.call_id, None) if run is not None else None
    if run is None or call is None:
        return
    if event.status == "refused":
        call.permission = "deny"
        call.custom = call.custom and call.shown  # what was not asked of the client stays here
    if not call.tag:
        to.show(call)
    for key in [key for key, waits in run.waiting.items() if waits == event.call_id]:
        to.wait_no_more(run, key)
    if call.shown and not (call.custom and to.managed):
        to.emit("agent.tool_result", call.result(event))
    run.open_calls.discard(event.call_id)
    to.settle_if_over(run)


def _approval(to: Stage, event: ev.ApprovalRequested, _at_ms: int) -> None:
    if (run := to.run) is None:
        return
    if (call := run.calls.get(event.call_id)) is not None:
        call.permission = "ask"
        call.reasons = event.reasons or call.reasons
        to.show(call)
    to.wait(run, event.approval_id, event.call_id)


def _decided(to: Stage, event: ev.ApprovalDecided, _at_ms: int) -> None:
    run = to.run
    if run is None or (call_id := run.waiting.get(event.approval_id)) is None:
        return
    if event.decision == "withdrawn":  # its run is at its end
        del run.waiting[event.approval_id]
        return
    if to.managed:
        allowed = event.decision == "approved"
        said: Body = {} if allowed or not event.note else {"deny_message": event.note}
        word = {"tool_use_id": call_id, "result": "allow" if allowed else "deny"}
        to.emit("user.tool_confirmation", {"id": f"confirm_{call_id}", **word, **said})
    to.wait_no_more(run, event.approval_id)


def _for_client(to: Stage, event: ev.ClientCallOpened, _at_ms: int) -> None:
    to.custom.add(event.name)
    if (run := to.run) is None:
        return
    if (call := run.calls.get(event.call_id)) is not None:
        call.shown = call.shown and (call.custom or not to.managed)
        call.custom = True
        to.show(call)
    to.wait(run, event.call_id, event.call_id)


def _from_client(to: Stage, event: ev.ClientCallAnswered, _at_ms: int) -> None:
    if (run := to.run) is None:
        return
    if to.managed:
        content = bodies.words(event.content)
        result = {"custom_tool_use_id": event.call_id, "is_error": event.is_error}
        to.emit(
            "user.custom_tool_result",
            {"id": f"result_{event.call_id}", "content": content, **result},
        )
    to.wait_no_more(run, event.call_id)


def _question(to: Stage, event: ev.QuestionAsked, _at_ms: int) -> None:
    if (run := to.of_run(event)) is not None:
        to.wait(run, event.request_id, event.call_id)


def _question_over(
    to: Stage, event: ev.QuestionAnswered | ev.QuestionCancelled, _at_ms: int
) -> None:
    if (run := to.run) is None:
        return
    if isinstance(event, ev.QuestionAnswered):
        to.wait_no_more(run, event.request_id)
    else:
        run.waiting.pop(event.request_id, None)


def _guarded(to: Stage, event: ev.GuardrailFired, _at_ms: int) -> None:
    if (run := to.of_run(event)) is None:
        return
    key = (event.run_id, event.turn)
    if key not in run.indices:
        run.early.append(event)
    else:
        to.emit("br.guardrail_intervention", bodies.intervention(event, run.indices[key]))


def _rated(to: Stage, event: ev.TurnRated, _at_ms: int) -> None:
    run = to.of_run(event)
    if run is None or not event.usage.total:
        return  # of a model that did not answer and was replaced
    run.rated = True
    if event.baseline is not None:
        run.saved += event.savings_usd or 0
        turn = run.indices.get((event.run_id, event.turn), max(run.turns - 1, 0))
        run.late.insert(0, ("br.routing_savings", bodies.savings(event, turn, run.saved)))
    to.settle_if_over(run)


def _warned(to: Stage, event: ev.BudgetWarned, _at_ms: int) -> None:
    if (run := to.run) is not None:
        body = bodies.warning(event, max(run.turns - 1, 0))
        run.late.append(("br.budget_warning", body))
        to.settle_if_over(run)


def _exhausted(to: Stage, _event: ev.BudgetExhausted, _at_ms: int) -> None:
    if to.run is not None:
        to.run.exhausted = True


def _settled(to: Stage, event: ev.SpendSettled, _at_ms: int) -> None:
    if to.run is not None and event.outcome == "charged":
        to.run.charged = True
        to.run.counted += event.counted_usd
        to.run.unpriced = to.run.unpriced or event.cost_usd is None


def _run_finished(to: Stage, event: ev.RunFinished, _at_ms: int) -> None:
    if (run := to.of_run(event)) is not None:
        run.failure = event.reason if event.outcome == "failed" else ""
        to.settle(run)


def _ended(to: Stage, event: ev.HostTurnFinished, at_ms: int) -> None:
    run, to.run = to.run, None
    if run is None or run.host_run_id != event.host_run_id:
        return
    to.fire_early(run, run.replied)
    to.settle(run)
    reason = bodies.reason_of(event, exhausted=run.exhausted and run.called)
    stop = {"stop_reason": {"type": bodies.stop_of(reason)}}
    if to.managed:
        if stop["stop_reason"]["type"] == "retries_exhausted":
            to.emit("session.error", bodies.error_of(reason, run.failure))
        to.emit("session.status_idle", stop)
        return
    if reason in ("completed", "max_turns"):
        to.emit("session.status_idle", stop)
    unknown = run.unpriced or event.cost_usd is None
    cost = run.counted if run.charged or event.cost_usd is None else event.cost_usd
    to.emit(
        "session.status_ended",
        {
            "reason": reason,
            "totalTurns": run.turns,
            "totalCostUsd": float(cost),
            "durationMs": max(at_ms - run.started_ms, 0),
            "sessionId": to.session,
            "agentId": run.agent,
            "runId": run.host_run_id,
            **({"costUnknown": True} if unknown else {}),
            **({"error": {"code": event.code, "message": run.failure}} if run.failure else {}),
        },
    )


_FOLDS: Final[dict[type, _Fold]] = {
    ev.SessionCreated: _labelled,
    ev.SessionUpdated: _labelled,
    ev.LetterAccepted: _letter,
    ev.LetterReceived: _letter,
    ev.RunStarted: _taken,
    ev.LettersJoined: _taken,
    ev.StopRequested: _stop,
    ev.HostTurnStarted: _began,
    ev.ModelSelected: _selected,
    ev.TextFinished: _text,
    ev.ModelReplied: _replied,
    ev.ToolPlanned: _planned,
    ev.ToolJudged: _judged,
    ev.ToolStarted: _started,
    ev.ToolFinished: _finished,
    ev.ApprovalRequested: _approval,
    ev.ApprovalDecided: _decided,
    ev.ClientCallOpened: _for_client,
    ev.ClientCallAnswered: _from_client,
    ev.QuestionAsked: _question,
    ev.QuestionAnswered: _question_over,
    ev.QuestionCancelled: _question_over,
    ev.GuardrailFired: _guarded,
    ev.TurnRated: _rated,
    ev.BudgetWarned: _warned,
    ev.BudgetExhausted: _exhausted,
    ev.SpendSettled: _settled,
    ev.RunFinished: _run_finished,
    ev.HostTurnFinished: _ended,
}
