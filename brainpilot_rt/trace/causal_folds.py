"""How events become the causal graph: one small function for each kind of fact.

The order of the log is the order of time. A run is a thread: its newest turn is the cause of what
it does, and what it gets meanwhile (results of calls, files it looked at, letters that joined,
memory that was shown) is read by its next turn. Causes that the graph does not know are left out,
so a log that begins in the middle, or one of an older version, still gives a graph.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.citations import parse
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.trace.causes import (
    FILES_MAX,
    Because,
    Causes,
    Thread,
    Wait,
    cut,
    file_path,
    node_of,
)
from brainpilot_rt.trace.thinking_folds import THINKING

_CALL_PREFIX: Final = "call_"
"""A letter that a call sent has the id of the call without it."""
_READERS: Final = frozenset({"read", "search", "grep"})
_WRITERS: Final = frozenset({"write", "edit"})
_FOUND: Final = {
    "search": re.compile(r"^### \d+\. (?P<path>[^\n]+):\d+-\d+ \(score", re.MULTILINE),
    "grep": re.compile(r"^(?P<path>[^\n:]+):\d+: ", re.MULTILINE),
}
_CITATIONS_PER_TEXT: Final = 40


def take(graph: Causes, recorded: Recorded) -> None:
    """Add what an event tells."""
    fold = _FOLDS.get(type(recorded.event))
    if fold is not None:
        fold(graph, recorded, recorded.event)


# --- letters, tasks, answers -----------------------------------------------------------------


def _letter(graph: Causes, at: Recorded, event: ev.LetterAccepted | ev.LetterReceived) -> None:
    letter = event.letter
    run_id = event.run_id if isinstance(event, ev.LetterAccepted) else None
    node = node_of(
        at,
        letter.id,
        "letter",
        f"{letter.from_} to {letter.to}: {letter.content}",
        agent=letter.from_,
        run_id=run_id,
        text=letter.content,
        status="queued",
        facts={
            "from": letter.from_,
            "to": letter.to,
            "letter_kind": letter.kind,
            "task_id": letter.task_id,
            "origin": letter.authority.origin,
        },
    )
    call = f"{_CALL_PREFIX}{letter.id}"
    made_by = [Because(call, "sent")] if call in graph.nodes else graph.from_run(run_id, "sent")
    because = [*made_by]
    because += [
        Because(graph.cite(one, node, *graph.from_run(run_id, "cited")).id, "cited")
        for one in parse(letter.content)[:_CITATIONS_PER_TEXT]
    ]
    because += [Because(graph.file(path, node).id, "attached") for path in letter.attachments]
    if letter.authority.origin == "daemon":  # it speaks for an agent: of what the agent did last
        because += graph.from_run(graph.runs_of.get(letter.from_), "reported")
    if not made_by:
        asked = graph.names.get(f"task:{letter.task_id}")
        before = (letter.reply_to, letter.parent_id, asked)
        because += [Because(known, "caused") for known in before if known]
    graph.add(node, *because)


def _letter_moved(graph: Causes, at: Recorded, event: Any) -> None:
    node = graph.nodes.get(event.letter_id)
    if node is not None:
        node.status = at.event.type.removeprefix("letter_")


def _task_opened(graph: Causes, _: Recorded, event: ev.TaskOpened) -> None:
    graph.names[f"task:{event.task_id}"] = event.letter_id
    graph.waits[event.task_id] = Wait(event.task_id, event.creator, event.assignee, event.title)


def _task_closed(graph: Causes, _: Recorded, event: ev.TaskClosed) -> None:
    graph.waits.pop(event.task_id, None)


def _answer(graph: Causes, at: Recorded, event: ev.HostTurnFinished) -> None:
    node = node_of(
        at,
        event.host_run_id,
        "answer",
        event.answer or f"no answer: {event.outcome}",
        text=event.answer,
        status=event.outcome,
        facts={
            "message_id": event.message_id,
            "question_id": graph.names.get(f"question:{event.host_run_id}"),
            "host_turn_cost_usd": None if event.cost_usd is None else str(event.cost_usd),
            "host_turn_tokens": event.usage.total,
            "unverified_citations": event.unverified_citations,
        },
    )
    said_by = graph.names.get(event.message_id or "") or None
    said = [Because(said_by, "answered")] if said_by else []
    said = said or [*graph.from_run(graph.runs_of.get(event.agent), "answered")]
    cited: list[Because] = []
    for one in event.citations:
        source = graph.cite(one, node, *(Because(by.cause, "cited") for by in said))
        source.status = "verified"
        cited.append(Because(source.id, "cited"))
    for one in parse(event.answer)[:_CITATIONS_PER_TEXT]:
        source = graph.cite(one, node, *(Because(by.cause, "cited") for by in said))
        cited.append(Because(source.id, "cited"))
    graph.latest_answer = graph.add(node, *said, *cited).id
    if event.message_id:
        graph.names[event.message_id] = node.id


def _question_of(graph: Causes, _: Recorded, event: ev.HostTurnStarted) -> None:
    graph.names[f"question:{event.host_run_id}"] = event.letter_id


# --- runs and turns --------------------------------------------------------------------------


def _run(graph: Causes, at: Recorded, event: ev.RunStarted) -> None:
    node = node_of(at, event.run_id, "run", event.agent, status="running")
    node.facts = {"attempt": event.attempt, "host_run_id": event.host_run_id}
    before = graph.threads.pop(event.resumes, None) if event.resumes else None
    because = [Because(letter, "started") for letter in event.letter_ids]
    graph.add(node, *because, *([Because(before.last, "resumed")] if before else ()))
    graph.threads[event.run_id] = Thread(node.id, before.feeds if before else [])
    graph.runs_of[event.agent] = event.run_id
    for letter_id in event.letter_ids:
        _status(graph, letter_id, "taken up")


def _joined(graph: Causes, _: Recorded, event: ev.LettersJoined) -> None:
    for letter_id in event.letter_ids:
        graph.feed(event.run_id, letter_id, "joined")
        _status(graph, letter_id, "taken up")


def _turn(graph: Causes, at: Recorded, event: ev.ModelReplied) -> None:
    thread = graph.threads.setdefault(event.run_id, Thread(event.run_id))
    node = node_of(
        at,
        f"{event.run_id}/{event.turn}",
        "turn",
        f"{event.agent}, turn {event.turn + 1}",
        text=event.message.text,
        usage=event.usage,
        cost_usd=event.cost_usd,
        model=event.model,
        facts={"turn": event.turn, "duration_ms": event.duration_ms},
    )
    first = thread.last == event.run_id
    own = Because(thread.last, "asked" if first else "continued")
    graph.add(node, own, *thread.feeds)
    thread.last, thread.feeds = node.id, []


def _aside(graph: Causes, at: Recorded, event: ev.ModelAsked) -> None:
    node = node_of(
        at,
        f"{event.run_id}/{event.purpose}",
        "aside",
        f"{event.agent}: {event.purpose}",
        usage=event.usage,
        cost_usd=event.cost_usd,
        model=event.model,
        facts={"purpose": event.purpose, "duration_ms": event.duration_ms},
    )
    graph.add(node, *graph.from_run(event.run_id, "asked"))
    graph.feed(event.run_id, node.id, "informed")


def _run_ended(graph: Causes, at: Recorded, event: ev.RunFinished) -> None:
    node = graph.nodes.get(event.run_id)
    if node is not None:
        node.status, node.text = event.outcome, cut(event.answer or event.reason)
        node.facts["turns"] = event.turns
    thread = graph.threads.get(event.run_id)
    if thread is None:
        return
    if event.message_id:
        graph.names[event.message_id] = thread.last
    for one in event.citations:
        like = graph.nodes.get(thread.last) or node_of(at, "", "citation", "")
        graph.cite(one, like, Because(thread.last, "cited")).status = "verified"


def _run_cut(graph: Causes, _: Recorded, event: ev.RunInterrupted) -> None:
    _status(graph, event.run_id, "interrupted")


def _status(graph: Causes, identity: str, status: str) -> None:
    node = graph.nodes.get(identity)
    if node is not None:
        node.status = status


# --- tools -----------------------------------------------------------------------------------


def _planned(graph: Causes, at: Recorded, event: ev.ToolPlanned) -> None:
    if event.call_id in graph.nodes:
        return
    arguments = event.arguments or {}
    shown = ", ".join(f"{name}={value}" for name, value in arguments.items())
    node = node_of(
        at,
        event.call_id,
        "call",
        f"{event.name} {cut(shown, 120)}",
        status="planned",
        facts={"tool": event.name, "arguments": cut(shown, 300)},
    )
    if isinstance(path := arguments.get("path"), str):
        node.facts["path"] = path
    graph.add(node, *graph.from_run(event.run_id, "called"))


def _finished(graph: Causes, at: Recorded, event: ev.ToolFinished) -> None:
    node = graph.nodes.get(event.call_id)
    graph.feed(event.run_id, event.call_id, "returned")
    if node is None:
        return
    node.status, node.text = event.status, cut(event.content)
    node.facts["duration_ms"] = event.duration_ms
    if event.status != "completed":
        return
    path = node.facts.get("path")
    like = node_of(at, "", "file", "")
    if event.name in _WRITERS and path:
        known = graph.nodes.get(graph.names.get(f"file:{file_path(path)}", ""))
        before = [Because(known.id, "changed")] if known and event.name == "edit" else []
        graph.file(path, like, Because(node.id, "wrote"), *before)
    elif event.name in _READERS:
        for seen in _looked_at(event, path):
            graph.feed(event.run_id, graph.file(seen, like).id, "read")


def _looked_at(event: ev.ToolFinished, path: str | None) -> list[str]:
    """The files whose text a call showed."""
    pattern = _FOUND.get(event.name)
    if pattern is None:
        return [path] if path else []
    found = dict.fromkeys(match["path"] for match in pattern.finditer(event.content))
    return list(found)[:FILES_MAX]


def _asked_user(graph: Causes, at: Recorded, event: ev.QuestionAsked) -> None:
    node = node_of(at, event.request_id, "question", event.question, text=event.question)
    node.status = "open"
    graph.add(node, Because(event.call_id, "asked"))
    graph.feed(event.run_id, node.id, "told")


def _user_said(graph: Causes, _: Recorded, event: ev.QuestionAnswered) -> None:
    node = graph.nodes.get(event.request_id)
    if node is not None:
        node.status, node.text = "answered", cut(f"{node.text}\nThe user: {event.answer}")


def _step(graph: Causes, at: Recorded, event: ev.TraceNodeSaved) -> None:
    node = event.node
    if node.id in graph.nodes:
        graph.nodes[node.id].status = node.status
        return
    call = node.id.removeprefix("node_")
    made = node_of(at, node.id, "step", node.title, text=node.summary or "", status=node.status)
    graph.add(made, Because(call, "recorded"))


_FOLDS: Final[dict[type, Callable[[Causes, Recorded, Any], None]]] = {
    ev.LetterAccepted: _letter,
    ev.LetterReceived: _letter,
    ev.LetterExpired: _letter_moved,
    ev.LetterDied: _letter_moved,
    ev.TaskOpened: _task_opened,
    ev.TaskClosed: _task_closed,
    ev.HostTurnStarted: _question_of,
    ev.HostTurnFinished: _answer,
    ev.RunStarted: _run,
    ev.LettersJoined: _joined,
    ev.ModelReplied: _turn,
    ev.ModelAsked: _aside,
    ev.RunFinished: _run_ended,
    ev.RunInterrupted: _run_cut,
    ev.ToolPlanned: _planned,
    ev.ToolFinished: _finished,
    ev.QuestionAsked: _asked_user,
    ev.QuestionAnswered: _user_said,
    ev.TraceNodeSaved: _step,
    **THINKING,
}
"""What the other events tell (live texts, receipts, notices) is no cause of anything."""
