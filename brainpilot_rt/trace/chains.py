"""Questions to the causal graph: what led to this, what did it cost, what is it in short.

`chain` answers "why": everything that led to one thing, each node once, so its sums count nothing
twice. `groups` draws what a run did together where that can not make a cycle: a new group begins
wherever a run takes in something younger than the group itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import inf
from typing import Any, Final

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.graphs import reach
from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.usage import NO_USAGE, Usage, add_cost
from brainpilot_rt.trace.causes import Cause, Causes, cut, file_path

LATEST: Final = "latest"
_OF_A_RUN: Final = frozenset({"run", "turn", "aside", "call", "intent", "plan", "gap", "retrieval"})


@dataclass(slots=True)
class Spent:
    """Paid model calls and their sums. `cost_usd` None: the price of one is not known."""

    calls: int = 0
    usage: Usage = NO_USAGE
    cost_usd: Decimal | None = field(default_factory=Decimal)

    def add(self, node: Cause) -> None:
        """Count a model call; other nodes cost nothing."""
        if node.usage is not None:
            self.calls += 1
            self.usage = self.usage.plus(node.usage)
            self.cost_usd = add_cost(self.cost_usd, node.cost_usd)

    def json(self) -> dict[str, Any]:
        """As JSON; money is a string of US dollars."""
        cost = None if self.cost_usd is None else str(self.cost_usd)
        return {"model_calls": self.calls, "usage": _usage_json(self.usage), "cost_usd": cost}


def spent_by(nodes: Iterable[Cause]) -> dict[str, Any]:
    """Sums of some nodes: all together, by agent and by model."""
    total = Spent()
    agents: dict[str, Spent] = {}
    models: dict[str, Spent] = {}
    for node in nodes:
        if node.usage is not None:
            model = f"{node.model.provider}/{node.model.model}" if node.model else "unknown"
            for spent in (
                total,
                agents.setdefault(str(node.agent), Spent()),
                models.setdefault(model, Spent()),
            ):
                spent.add(node)
    return {
        "total": total.json(),
        "by_agent": {name: spent.json() for name, spent in agents.items()},
        "by_model": {name: spent.json() for name, spent in models.items()},
    }


def find(graph: Causes, wanted: str) -> Cause:
    """The node somebody means: its id, `latest` (answer), a message id, a path, or `path:lines`.

    Raises `NotFound` saying what can be named.
    """
    name = wanted.strip()
    if name == LATEST and graph.latest_answer is not None:
        name = graph.latest_answer
    path = file_path(name)
    tries = (name, graph.names.get(name, ""), graph.names.get(f"file:{path}", ""), f"cite:{path}")
    for one in tries:
        if one in graph.nodes:
            return graph.nodes[one]
    if wanted == LATEST:
        raise NotFound("nothing has been answered in this session yet", code="no_answer")
    raise NotFound(
        f"nothing here is called {cut(wanted, 120)!r}; name an answer, a letter, a run, a call, "
        "a file or a citation (path:first-last)",
        code="unknown_cause",
    )


def chain(graph: Causes, of: Cause) -> list[Cause]:
    """What led to a node, oldest first, the node itself last."""
    edges = {node.id: [one.cause for one in node.because] for node in graph.nodes.values()}
    led = reach([of.id], edges)
    return sorted((graph.nodes[one] for one in led if one in graph.nodes), key=lambda n: n.number)


def groups(nodes: Sequence[Cause]) -> list[list[Cause]]:
    """The nodes with what each run did drawn together, in as few groups as time allows.

    Acyclic again: whatever enters a group from outside is older than all of it, or has no causes
    itself (a file that was there). Groups come in an order in which every edge leads forwards.
    """
    at = {node.id: node for node in nodes}
    open_ones: dict[str, list[Cause]] = {}
    made: list[list[Cause]] = []
    for node in nodes:
        if not of_a_run(node):
            made.append([node])
            continue
        known = open_ones.get(str(node.run_id))
        sources = [at[one.cause] for one in node.because if one.cause in at]
        if known is None or any(_enters(one, node, known[0].number) for one in sources):
            known = open_ones[str(node.run_id)] = []
            made.append(known)
        known.append(node)
    return _in_order(made)


def of_a_run(node: Cause) -> bool:
    """Whether the node is a part of what a run did, and is drawn together with it."""
    return node.run_id is not None and node.kind in _OF_A_RUN


def _enters(source: Cause, node: Cause, since: int) -> bool:
    if of_a_run(source) and source.run_id == node.run_id:
        return False
    return source.number > since and not _is_root(source)


def _is_root(node: Cause) -> bool:
    return not node.because and not of_a_run(node)


def _in_order(made: list[list[Cause]]) -> list[list[Cause]]:
    """What has no causes stands before the first group that it is a cause of."""
    place: dict[str, float] = {}
    for part in made:
        for edge in (one for node in part for one in node.because):
            place[edge.cause] = min(part[0].number - 0.5, place.get(edge.cause, inf))

    def key(part: list[Cause]) -> float:
        own = part[0].number
        return min(own, place.get(part[0].id, inf)) if _is_root(part[0]) else own

    return sorted(made, key=key)


# --- JSON ------------------------------------------------------------------------------------


def whole_json(graph: Causes, session: str, after: int, limit: int) -> dict[str, Any]:
    """A page of the graph: nodes after a number and the edges that lead to them."""
    page = graph.since(after, limit)
    more = bool(page) and page[-1].number < graph.count
    return {
        "session": session,
        **_graph_json(graph, page),
        "next": page[-1].number if more else None,
        "nodes_total": len(graph.nodes),
        "left_out": graph.dropped,
        "spent": spent_by(graph.nodes.values()),
        "waits": [
            {
                "waiting": one.waiting,
                "waited_for": one.waited_for,
                "task_id": one.task_id,
                "title": one.title,
            }
            for one in graph.waits.values()
        ],
        "circle": graph.circle,
    }


def chain_json(graph: Causes, session: str, of: Cause) -> dict[str, Any]:
    """Why: a node, everything that led to it, and what that cost."""
    led = chain(graph, of)
    return {
        "session": session,
        "of": of.id,
        **_graph_json(graph, led),
        "left_out": graph.dropped,
        "spent": spent_by(led),
        "used_by": [
            {"id": node.id, "kind": node.kind, "label": node.label, "relation": one.relation}
            for node in graph.nodes.values()
            for one in node.because
            if one.cause == of.id
        ],
    }


def _graph_json(graph: Causes, nodes: Sequence[Cause]) -> dict[str, Any]:
    return {
        "nodes": [_node_json(node) for node in nodes],
        "edges": [
            {"from": one.cause, "to": node.id, "relation": one.relation}
            for node in nodes
            for one in node.because
            if one.cause in graph.nodes
        ],
    }


def _node_json(node: Cause) -> dict[str, Any]:
    paid: dict[str, Any] = {}
    if node.usage is not None:
        paid = {
            "usage": _usage_json(node.usage),
            "cost_usd": None if node.cost_usd is None else str(node.cost_usd),
            "model": f"{node.model.provider}/{node.model.model}" if node.model else None,
        }
    return {
        "id": node.id,
        "number": node.number,
        "kind": node.kind,
        "label": node.label,
        "agent": node.agent,
        "run_id": node.run_id,
        "seq": node.seq,
        "at": iso(node.at_ms),
        "status": node.status,
        "text": node.text,
        **paid,
        **node.facts,
    }


def _usage_json(usage: Usage) -> dict[str, int]:
    return {
        "input": usage.input,
        "output": usage.output,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "total": usage.total,
    }
