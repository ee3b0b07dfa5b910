"""`why` and `trace`: an explanation that reads like one."""

from typing import Any

import pytest

from brainpilot_rt.cli.why import explained, reasoning
from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.trace import TraceArtifact, TraceNode, TraceParent
from brainpilot_rt.trace.chains import chain_json, find
from brainpilot_rt.trace.graph import trace_graph
from tests.unit.trace.history import History, causes_of


def told(what: str = "latest") -> dict[str, Any]:
    log = History()
    log.letter("l1", "user", "principal", "Does it rain?\nSay why.")
    log.add("host_turn_started", host_run_id="h1", letter_id="l1", agent="principal")
    log.run("r1", "principal", "l1")
    log.turn("r1", "principal")
    log.letter("l2", "principal", "librarian", "look", by="r1")
    log.run("r2", "librarian", "l2")
    log.call("r2", "librarian", "call_1", "read", path="a.md")
    log.call("r2", "librarian", "call_2", "grep", pattern="\x1b[2J", status="failed")
    log.turn("r2", "librarian", cost=None)
    log.letter("l3", "librarian", "principal", 'It does [a.md:1-2 "it rains"]', by="r2")
    log.run("r3", "principal", "l3")
    log.turn("r3", "principal")
    log.end("r3", "principal")
    log.answer("h1", "r3", "It rains.", Citation(**CITATION))
    graph = causes_of(log.log)
    return chain_json(graph, "s", find(graph, what))


CITATION: dict[str, Any] = {"path": "a.md", "start_line": 1, "end_line": 2, "quote": "it rains"}


def test_an_answer_is_explained_from_the_question_to_the_cost():
    assert explained(told()) == [
        "Why this answer (completed)",
        "  | It rains.",
        "",
        "Question",
        "  the user asked principal: Does it rain? Say why.",
        "",
        "Who did what",
        "  1. principal, because of a letter of user, running",
        "       wrote to librarian: look",
        "       1 model call, 5 tokens, $0.5000 p/m",
        "  2. librarian, because of a letter of principal, running",
        "       read path=a.md",
        "       grep pattern=\\u001b[2J (failed)",
        '       wrote to principal: It does [a.md:1-2 "it rains"]',
        "       1 model call, 5 tokens, cost unknown p/m",
        "  3. principal, because of a letter of librarian",
        "       1 model call, 5 tokens, $0.5000 p/m",
        "",
        "Lines cited",
        "  a.md:1-2 (verified)",
        "      it rains",
        "",
        "Files",
        "  a.md (as it was found)",
        "",
        "Cost",
        f"  {'principal':28}         10 tokens  $1.0000  (2 model calls)",
        f"  {'librarian':28}          5 tokens  cost unknown  (1 model call)",
        f"  {'p/m':28}         15 tokens  cost unknown  (3 model calls)",
        f"  {'together':28}         15 tokens  cost unknown  (3 model calls)",
        f"  {'all work on the question':28}          0 tokens  cost unknown",
    ]


@pytest.mark.parametrize(
    ("what", "first"),
    [
        ("a.md", "Why file a.md"),
        ("l2", "Why letter principal to librarian: look (taken up)"),
        ("a.md:1-2", "Why citation a.md:1-2 (verified)"),
    ],
)
def test_other_things_are_explained_by_their_name_and_what_they_led_to(what: str, first: str):
    lines = explained(told(what))
    assert lines[0] == first
    assert "Used by" in lines


def test_the_reasoning_is_shown_with_its_files_its_edges_and_who_waits():
    step = TraceNode(
        id="n2",
        title="Compare",
        type="finding",
        status="completed",
        summary="Both are dry",
        parents=(TraceParent(id="n1", relation="depends_on", explanation="its data"),),
        artifacts=(TraceArtifact(path="a.csv"), TraceArtifact(path="b.csv")),
        created_at="t",
        updated_at="t",
    )
    first = TraceNode(id="n1", title="Look \x1b", created_at="t", updated_at="t")
    waits = [
        {"waiting": "a", "waited_for": "b", "title": "x"},
        {"waiting": "b", "waited_for": "a", "title": "y"},
    ]
    graph = trace_graph(SessionId("s"), "t", [first, step])
    assert reasoning(graph, {"waits": waits, "circle": ["a", "b"]})[:8] == [
        "Look \\u001b  (task, pending)",
        "Compare  (finding, completed)",
        "    Both are dry",
        "    depends on n1: its data",
        "    files: a.csv, b.csv",
        "a waits for b: x",
        "b waits for a: y",
        "in a circle: a, b",
    ]
    assert reasoning({}, {})[0] == "Nothing was asked yet."
    told = first.model_copy(update={"metadata": {"derived": True}})
    assert reasoning(trace_graph(SessionId("s"), "t", [told]), {})[0].startswith("No agent")


def test_nothing_is_explained_by_nothing():
    assert explained({}) == ["Nothing led to it."]
