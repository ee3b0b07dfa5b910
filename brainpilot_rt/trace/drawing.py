"""What a picture shows, before anybody lays it out: boxes and arrows; and its two textual forms.

Boxes come in an order in which every arrow leads forwards.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.trace.causes import Cause, Causes
from brainpilot_rt.trace.chains import Spent, groups, of_a_run
from brainpilot_rt.trace.graph import edges_of

NODES_MAX: Final = 1_500
"""Of one drawing: the newest."""
FULL_MAX: Final = 60
"""Nodes beyond which the causal view shows runs instead of their turns, unless told otherwise."""
_RELATIONS: Final = {"follows": "", "parent": "part of", "depends_on": "depends on"}
_DOT_KINDS: Final = {"letter": "note", "file": "folder", "answer": "doubleoctagon"}
_PLAIN: Final = re.compile(r"[^0-9A-Za-z]")
_TOOLS_SHOWN: Final = 3
_USUAL: Final = frozenset({"completed", "taken up", "running", "queued"})
_SILENT: Final = frozenset({"asked", "called", "continued", "returned"})
"""Relations that go without saying."""


@dataclass(frozen=True, slots=True)
class Box:
    """`title` is its bold first line, `lines` the others; `hint` shows when one points at it."""

    id: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a cause to its effect."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """`notes` stand under the picture."""

    name: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[str, ...] = ()


def of_causes(graph: Causes, nodes: Sequence[Cause], name: str, *, full: bool | None) -> Drawing:
    """The causal view of some nodes. `full` None: turn by turn only while there are few."""
    total, nodes = len(nodes), nodes[-NODES_MAX:]
    alone = len(nodes) <= FULL_MAX if full is None else full
    parts = [[node] for node in nodes] if alone else groups(nodes)
    notes = [
        f"{one.waiting} waits for {one.waited_for}: {one.title}" for one in graph.waits.values()
    ]
    if graph.circle:
        notes.append(f"in a circle: {', '.join(graph.circle)}")
    if left_out := graph.dropped + total - len(nodes):
        notes.append(f"the oldest {left_out:,} things are left out")
    return Drawing(
        name,
        tuple(_box(part, alone=alone) for part in parts),
        _arrows(parts),
        tuple(notes),
    )


def _arrows(parts: Sequence[Sequence[Cause]]) -> tuple[Arrow, ...]:
    """One between two boxes. Letters repeat citations they were told: the first one is drawn."""
    into = {node.id: part[0].id for part in parts for node in part}
    arrows: dict[tuple[str, str], str] = {}
    told: set[str] = set()
    for node in (node for part in parts for node in part):
        for one in node.because:
            source, target = into.get(one.cause), into[node.id]
            repeated = node.kind == "letter" and one.relation == "cited" and one.cause in told
            if source is None or source == target or repeated:
                continue
            if node.kind == "letter":
                told.add(one.cause)
            said = "" if one.relation in _SILENT else one.relation
            arrows[source, target] = arrows.get((source, target)) or said
    return tuple(Arrow(*ends, label) for ends, label in arrows.items())


def _box(part: list[Cause], *, alone: bool) -> Box:
    first = part[0]
    spent = Spent()
    for node in part:
        spent.add(node)
    paid = ""
    if spent.calls:
        cost = "cost unknown" if spent.cost_usd is None else f"${spent.cost_usd:.4f}"
        paid = f"{spent.usage.total:,} tokens, {cost}"
    if alone or not of_a_run(first):
        title, *lines = _said(first)
        hint = "\n".join(filter(None, (first.label, first.status, first.text)))
        return Box(first.id, first.kind, title, tuple(filter(None, (*lines, paid))), hint)
    tools = Counter(str(node.facts["tool"]) for node in part if node.kind == "call")
    shown = ", ".join(
        name + (f" x{count}" if count > 1 else "")
        for name, count in tools.most_common(_TOOLS_SHOWN)
    )
    turns = sum(node.kind == "turn" for node in part)
    doing = f"{turns} turn{'' if turns == 1 else 's'}" + (f": {shown}" if shown else "")
    hint = "\n".join(node.label for node in part)
    return Box(first.id, "run", str(first.agent), tuple(filter(None, (doing, paid))), hint)


def _said(node: Cause) -> tuple[str, ...]:
    """Title and lines of one node; of a status only what is worth a line."""
    status = "" if node.status in _USUAL else node.status
    match node.kind:
        case "letter":
            return f"{node.facts['from']} to {node.facts['to']}", node.text, status
        case "run":
            return f"run of {node.agent}", status
        case "turn":
            return node.label, node.text
        case "call":
            return f"{node.agent}: {node.facts['tool']}", node.facts["arguments"], status
        case "file" if node.facts["version"] > 1:
            return f"file, version {node.facts['version']}", node.label
        case _:
            return node.kind, node.label, node.status


def of_steps(nodes: Sequence[TraceNode], name: str) -> Drawing:
    """The reasoning graph."""
    edges = edges_of(nodes)
    return Drawing(
        name,
        tuple(
            Box(
                node.id,
                node.type,
                node.title,
                tuple(filter(None, (f"{node.type}, {node.status}", *_files(node)))),
                "\n".join(filter(None, (node.title, node.description, node.summary))),
            )
            for node in nodes
        ),
        tuple(
            Arrow(edge.id, node.id, _RELATIONS[edge.relation])
            for node in nodes
            for edge in edges[node.id]
        ),
    )


def _files(node: TraceNode) -> list[str]:
    return [artifact.path for artifact in node.artifacts[:2]]


# --- textual forms ---------------------------------------------------------------------------


def dot(drawing: Drawing) -> str:
    """For Graphviz."""
    names = _names(drawing)
    lines = ["digraph {", "  rankdir=TB; node [shape=box, fontname=sans-serif];"]
    for box in drawing.boxes:
        label = "\\n".join(_quoted(one) for one in (box.title, *box.lines))
        shape = _DOT_KINDS.get(box.kind, "box")
        lines.append(f'  {names[box.id]} [label="{label}", shape={shape}];')
    for arrow in drawing.arrows:
        label = f' [label="{_quoted(arrow.label)}"]' if arrow.label else ""
        lines.append(f"  {names[arrow.source]} -> {names[arrow.target]}{label};")
    return "\n".join([*lines, "}", ""])


def mermaid(drawing: Drawing) -> str:
    """For Mermaid, which Markdown viewers draw."""
    names = _names(drawing)
    lines = ["flowchart TD"]
    for box in drawing.boxes:
        label = "<br/>".join(_entity(one) for one in (box.title, *box.lines))
        lines.append(f'  {names[box.id]}["{label}"]')
    for arrow in drawing.arrows:
        label = f"|{_PLAIN.sub(' ', arrow.label)}|" if arrow.label else ""
        lines.append(f"  {names[arrow.source]} -->{label} {names[arrow.target]}")
    return "\n".join([*lines, ""])


def _names(drawing: Drawing) -> dict[str, str]:
    return {box.id: f"n{number}" for number, box in enumerate(drawing.boxes, 1)}


def _quoted(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')


def _entity(text: str) -> str:
    """Every character that means something to Mermaid, HTML or Markdown as a numbered entity."""
    return "".join(
        one if one.isalnum() or one in " .,:/-" else f"#{ord(one)};"
        for one in " ".join(text.split())
    )
