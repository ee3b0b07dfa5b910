"""A reasoning graph that nobody recorded: questions, tasks, findings and answers, from causes."""

from typing import Any

from hypothesis import given

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.trace.derived import steps_of
from brainpilot_rt.trace.graph import edges_of, trace_graph
from tests.unit.trace.history import History, causes_of
from tests.unit.trace.test_causes import MOVES, played

CITED: dict[str, Any] = {"path": "a.md", "start_line": 1, "end_line": 2, "quote": "it rains"}


def inquiry() -> History:
    """A question that took a librarian, who found something, and a writer, who failed."""
    log = History()
    log.letter("l1", "user", "principal", "Does it rain?\nSay why.", task_id=None)
    log.run("r1", "principal", "l1")
    log.turn("r1", "principal")
    log.letter("l2", "principal", "librarian", "look", by="r1", task_id="t1")
    log.end("r1", "principal")
    log.run("r2", "librarian", "l2")
    log.turn("r2", "librarian")
    finding = {"claim": "It rains", "citation": CITED, "confidence": 0.9, "verified": True}
    item = {"id": "m", "section": "findings", "agent": "librarian", "content": "x", "at_ms": 1}
    log.add("memory_added", items=[item | {"finding": finding}], agent="librarian", run_id="r2")
    result = {"kind": "result_deliver", "task_id": "t1", "by": "r2"}
    log.letter("l3", "librarian", "principal", "It rains.", **result)
    log.run("r3", "principal", "l3")
    log.turn("r3", "principal")
    log.letter("l4", "principal", "writer", "write", by="r3", task_id="t2")
    opened = {"creator": "principal", "assignee": "writer", "title": "write"}
    log.add("task_opened", task_id="t2", letter_id="l4", **opened)
    gone = {"kind": "result_deliver", "task_id": "t2", "origin": "daemon"}
    log.letter("l5", "writer", "principal", "writer failed", **gone)
    log.run("r4", "principal", "l5")
    shown = [{"name": "findings", "tokens": 1, "item_ids": ["m"]}]
    log.add("context_assembled", run_id="r4", agent="principal", turn=0, sections=shown, tokens=1)
    log.turn("r4", "principal")
    log.end("r4", "principal", "It rains.")
    log.answer("h1", "r4", "It rains.", Citation(**CITED))
    return log


def test_what_was_asked_delegated_found_and_answered_are_its_steps():
    steps = steps_of(causes_of(inquiry().log))
    assert [(one.type, one.title, one.agent, one.status) for one in steps] == [
        ("task", "Does it rain?", "principal", "completed"),
        ("task", "look", "librarian", "completed"),
        ("finding", "It rains", "librarian", "completed"),
        ("task", "write", "writer", "failed"),
        ("answer", "It rains.", "principal", "completed"),
    ]
    assert steps[1].summary == "It rains."
    assert [one.path for one in steps[2].artifacts] == ["a.md"]
    assert all(one.metadata == {"derived": True} for one in steps)


def test_a_step_follows_from_the_nearest_that_led_to_it():
    steps = steps_of(causes_of(inquiry().log))
    edges = {one.title: [edge.id for edge in one.parents] for one in steps}
    assert edges["look"] == ["l1"]
    assert edges["It rains"] == ["l2"]
    assert edges["write"] == ["l2"]
    assert edges["It rains."] == ["l4", "memory:m"]


def test_what_nobody_has_answered_is_in_progress():
    log = History()
    log.letter("l1", "user", "principal", "Does it rain?", task_id=None)
    [step] = steps_of(causes_of(log.log))
    assert (step.status, step.summary) == ("in_progress", None)
    assert steps_of(causes_of([])) == []


@given(MOVES)
def test_it_is_drawn_whole_whatever_happened(moves: list[tuple[str, int, int]]):
    steps = steps_of(causes_of(played(moves).log))
    assert len({one.id for one in steps}) == len(steps)
    drawn = edges_of(steps)
    assert all(len(drawn[one.id]) == len(one.parents) for one in steps)  # all lead to earlier ones
    assert len(trace_graph(SessionId("s"), "t", steps)["nodes"]) == len(steps)
