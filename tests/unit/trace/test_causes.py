"""The causal graph: what leads to what, and that no cost is counted twice."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.trace.causal_folds import take
from brainpilot_rt.trace.causes import Cause, Causes
from brainpilot_rt.trace.chains import chain, chain_json, find, groups, spent_by, whole_json
from tests.unit.trace.history import History, causes_of

CITATION = Citation(path="a.md", start_line=1, end_line=2, quote="it rains")


def why(graph: Causes, what: str) -> list[str]:
    """The ids of what led to something."""
    return [one.id for one in chain(graph, find(graph, what))]


def relations(node: Cause) -> dict[str, str]:
    return {one.cause: one.relation for one in node.because}


def short() -> History:
    """The user asks, the principal reads and answers with a citation."""
    log = History()
    log.letter("l1", "user", "principal", "why?")
    log.add("host_turn_started", host_run_id="h1", letter_id="l1", agent="principal")
    log.run("r1", "principal", "l1")
    log.turn("r1", "principal")
    log.call("r1", "principal", "call_1", "read", path="/workspace/a.md")
    log.turn("r1", "principal")
    log.end("r1", "principal", "It rains.")
    log.answer("h1", "r1", "It rains.", CITATION)
    return log


def test_an_answer_rests_on_the_question_the_turns_the_call_the_file_and_the_citation():
    graph = causes_of(short().log)
    assert why(graph, "latest") == [
        "l1",
        "r1",
        "r1/0",
        "call_1",
        "file:a.md",
        "r1/1",
        "cite:a.md:1-2",
        "h1",
    ]
    answer = find(graph, "msg_r1")
    assert relations(answer) == {"r1/1": "answered", "cite:a.md:1-2": "cited"}
    assert answer.facts["question_id"] == "l1"
    assert relations(graph.nodes["cite:a.md:1-2"]) == {"file:a.md": "quoted", "r1/1": "cited"}
    assert relations(graph.nodes["r1/1"]) == {
        "r1/0": "continued",
        "call_1": "returned",
        "file:a.md": "read",
    }


def test_a_letter_rests_on_the_call_that_sent_it_and_a_joined_one_on_its_turn():
    log = short()
    log.run("r2", "librarian", "l1")
    log.turn("r2", "librarian")
    log.call("r2", "librarian", "call_l2", "send_message", to="principal")
    log.letter("l2", "librarian", "principal", by="r2")
    log.run("r3", "principal", "l1")
    log.turn("r3", "principal")
    log.add("letters_joined", run_id="r3", agent="principal", letter_ids=["l2"], turn=1)
    log.turn("r3", "principal")
    graph = causes_of(log.log)
    assert relations(graph.nodes["l2"]) == {"call_l2": "sent"}
    assert relations(graph.nodes["r3/1"]) == {"r3/0": "continued", "l2": "joined"}
    assert "r2" in why(graph, "r3/1")
    assert "r2" not in why(graph, "r3/0")


def test_a_letter_of_the_daemon_rests_on_what_the_agent_it_speaks_for_did_last():
    log = short()
    log.letter("l2", "librarian", "principal")
    log.run("r2", "principal", "l2")
    log.letter("l3", "principal", "librarian", origin="daemon", reply_to="l2")
    graph = causes_of(log.log)
    assert relations(graph.nodes["l3"]) == {"r2": "reported", "l2": "caused"}


def test_what_an_agent_of_another_process_brings_rests_on_the_task_it_was_given():
    log = short()
    log.letter("l2", "principal", "clerk", "count", by="r1", task_id="t1")
    opened = {"creator": "principal", "assignee": "clerk", "title": "count"}
    log.add("task_opened", task_id="t1", letter_id="l2", **opened)
    log.letter("l3", "clerk", "principal", "42", origin="external", task_id="t1")
    graph = causes_of(log.log)
    assert relations(graph.nodes["l3"]) == {"l2": "caused"}
    assert relations(graph.nodes["l2"]) == {"r1/1": "sent"}


def test_a_file_that_is_written_again_is_a_new_version_that_rests_on_the_old_one_when_edited():
    log = short()
    log.run("r2", "principal", "l1")
    log.turn("r2", "principal")
    log.call("r2", "principal", "call_2", "write", path="b.md")
    log.call("r2", "principal", "call_3", "edit", path="./b.md")
    log.call("r2", "principal", "call_4", "write", path="b.md", status="failed")
    graph = causes_of(log.log)
    newest = find(graph, "b.md")
    assert (newest.id, newest.facts["version"]) == ("file:b.md@2", 2)
    assert relations(newest) == {"call_3": "wrote", "file:b.md": "changed"}


def test_files_that_a_search_showed_are_read_by_the_next_turn():
    log = short()
    found = "### 1. c.md:4-6 (score 1.20)\n4| x\n\n### 2. d e.md:1-1 (score 1.00)\n1| y"
    log.call("r1", "principal", "call_5", "search", query="x", result=found)
    log.call("r1", "principal", "call_6", "grep", pattern="x", result="f.md:3: x\nf.md:4: x")
    log.call("r1", "principal", "call_7", "read", path="no.md", status="failed")
    log.turn("r1", "principal")
    graph = causes_of(log.log)
    files = [one for one, said in relations(graph.nodes["r1/2"]).items() if said == "read"]
    assert files == ["file:c.md", "file:d e.md", "file:f.md"]


def test_thoughts_feed_the_next_turn_and_what_is_paid_beside_it_counts():
    log = short()
    own = {"run_id": "r2", "agent": "librarian"}
    log.run("r2", "librarian", "l1")
    paid = {"usage": {"input": 7}, "model": {"provider": "p", "model": "m"}, "cost_usd": "0.25"}
    log.add("model_asked", **own, purpose="classify", **paid, duration_ms=1)
    log.add(
        "intent_classified",
        **own,
        intent="research",
        confidence=0.9,
        reasoning="asks",
        source="model",
        program="research",
    )
    passage = {"path": "p.md", "start_line": 1, "end_line": 3, "text": "t", "score": 1.0}
    log.add("passages_retrieved", **own, query="rain", passages=[passage])
    log.add("plan_changed", **own, op="proposed", plan={"goal": "g", "steps": [{"text": "look"}]})
    log.add("evidence_insufficient", **own, reason="none", what_would_resolve="a source")
    log.turn("r2", "librarian")
    graph = causes_of(log.log)
    assert set(relations(graph.nodes["r2/0"]).values()) == {
        "asked",
        "informed",
        "guided",
        "limited",
    }
    assert "file:p.md" in why(graph, "r2/0")
    assert graph.nodes["r2/plan"].facts["steps"][0]["text"] == "look"
    spent = spent_by(graph.nodes.values())
    assert spent["total"]["usage"]["total"] == log.paid()
    assert spent["by_agent"]["librarian"]["cost_usd"] == "0.75"


def test_what_is_remembered_leads_to_the_turn_that_was_shown_it():
    log = short()
    finding = {"claim": "It rains", "citation": CITATION, "confidence": 0.8, "verified": True}
    item = {
        "id": "m1",
        "section": "findings",
        "agent": "principal",
        "content": "It rains",
        "at_ms": 1,
        "finding": finding,
    }
    log.add("memory_added", items=[item], agent="principal", run_id="r1")
    log.letter("l9", "user", "writer", "write")
    log.run("r9", "writer", "l9")
    shown = [{"name": "findings", "tokens": 3, "item_ids": ["m1", "unknown"]}]
    log.add("context_assembled", run_id="r9", agent="writer", turn=0, sections=shown, tokens=3)
    log.turn("r9", "writer")
    graph = causes_of(log.log)
    assert relations(graph.nodes["r9/0"]) == {"r9": "asked", "memory:m1": "remembered"}
    assert graph.nodes["memory:m1"].kind == "finding"
    assert {"r1", "cite:a.md:1-2"} <= set(why(graph, "r9/0"))


def test_what_is_noted_after_its_run_rests_on_it_and_a_summary_on_what_it_stands_for():
    log = short()
    item = {"section": "lessons", "agent": "principal", "content": "x", "at_ms": 1}
    log.add("memory_added", items=[item | {"id": "m1"}], agent="principal")
    log.add("memory_added", items=[item | {"id": "m2"}], agent="user")
    log.add(
        "memory_summarised",
        section="lessons",
        agent="principal",
        item_ids=["m1", "m2"],
        item=item | {"id": "m3"},
        tokens_before=2,
    )
    graph = causes_of(log.log)
    assert relations(graph.nodes["memory:m1"]) == {"r1/1": "noted"}
    assert relations(graph.nodes["memory:m2"]) == {}
    assert relations(graph.nodes["memory:m3"]) == {
        "memory:m1": "summarised",
        "memory:m2": "summarised",
    }


def test_a_run_that_goes_on_after_a_crash_rests_on_the_one_that_was_cut():
    log = short()
    log.run("r2", "writer", "l1")
    log.turn("r2", "writer")
    log.call("r2", "writer", "call_2", "read", path="x.md")
    log.add("run_interrupted", run_id="r2", agent="writer", reason="crash")
    log.run("r3", "writer", "l1", resumes="r2", first_turn=1)
    log.turn("r3", "writer")
    graph = causes_of(log.log)
    assert graph.nodes["r2"].status == "interrupted"
    assert relations(graph.nodes["r3"])["r2/0"] == "resumed"
    assert relations(graph.nodes["r3/0"])["call_2"] == "returned"


def test_an_unknown_price_makes_the_sum_unknown_but_not_the_tokens():
    log = short()
    log.turn("r1", "principal", cost=None)
    total = spent_by(causes_of(log.log).nodes.values())["total"]
    assert (total["model_calls"], total["usage"]["total"], total["cost_usd"]) == (3, 15, None)


def test_agents_that_wait_for_each_other_are_a_circle_until_a_task_is_closed():
    log = short()
    for number, (creator, assignee) in enumerate((("a", "b"), ("b", "c"), ("c", "b"))):
        log.add(
            "task_opened",
            task_id=f"t{number}",
            letter_id="l1",
            creator=creator,
            assignee=assignee,
            title="t",
        )
    graph = causes_of(log.log)
    assert graph.circle == ["b", "c"]
    log.add("task_closed", task_id="t2", outcome="result")
    take(graph, log.log[-1])
    assert graph.circle == []
    assert [one.waiting for one in graph.waits.values()] == [AgentName("a"), AgentName("b")]


def test_what_nobody_knows_is_not_found_and_said_so():
    graph = causes_of(short().log)
    with pytest.raises(NotFound, match="name an answer"):
        find(graph, "nothing")
    with pytest.raises(NotFound, match="answered"):
        find(causes_of([]), "latest")
    assert find(graph, "a.md:1-2").kind == "citation"


def test_a_long_session_keeps_its_newest_nodes_and_says_how_many_are_left_out():
    graph = Causes(nodes_max=5)
    for one in short().log:
        take(graph, one)
    assert (len(graph.nodes), graph.dropped) == (5, 3)
    page = whole_json(graph, "s", 0, 3)
    assert [one["number"] for one in page["nodes"]] == [4, 5, 6]
    assert page["left_out"] == 3
    rest = whole_json(graph, "s", page["next"], 3)
    assert [one["number"] for one in rest["nodes"]] == [7, 8]
    assert rest["next"] is None
    kept = {one["id"] for one in (*page["nodes"], *rest["nodes"])}
    assert {one["from"] for one in (*page["edges"], *rest["edges"])} <= kept


def test_a_chain_says_what_uses_the_thing_it_explains():
    graph = causes_of(short().log)
    said = chain_json(graph, "s", find(graph, "a.md:1-2"))
    assert said["of"] == "cite:a.md:1-2"
    assert [(one["id"], one["relation"]) for one in said["used_by"]] == [("h1", "cited")]
    assert Decimal(said["spent"]["total"]["cost_usd"]) == Decimal("1.0")


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["letter", "run", "turn", "read", "write", "join", "resume", "answer"]),
        st.integers(0, 3),
        st.integers(0, 6),
    ),
    max_size=60,
)


def played(moves: list[tuple[str, int, int]]) -> History:
    """A log of agents that write, run, read each other's files and join each other's letters."""
    log = History()
    letters: list[str] = []
    for number, (move, agent, pick) in enumerate(moves):
        name, run = f"agent{agent}", f"run{agent}"
        match move:
            case "letter":
                letters.append(f"l{number}")
                log.letter(letters[-1], name, f"agent{pick % 4}", f"{pick}", by=run)
            case "run" | "resume":
                more = {"resumes": run} if move == "resume" else {}
                log.run(f"{run}", name, *letters[-1 - pick : len(letters) - pick], **more)
            case "turn":
                log.turn(run, name)
            case "read" | "write":
                log.call(run, name, f"call_{number}", move, path=f"f{pick % 3}")
            case "join":
                joined = letters[-1 - pick : len(letters) - pick]
                log.add("letters_joined", run_id=run, agent=name, letter_ids=joined, turn=1)
            case _:
                log.answer(f"h{number}", run, "said", CITATION)
    return log


@given(MOVES)
def test_no_log_makes_a_cycle_or_counts_a_cost_twice(moves: list[tuple[str, int, int]]):
    log = played(moves)
    graph = causes_of(log.log)
    nodes = list(graph.nodes.values())
    for node in nodes:
        assert all(graph.nodes[one.cause].number < node.number for one in node.because)
    assert spent_by(nodes)["total"]["usage"]["total"] == log.paid()
    for node in nodes:
        led = chain(graph, node)
        assert len({one.id for one in led}) == len(led)
        assert spent_by(led)["total"]["usage"]["total"] <= log.paid()


@given(MOVES)
def test_drawing_runs_together_loses_nothing_and_makes_no_cycle(moves: list[tuple[str, int, int]]):
    graph = causes_of(played(moves).log)
    nodes = list(graph.nodes.values())
    parts = groups(nodes)
    assert sorted(node.number for part in parts for node in part) == [one.number for one in nodes]
    place = {node.id: number for number, part in enumerate(parts) for node in part}
    for node in nodes:
        for one in node.because:
            assert place[one.cause] <= place[node.id]
