"""The causal record: what started a run, what it looked at, what it wrote, what it cost.

A graph over a session's log, made from events only: nothing of it is stored. An edge leads from a
cause to its effect and is kept only when the cause is older, so the graph can not have a cycle; a
file that is written again is a new version of it, a new node. Costs stand on the nodes of model
calls (`turn`, `aside`), each paid call on exactly one, so a sum over any set of nodes counts
nothing twice.

This module is the graph; `causal_folds` and `thinking_folds` read events into it, `chains` asks it
questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.domain.graphs import in_circles
from brainpilot_rt.domain.ids import AgentName, RunId, TaskId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.usage import Usage

NODES_MAX: Final = 20_000
"""Of one session; beyond it the oldest are left out."""
FILES_MAX: Final = 12
"""Of one call or retrieval."""
TEXT_CHARS_MAX: Final = 1_000
LABEL_CHARS_MAX: Final = 200

Kind: TypeAlias = Literal[
    "letter",
    "run",
    "turn",
    "aside",
    "call",
    "question",
    "intent",
    "plan",
    "retrieval",
    "memory",
    "finding",
    "citation",
    "file",
    "gap",
    "step",
    "answer",
]
"""`aside`: a model call beside the conversation. `gap`: evidence or a limit that a run lacked.
`step`: a node of the Graph-of-Trace."""


@dataclass(frozen=True, slots=True)
class Because:
    """An edge, kept by its effect: the id of the cause, and what it did to it."""

    cause: str
    relation: str


@dataclass(slots=True, kw_only=True)
class Cause:
    """One thing that happened or came to be."""

    id: str
    kind: Kind
    label: str
    """One line."""
    seq: int
    """Of the event it was made of."""
    at_ms: int
    number: int = 0
    """Counts the nodes of a session: every edge leads to a larger number."""
    agent: AgentName | None = None
    run_id: RunId | None = None
    text: str = ""
    status: str = ""
    usage: Usage | None = None
    cost_usd: Decimal | None = None
    """With `usage`: None is a price nobody knows."""
    model: ModelRef | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    """More, by kind; JSON."""
    because: list[Because] = field(default_factory=list[Because])


@dataclass(frozen=True, slots=True)
class Wait:
    """An open task: `waiting` can not finish before `waited_for` delivers."""

    task_id: TaskId
    waiting: AgentName
    waited_for: AgentName
    title: str


@dataclass(slots=True)
class Thread:
    """A run while it is folded."""

    last: str
    """Its newest turn; before the first, the run itself."""
    feeds: list[Because] = field(default_factory=list[Because])
    """What its next turn will read."""


def cut(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """The text, shortened with an ellipsis."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def file_path(path: str) -> str:
    """A workspace path as citations write it."""
    return path.strip().removeprefix("/workspace/").removeprefix("./")


def node_of(at: Recorded, identity: str, kind: Kind, label: str, **more: Any) -> Cause:
    """A node made of an event, with the agent and the run that it names."""
    own = {"agent": getattr(at.event, "agent", None), "run_id": getattr(at.event, "run_id", None)}
    fields: dict[str, Any] = own | more
    return Cause(id=identity, kind=kind, label=label, seq=at.seq, at_ms=at.at_ms, **fields)


@dataclass(slots=True)
class Causes:
    """The graph of one session, and what the fold has to know to go on."""

    nodes: dict[str, Cause] = field(default_factory=dict[str, Cause])
    """By id, in the order of `number`."""
    dropped: int = 0
    """Oldest nodes left out (`NODES_MAX`)."""
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Other names of nodes: message ids, paths, memory items; to the newest they mean."""
    threads: dict[RunId, Thread] = field(default_factory=dict[RunId, Thread])
    runs_of: dict[AgentName, RunId] = field(default_factory=dict[AgentName, RunId])
    """The newest run of each agent."""
    waits: dict[TaskId, Wait] = field(default_factory=dict[TaskId, Wait])
    latest_answer: str | None = None
    count: int = 0
    nodes_max: int = NODES_MAX

    def add(self, node: Cause, *because: Because) -> Cause:
        """Take a node in, with its causes; a second one of the same id gets an id of its own."""
        self.count += 1
        node.number = self.count
        if node.id in self.nodes:
            node.id = f"{node.id}~{self.count}"
        node.label = cut(" ".join(node.label.split()), LABEL_CHARS_MAX)
        node.text = cut(node.text)
        self.nodes[node.id] = node
        for edge in because:
            self.link(node.id, edge)
        while len(self.nodes) > self.nodes_max:
            del self.nodes[next(iter(self.nodes))]
            self.dropped += 1
        return node

    def link(self, effect: str, edge: Because) -> None:
        """Say why; what would turn time round, or is known, is left out."""
        cause, node = self.nodes.get(edge.cause), self.nodes.get(effect)
        if cause and node and cause.number < node.number and edge not in node.because:
            node.because.append(edge)

    def feed(self, run_id: RunId, cause: str, relation: str) -> None:
        """The next turn of the run reads this."""
        thread = self.threads.get(run_id)
        if thread is not None:
            thread.feeds.append(Because(cause, relation))

    def from_run(self, run_id: RunId | None, relation: str) -> tuple[Because, ...]:
        """The edge from where a run stands."""
        thread = self.threads.get(run_id) if run_id is not None else None
        return (Because(thread.last, relation),) if thread else ()

    def file(self, path: str, like: Cause | None = None, *because: Because) -> Cause:
        """The newest version of a file; with `because` a new version."""
        name = file_path(path)
        known = self.nodes.get(self.names.get(f"file:{name}", ""))
        if known is not None and not because:
            return known
        version = known.facts["version"] + 1 if known else 1
        made = Cause(
            id=f"file:{name}" + (f"@{version}" if version > 1 else ""),
            kind="file",
            label=name,
            seq=like.seq if like else 0,
            at_ms=like.at_ms if like else 0,
            agent=like.agent if like and because else None,
            facts={"path": name, "version": version, "written": bool(because)},
        )
        self.names[f"file:{name}"] = made.id
        return self.add(made, *because)

    def cite(self, one: Citation, like: Cause, *because: Because) -> Cause:
        """The node of a citation; `because` says who cited it first."""
        known = self.nodes.get(self.names.get(_citation_name(one), ""))
        if known is not None:
            return known
        source = self.file(one.path, like)
        made = Cause(
            id=f"cite:{one.path}:{one.start_line}-{one.end_line}",
            kind="citation",
            label=f"{one.path}:{one.start_line}-{one.end_line}",
            seq=like.seq,
            at_ms=like.at_ms,
            agent=like.agent,
            text=one.quote,
            facts=one.model_dump(),
        )
        self.add(made, Because(source.id, "quoted"), *because)
        self.names[_citation_name(one)] = made.id
        return made

    @property
    def circle(self) -> list[AgentName]:
        """The agents that wait for each other in a circle."""
        edges: dict[AgentName, list[AgentName]] = {}
        for one in self.waits.values():
            edges.setdefault(one.waiting, []).append(one.waited_for)
        return in_circles(edges)

    def since(self, number: int, limit: int) -> Sequence[Cause]:
        """The first `limit` nodes after this number."""
        found = (one for one in self.nodes.values() if one.number > number)
        return [one for one, _ in zip(found, range(limit), strict=False)]


def _citation_name(one: Citation) -> str:
    return f"cite:{one.path}:{one.start_line}-{one.end_line}:{' '.join(one.quote.split())}"
