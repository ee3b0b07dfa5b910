"""Team tools, graph tools and search: they only ask the authority."""

import json
from functools import partial

import pytest

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.testing.desk import Desk, Use
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.retrieving import search_tool
from brainpilot_rt.tools.team import team_tools
from brainpilot_rt.tools.tracing import graph_tools

TOOLS = Registry([*team_tools(), *graph_tools(), search_tool()])


@pytest.fixture
def use(desk: Desk) -> Use:
    return partial(desk.use, TOOLS)


async def test_a_letter_goes_to_the_principal_unless_told_otherwise(use: Use, desk: Desk):
    assert (await use("send_message", content="hi")).content == "accepted"
    await use(
        "send_message", to="librarian", content="look", msg_type="task_delegate", task_id="task_1"
    )
    assert desk.sent == [
        ("principal", "hi", None, None),
        ("librarian", "look", LetterKind.TASK_DELEGATE, "task_1"),
    ]


async def test_what_the_authority_refuses_is_raised_for_the_runner(use: Use):
    with pytest.raises(NotFound, match="did you mean librarian"):
        await use("send_message", to="librarain", content="x")
    with pytest.raises(BadRequest):
        await use("send_message", to="../evil", content="x")


async def test_a_question_can_always_be_answered(use: Use, desk: Desk):
    assert (await use("ask_user", question="Which?", allow_free_text=False)).content == "yes"
    await use("ask_user", question="Which?", options=["a", "b"], allow_free_text=False)
    assert desk.asked == [("Which?", (), True), ("Which?", ("a", "b"), False)]


async def test_agents_come_and_go_by_legal_names(use: Use, desk: Desk):
    assert (await use("create_agent", agent_type="writer")).content == "created writer"
    assert (await use("destroy_agent", agent_type="writer")).content == "destroyed writer"
    with pytest.raises(BadRequest):
        await use("create_agent", agent_type="Writer One")


async def test_a_trace_note_is_a_letter_to_the_trace_agent(use: Use, desk: Desk):
    await use("record_trace", description="Chose BM25", artifacts=["a.md"], context="speed")
    to, content, kind, _ = desk.sent[0]
    assert (to, kind) == ("trace", LetterKind.TRACE_EVENT)
    assert content == "Chose BM25\nContext: speed\nArtifact: a.md"


async def test_nodes_are_chained_updated_related_and_shown(use: Use, desk: Desk):
    assert (await use("create_trace_node", "c1", title="One")).content == "Created node node_c1."
    await use("create_trace_node", "c2", title="Two")
    await use("create_trace_node", "c3", title="Part", parent_id="node_c1")
    assert "there already" in (await use("create_trace_node", "c3", title="Part")).content
    await use("update_trace_node", node_id="node_c2", status="completed")
    done = await use("add_trace_relation", from_id="node_c2", to_id="node_c1", explanation="uses")
    assert done.content == "node_c2 now depends on node_c1."
    again = await use("add_trace_relation", from_id="node_c1", to_id="node_c2", explanation="uses")
    assert again.content.startswith("Nothing to add")
    shown = json.loads((await use("get_trace_graph")).content)
    assert [(one["id"], one["status"], one["parentIds"]) for one in shown] == [
        ("node_c1", "pending", []),
        ("node_c2", "completed", ["node_c1"]),
        ("node_c3", "pending", ["node_c1"]),
    ]
    assert (await use("update_trace_node", node_id="node_c1")).failed
    with pytest.raises(NotFound):
        await use("update_trace_node", node_id="node_x", status="done")


async def test_passages_are_shown_with_the_numbers_a_citation_needs(use: Use, desk: Desk):
    assert (await use("search", query="x")).content == "No passages match."
    desk.passages = [
        Passage(path="a.txt", start_line=3, end_line=4, text="x\ny", score=1.234),
        Passage(path="b.txt", start_line=1, end_line=1, text="z", score=1),
    ]
    assert (await use("search", query="x")).content == (
        "### 1. a.txt:3-4 (score 1.23)\n3| x\n4| y\n\n### 2. b.txt:1-1 (score 1.00)\n1| z"
    )
    desk.passages, desk.notice = desk.passages[1:], "Half of it is read."
    assert (await use("search", query="x")).content == (
        "### 1. b.txt:1-1 (score 1.00)\n1| z\n\n[Half of it is read.]"
    )
