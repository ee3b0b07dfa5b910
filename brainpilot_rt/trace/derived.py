"""The reasoning graph of a session in which no agent recorded a step: made from its causes. Pure.

What was asked, what was delegated, what was found and what was answered are its nodes; one follows
from the nearest of the others that led to it, whatever lies between. Nothing of it is stored, and a
step that the trace agent records takes its place.
"""

from collections.abc import Iterable
from typing import Any, Final

from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.trace import TraceArtifact, TraceNode, TraceParent
from brainpilot_rt.trace.causes import Cause, Causes, cut
from brainpilot_rt.trace.graph import NODES_MAX

DERIVED: Final = "derived"
"""In the metadata of these nodes."""
_PARENTS_MAX: Final = 4
_TITLE_CHARS_MAX: Final = 120
_SUMMARY_CHARS_MAX: Final = 400
_ASKING: Final = frozenset({LetterKind.USER_MESSAGE, LetterKind.TASK_DELEGATE})


def steps_of(graph: Causes) -> list[TraceNode]:
    """The latest steps that can be told from the causes, oldest first, at most `NODES_MAX`."""
    ends = _ends(graph.nodes.values())
    near: dict[str, tuple[str, ...]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    steps: list[TraceNode] = []
    for node in graph.nodes.values():
        led = {one for edge in node.because for one in near.get(edge.cause, ())}
        latest = sorted(led, key=lambda one: -graph.nodes[one].number)[:_PARENTS_MAX]
        if not _is_step(node):
            near[node.id] = tuple(latest)
            continue
        over = {older for one in latest for older in parents[one]}  # they led to it by another
        parents[node.id] = tuple(one for one in latest if one not in over)
        near[node.id] = (node.id,)
        steps.append(_step(node, parents[node.id], ends.get(node.id)))
    return steps[-NODES_MAX:]


def _is_step(node: Cause) -> bool:
    if node.kind == "letter":
        return node.facts["letter_kind"] in _ASKING
    return node.kind in ("finding", "answer")


def _ends(nodes: Iterable[Cause]) -> dict[str, Cause]:
    """What ended each question and each delegation: the answer, the result."""
    questions: list[str] = []
    tasks: dict[Any, str] = {}
    ends: dict[str, Cause] = {}
    for node in nodes:
        if node.kind == "answer":
            ends |= dict.fromkeys(questions, node)
            questions = []
        if node.kind != "letter":
            continue
        task = node.facts["task_id"]
        match node.facts["letter_kind"]:
            case LetterKind.USER_MESSAGE:
                questions.append(node.id)
            case LetterKind.TASK_DELEGATE:
                tasks[task] = node.id
            case _ if task in tasks:
                ends[tasks[task]] = node
            case _:
                pass
    return ends


def _step(node: Cause, parents: tuple[str, ...], end: Cause | None) -> TraceNode:
    kind, title, status = node.kind, _first_line(node.text or node.label), node.status
    agent = node.agent
    if node.kind == "letter":
        kind, agent = "task", AgentName(node.facts["to"])
        status = "in_progress" if end is None else _outcome(end)
    elif node.kind == "finding":
        title = _first_line(node.label)
        status = "completed" if node.status == "verified" else "pending"
    return TraceNode(
        id=node.id,
        title=title,
        type=kind,
        status=status,
        agent=agent,
        summary=cut(end.text, _SUMMARY_CHARS_MAX) if end else None,
        content=node.text or None,
        parents=tuple(
            TraceParent(id=one, relation="depends_on" if at else "follows")
            for at, one in enumerate(parents)
        ),
        artifacts=_artifacts(node),
        created_at=iso(node.at_ms),
        updated_at=iso(end.at_ms if end else node.at_ms),
        metadata={DERIVED: True},
    )


def _outcome(end: Cause) -> str:
    """The daemon writes a result in somebody's place when there is none."""
    if end.kind == "answer":
        return end.status
    return "failed" if end.facts["origin"] == "daemon" else "completed"


def _artifacts(node: Cause) -> tuple[TraceArtifact, ...]:
    """The file that a finding cites."""
    cited = [one.cause for one in node.because if one.relation == "cited"]
    paths = dict.fromkeys(
        one.removeprefix("cite:").rpartition(":")[0] for one in cited if node.kind == "finding"
    )
    return tuple(TraceArtifact(path=path) for path in paths)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines() or [""]
    return cut(" ".join(lines[0].split()), _TITLE_CHARS_MAX)
