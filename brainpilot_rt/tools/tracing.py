"""The graph tools: how the trace agent edits the reasoning graph.

They are sequential, because a node without a parent follows the one made before it. Ids of nodes
derive from the call id: making a node again changes nothing. Files a node stands for are named by
logical paths of the workspace; they need not exist (yet).
"""

import json
from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from brainpilot_rt.domain.errors import Conflict, NotFound
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.domain.trace import ARTIFACTS_MAX, TraceArtifact, TraceNode
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool

_TITLE_CHARS_MAX: Final = 300
_TEXT_CHARS_MAX: Final = 20_000

_Title = Annotated[str, Field(min_length=1, max_length=_TITLE_CHARS_MAX)]
_Id = Annotated[str, Field(min_length=1, max_length=_TITLE_CHARS_MAX)]
_Word = Annotated[str, Field(min_length=1, max_length=40)]
_Text = Annotated[str, Field(max_length=_TEXT_CHARS_MAX)]


class Artifact(Arguments):
    """A file that shows it."""

    path: Annotated[str, Field(min_length=1, max_length=4_000)]
    type: _Word | None = None


_ARTIFACT: Final = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "Workspace path."},
        "type": {"type": "string", "description": "code, data, report, figure, ..."},
    },
    "required": ["path"],
    "additionalProperties": False,
}
"""Written out, because a model is shown no references."""
_Artifacts = Annotated[
    tuple[Annotated[Artifact, WithJsonSchema(_ARTIFACT)], ...],
    Field(max_length=ARTIFACTS_MAX, description="Files it made or rests on."),
]


class CreateTraceNode(Arguments):
    """Add a node to the reasoning graph.

    With parent_id it is a part of that node; without, it follows the node created last. The
    answer names the node's id; what is there already (title, type, parent) is not made again.
    """

    title: _Title
    type: Annotated[_Word, Field(description="task, decision, finding, artifact, ...")] = "task"
    status: Annotated[_Word, Field(description="pending, in_progress, completed, failed")] = (
        "pending"
    )
    description: _Text | None = None
    parent_id: _Id | None = None
    artifacts: _Artifacts = ()


class UpdateTraceNode(Arguments):
    """Change a node of the reasoning graph; what is not given stays as it is.

    Artifacts are added to those it has.
    """

    node_id: _Id
    status: _Word | None = None
    summary: _Text | None = None
    content: _Text | None = None
    title: _Title | None = None
    description: _Text | None = None
    artifacts: _Artifacts = ()


class AddTraceRelation(Arguments):
    """Say that one node depends on another, and why.

    The later node always depends on the earlier one, whichever way round they are given.
    """

    from_id: _Id
    to_id: _Id
    explanation: Annotated[str, Field(min_length=1, max_length=_TEXT_CHARS_MAX)]


class GetTraceGraph(Arguments):
    """Show the whole reasoning graph as JSON."""


async def _create(context: ToolContext, wanted: CreateTraceNode) -> ToolOutput:
    nodes = context.trace_nodes()
    node_id = f"node_{context.call_id}"
    if any(node.id == node_id for node in nodes):
        return ToolOutput(f"Node {node_id} is there already.")
    now = context.clock.now().isoformat(timespec="milliseconds")
    node = TraceNode(
        id=node_id,
        title=wanted.title,
        type=wanted.type,
        status=wanted.status,
        agent=context.agent,
        description=wanted.description,
        created_at=now,
        updated_at=now,
    )
    node = context.trace_rules.place(nodes, node, wanted.parent_id)
    if node.id != node_id:
        return ToolOutput(f"That is node {node.id} already; update_trace_node changes it.")
    node = context.trace_rules.attach(node, _checked(context, wanted.artifacts))
    await context.save_trace("created", node)
    edges = ", ".join(f"{edge.relation} {edge.id}" for edge in node.parents)
    return ToolOutput(f"Created node {node_id}" + (f" ({edges})." if edges else "."))


async def _update(context: ToolContext, wanted: UpdateTraceNode) -> ToolOutput:
    changes = wanted.model_dump(exclude={"node_id", "artifacts"}, exclude_none=True)
    found = next((node for node in context.trace_nodes() if node.id == wanted.node_id), None)
    if found is None:
        raise NotFound(f"there is no trace node {wanted.node_id!r}")
    artifacts = _checked(context, wanted.artifacts)
    if artifacts:
        changes["artifacts"] = context.trace_rules.attach(found, artifacts).artifacts
    if not changes:
        return ToolOutput("Nothing to change was given.", failed=True)
    await context.save_trace("updated", found.model_copy(update=_stamped(context, changes)))
    return ToolOutput(f"Updated {', '.join(changes)} of {found.id}.")


async def _relate(context: ToolContext, wanted: AddTraceRelation) -> ToolOutput:
    nodes = context.trace_nodes()
    try:
        node = context.trace_rules.relate(nodes, wanted.from_id, wanted.to_id, wanted.explanation)
    except Conflict as known:
        return ToolOutput(f"Nothing to add: {known.message}.")
    await context.save_trace("updated", node.model_copy(update=_stamped(context, {})))
    return ToolOutput(f"{node.id} now depends on {node.parents[-1].id}.")


async def _show(context: ToolContext, _: GetTraceGraph) -> ToolOutput:
    nodes = context.trace_nodes()
    created_at = nodes[0].created_at if nodes else ""
    graph = context.trace_rules.trace_graph(context.session, created_at, nodes)
    return ToolOutput(json.dumps(graph["nodes"], ensure_ascii=False, indent=1))


def _checked(context: ToolContext, artifacts: tuple[Artifact, ...]) -> list[TraceArtifact]:
    """The files under their logical paths; BadRequest for what is not one."""
    return [
        TraceArtifact(path=context.workspace.resolve(one.path).short, type=one.type)
        for one in artifacts
    ]


def _stamped(context: ToolContext, changes: dict[str, Any]) -> dict[str, Any]:
    return {**changes, "updated_at": context.clock.now().isoformat(timespec="milliseconds")}


def graph_tools() -> tuple[Tool, ...]:
    """The four tools of the trace agent."""
    effect = Effect.IDEMPOTENT
    return (
        tool(_create, CreateTraceNode, name="create_trace_node", effect=effect, sequential=True),
        tool(_update, UpdateTraceNode, name="update_trace_node", effect=effect, sequential=True),
        tool(_relate, AddTraceRelation, name="add_trace_relation", effect=effect, sequential=True),
        tool(_show, GetTraceGraph, name="get_trace_graph", effect=Effect.PURE),
    )
