"""What can be reached in a directed graph."""

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.graphs import in_circles, reach

EDGES = st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=4), max_size=7)


def test_what_is_reached_includes_the_starts_and_ends_where_edges_end():
    edges = {"a": ["b"], "b": ["c", "a"], "x": ["a"]}
    assert reach(["a"], edges) == {"a", "b", "c"}
    assert in_circles(edges) == ["a", "b"]


@given(EDGES)
def test_a_node_is_in_a_circle_when_an_edge_leads_to_where_it_is_reached_from(
    edges: dict[int, list[int]],
):
    circles = set(in_circles(edges))
    for node, nexts in edges.items():
        by_hand = any(node in reach([following], edges) for following in nexts)
        assert (node in circles) == by_hand
