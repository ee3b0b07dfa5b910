"""The reasoning graph."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.errors import BadRequest, Conflict, NotFound, TooLarge
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.trace import ARTIFACTS_MAX, TraceArtifact, TraceNode, TraceParent
from brainpilot_rt.trace.graph import (
    EDGES_MAX,
    NODES_MAX,
    attach,
    fold,
    node_json,
    place,
    relate,
    trace_graph,
)

SESSION = SessionId("s")


def node(name: str) -> TraceNode:
    return TraceNode(id=name, title=name.upper(), created_at="t0", updated_at="t1")


def edges(one: TraceNode) -> list[tuple[str, str]]:
    return [(edge.id, edge.relation) for edge in one.parents]


def chain(*names: str) -> list[TraceNode]:
    nodes: list[TraceNode] = []
    for name in names:
        nodes.append(place(nodes, node(name), None))
    return nodes


def test_a_node_follows_the_last_one_or_is_part_of_its_parent():
    nodes = chain("a", "b")
    assert [edges(one) for one in nodes] == [[], [("a", "follows")]]
    assert edges(place(nodes, node("c"), "a")) == [("a", "parent")]
    with pytest.raises(NotFound):
        place(nodes, node("c"), "x")


def test_the_later_node_depends_on_the_earlier_one_whichever_way_it_is_said():
    nodes = chain("a", "b", "c")
    for pair in (("a", "c"), ("c", "a")):
        related = relate(nodes, *pair, "because")
        assert related.id == "c"
        assert edges(related) == [("b", "follows"), ("a", "depends_on")]


def test_a_follows_edge_does_not_swallow_a_dependency_but_a_repeat_is_told():
    nodes = chain("a", "b")
    related = relate(nodes, "b", "a", "because")
    assert edges(related) == [("a", "follows"), ("a", "depends_on")]
    with pytest.raises(Conflict):
        relate([nodes[0], related], "a", "b", "again")
    shown = trace_graph(SESSION, "t", [nodes[0], related])["nodes"]
    assert shown[0]["childIds"] == ["b"]
    assert shown[1]["parentIds"] == ["a"]


def test_a_node_cannot_depend_on_itself_or_on_nothing():
    nodes = chain("a", "b")
    with pytest.raises(BadRequest):
        relate(nodes, "a", "a", "")
    with pytest.raises(NotFound):
        relate(nodes, "a", "x", "")


def test_the_json_has_the_v1_shape():
    full = node("a").model_copy(
        update={
            "agent": AgentName("writer"),
            "summary": "s",
            "artifacts": (TraceArtifact(path="x.md"),),
            "metadata": {"k": 1},
        }
    )
    assert trace_graph(SESSION, "2026", [full]) == {
        "meta": {"sessionId": "s", "createdAt": "2026"},
        "nodes": [
            {
                "id": "a",
                "title": "A",
                "type": "task",
                "status": "pending",
                "agent": "writer",
                "summary": "s",
                "metadata": {"k": 1},
                "parents": [],
                "artifacts": [{"path": "x.md"}],
                "parentIds": [],
                "childIds": [],
                "createdAt": "t0",
                "updatedAt": "t1",
                "toolCalls": [],
            }
        ],
    }


def test_the_fold_keeps_the_newest_version_in_the_order_of_creation():
    changed = node("a").model_copy(update={"status": "completed"})
    assert [(one.id, one.status) for one in fold([node("a"), node("b"), changed])] == [
        ("a", "completed"),
        ("b", "pending"),
    ]


def test_the_same_title_type_and_parent_by_the_same_agent_is_the_same_node():
    nodes = chain("a", "b")
    again = node("c").model_copy(update={"title": " a "})
    assert place(nodes, again, None) is nodes[0]
    assert place(nodes, again, "b").id == "c"
    assert place(nodes, again.model_copy(update={"type": "finding"}), None).id == "c"
    assert place(nodes, again.model_copy(update={"agent": AgentName("x")}), None).id == "c"


def test_a_full_graph_a_full_node_and_too_many_files_are_refused_by_name():
    nodes = [node(f"n{number}") for number in range(NODES_MAX)]
    with pytest.raises(TooLarge, match=f"{NODES_MAX:,} nodes"):
        place(nodes, node("x"), None)
    edges = tuple(TraceParent(id=f"n{one}", relation="depends_on") for one in range(EDGES_MAX))
    full = node("z").model_copy(update={"parents": edges})
    with pytest.raises(TooLarge, match=f"{EDGES_MAX} edges"):
        relate([*nodes[:70], full], "n69", "z", "why")
    files = [TraceArtifact(path=f"{number}") for number in range(ARTIFACTS_MAX)]
    filled = attach(node("a"), files)
    assert attach(filled, files) == filled
    with pytest.raises(TooLarge, match=f"{ARTIFACTS_MAX} artifacts"):
        attach(filled, [TraceArtifact(path="more")])


def test_one_node_is_shown_as_the_graph_shows_it():
    nodes = chain("a", "b")
    assert node_json(nodes, "a") == trace_graph(SESSION, "t", nodes)["nodes"][0]
    with pytest.raises(NotFound):
        node_json(nodes, "x")


def _acyclic(nodes: Sequence[dict[str, list[str]]]) -> bool:
    done: set[str] = set()
    for one in nodes:
        if not set(one["parentIds"]) <= done:
            return False
        done.add(str(one["id"]))
    return True


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_no_log_draws_a_cycle(pairs: list[tuple[int, int]]):
    nodes = {number: node(str(number)) for number in range(5)}
    for child, parent in pairs:
        if child in nodes:
            edge = TraceParent(id=str(parent), relation="depends_on")
            old = nodes[child]
            nodes[child] = old.model_copy(update={"parents": (*old.parents, edge)})
    assert _acyclic(trace_graph(SESSION, "t", list(nodes.values()))["nodes"])
