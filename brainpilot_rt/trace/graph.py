"""The reasoning graph: how its nodes are chained, and the JSON that clients draw.

Edges live on the child and always point to a node created earlier, so the graph has no cycle by
construction: `relate` turns an edge round when it is given backwards, and an edge that contradicts
the order of creation is left out of the picture. One edge is kept for each (parent, relation): a
`follows` edge never swallows a later `depends_on`. The same title, type and parent by the same
agent is the same node. Every save is a version of its node; the log keeps them all.

The shape is BrainPilot's V1 (wire-brainpilot.md 4.4). All functions are pure; `nodes` are all nodes
in the order of their creation.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from brainpilot_rt.domain.errors import BadRequest, Conflict, NotFound, TooLarge
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.domain.trace import ARTIFACTS_MAX, TraceArtifact, TraceNode, TraceParent

NODES_MAX: Final = 2_000
"""Of one session."""
EDGES_MAX: Final = 64
"""Of one node to earlier ones."""


def fold(saved: Iterable[TraceNode]) -> list[TraceNode]:
    """The nodes as they are now from every saved version, in the order of their creation."""
    nodes: dict[str, TraceNode] = {}
    for node in saved:
        nodes[node.id] = node
    return list(nodes.values())


def place(nodes: Sequence[TraceNode], node: TraceNode, parent_id: str | None) -> TraceNode:
    """The new node with its first edge: to its parent, else it follows the last one created.

    The node that is there already, when this one would only repeat it.
    """
    parent = None if parent_id is None else nodes[_position(nodes, parent_id)]
    same = _identity(node, parent_id)
    for known in nodes:
        if _identity(known, _parent_of(known)) == same:
            return known
    if len(nodes) >= NODES_MAX:
        raise TooLarge(f"the graph has {NODES_MAX:,} nodes, the most of a session; update them")
    if parent is not None:
        return _with(node, TraceParent(id=parent.id, relation="parent"))
    if nodes:
        return _with(node, TraceParent(id=nodes[-1].id, relation="follows"))
    return node


def relate(nodes: Sequence[TraceNode], from_id: str, to_id: str, explanation: str) -> TraceNode:
    """The later of the two nodes, with an edge saying that it depends on the earlier one."""
    if from_id == to_id:
        raise BadRequest("a node cannot depend on itself")
    earlier, later = sorted((_position(nodes, from_id), _position(nodes, to_id)))
    child, parent = nodes[later], nodes[earlier]
    edge = TraceParent(id=parent.id, relation="depends_on", explanation=explanation)
    if (edge.id, edge.relation) in {(one.id, one.relation) for one in child.parents}:
        raise Conflict(f"{child.id} already depends on {parent.id}")
    if len(child.parents) >= EDGES_MAX:
        raise TooLarge(f"{child.id} has {EDGES_MAX} edges, the most of a node")
    return _with(child, edge)


def attach(node: TraceNode, artifacts: Sequence[TraceArtifact]) -> TraceNode:
    """The node with these files too; a path it has already takes the new type."""
    kept = {one.path: one for one in (*node.artifacts, *artifacts)}
    if len(kept) > ARTIFACTS_MAX:
        raise TooLarge(f"a node has at most {ARTIFACTS_MAX} artifacts")
    return node.model_copy(update={"artifacts": tuple(kept.values())})


def edges_of(nodes: Sequence[TraceNode]) -> dict[str, list[TraceParent]]:
    """The edges of every node as they are drawn: to earlier nodes, each relation once."""
    order = {node.id: position for position, node in enumerate(nodes)}
    return {node.id: _edges(node, order) for node in nodes}


def node_json(nodes: Sequence[TraceNode], node_id: str) -> dict[str, Any]:
    """One node in the shape of the graph."""
    node, parents = nodes[_position(nodes, node_id)], edges_of(nodes)
    children = [one for one, edges in parents.items() if node_id in {edge.id for edge in edges}]
    return _node_json(node, parents[node_id], children)


def trace_graph(session: SessionId, created_at: str, nodes: Sequence[TraceNode]) -> dict[str, Any]:
    """The graph as JSON. `created_at`: when the session began, ISO 8601."""
    parents = edges_of(nodes)
    children: dict[str, list[str]] = {node.id: [] for node in nodes}
    for child_id, edges in parents.items():
        for parent_id in dict.fromkeys(edge.id for edge in edges):
            children[parent_id].append(child_id)
    return {
        "meta": {"sessionId": session, "createdAt": created_at},
        "nodes": [_node_json(node, parents[node.id], children[node.id]) for node in nodes],
    }


def _parent_of(node: TraceNode) -> str | None:
    return next((edge.id for edge in node.parents if edge.relation == "parent"), None)


def _identity(node: TraceNode, parent_id: str | None) -> tuple[object, ...]:
    return (" ".join(node.title.split()).casefold(), node.type, node.agent, parent_id)


def _edges(node: TraceNode, order: dict[str, int]) -> list[TraceParent]:
    kept: dict[tuple[str, str], TraceParent] = {}
    for edge in node.parents:
        if order.get(edge.id, len(order)) < order[node.id]:
            kept.setdefault((edge.id, edge.relation), edge)
    return list(kept.values())


def _node_json(node: TraceNode, edges: list[TraceParent], children: list[str]) -> dict[str, Any]:
    optional = {
        "agent": node.agent,
        "description": node.description,
        "summary": node.summary,
        "content": node.content,
        "metadata": node.metadata or None,
    }
    return {
        "id": node.id,
        "title": node.title,
        "type": node.type,
        "status": node.status,
        **{key: value for key, value in optional.items() if value is not None},
        "parents": [edge.model_dump(exclude_none=True) for edge in edges],
        "artifacts": [artifact.model_dump(exclude_none=True) for artifact in node.artifacts],
        "parentIds": list(dict.fromkeys(edge.id for edge in edges)),
        "childIds": children,
        "createdAt": node.created_at,
        "updatedAt": node.updated_at,
        "toolCalls": [],
    }


def _position(nodes: Sequence[TraceNode], node_id: str) -> int:
    for position, node in enumerate(nodes):
        if node.id == node_id:
            return position
    raise NotFound(f"there is no trace node {node_id!r}; get_trace_graph shows their ids")


def _with(node: TraceNode, edge: TraceParent) -> TraceNode:
    return node.model_copy(update={"parents": (*node.parents, edge)})
