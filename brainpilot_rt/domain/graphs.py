"""What can be reached in a directed graph: who waits for whom, what rests on what.

A graph is a mapping from a node to the nodes its edges lead to; nodes without edges may be missing.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def reach(starts: Iterable[Node], edges: Mapping[Node, Iterable[Node]]) -> set[Node]:
    """The starts and everything that edges lead to from them. Linear; cycles do no harm."""
    seen = set(starts)
    open_nodes = list(seen)
    while open_nodes:
        for following in edges.get(open_nodes.pop(), ()):
            if following not in seen:
                seen.add(following)
                open_nodes.append(following)
    return seen


def in_circles(edges: Mapping[Node, Iterable[Node]]) -> list[Node]:
    """The nodes that lie on a cycle, in the order of the mapping."""
    return [node for node, following in edges.items() if node in reach(following, edges)]
