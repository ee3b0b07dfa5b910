"""A tool context over a folder of the test, whose ports write down what was asked of them.

For tests of tools, ours and those of people who write their own: `Desk(folder).use(tool, ...)`.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.passages import Passage, Passages
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.testing.sources import ManualClock
from brainpilot_rt.tools.context import Outgoing, ToolContext
from brainpilot_rt.tools.registry import Registry, ToolOutput
from brainpilot_rt.trace import graph
from brainpilot_rt.workspace.files import Workspace

Use: TypeAlias = Callable[..., Coroutine[None, None, ToolOutput]]
"""`Desk.use` with its first arguments given."""

Put: TypeAlias = Callable[[str, str | bytes], Path]
"""`Desk.put`."""


@dataclass
class Desk:
    """What the tools did and what they are told."""

    root: Path
    answer: str = "yes"
    asked: list[tuple[str, tuple[str, ...], bool]] = field(default_factory=list)
    sent: list[tuple[str, str, LetterKind | None, str | None]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    nodes: dict[str, TraceNode] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    notice: str = ""
    clock: ManualClock = field(default_factory=ManualClock)
    hidden: tuple[Path, ...] = ()

    @property
    def workspace(self) -> Workspace:
        """The work tree, hiding `hidden`."""
        return Workspace(self.root, hidden=self.hidden)

    def context(self, call_id: str = "call_1") -> ToolContext:
        """The context of one call."""
        return ToolContext(
            session=SessionId("s"),
            agent=AgentName("engineer"),
            role="engineer",
            run_id=RunId("run_1"),
            call_id=CallId(call_id),
            workspace=self.workspace,
            clock=self.clock,
            trace_rules=graph,
            send=self.send,
            ask=self.ask,
            create_agent=self.create,
            destroy_agent=self.destroy,
            save_trace=self.save,
            trace_nodes=self.trace_nodes,
            search=self.search,
        )

    async def send(self, letter: Outgoing) -> str:
        """A letter, written down; the misspelt librarian is refused."""
        if letter.to == "librarain":
            raise NotFound("no agent librarain; did you mean librarian?")
        self.sent.append((letter.to, letter.content, letter.kind, letter.task_id))
        return "accepted"

    async def ask(
        self,
        question: str,
        options: tuple[str, ...],
        free: bool,  # noqa: FBT001 - as the port has it
    ) -> str:
        """Gives `answer`."""
        self.asked.append((question, options, free))
        return self.answer

    async def create(self, name: AgentName) -> str:
        """Adds the agent."""
        self.agents.append(name)
        return f"created {name}"

    async def destroy(self, name: AgentName) -> str:
        """Removes the agent."""
        self.agents.remove(name)
        return f"destroyed {name}"

    async def save(self, op: str, node: TraceNode) -> None:
        """Keeps the node."""
        if (node.id in self.nodes) != (op == "updated"):
            raise ValueError(f"{node.id} cannot be {op}")
        self.nodes[node.id] = node

    def trace_nodes(self) -> Sequence[TraceNode]:
        """All nodes kept."""
        return list(self.nodes.values())

    async def search(self, query: str, top_k: int) -> Passages:
        """The first of `passages`."""
        self.queries.append(query)
        return Passages(self.passages[:top_k], self.notice)

    def put(self, name: str, content: str | bytes) -> Path:
        """Write a file of the work tree as someone else would."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    async def use(
        self, tools: Registry, name: str, call_id: str = "call_1", **arguments: object
    ) -> ToolOutput:
        """Call a tool as the runner would; what it raises is raised."""
        found = tools.get(name)
        if found is None:
            raise NotFound(name)
        return await found.run(self.context(call_id), found.arguments.model_validate(arguments))
