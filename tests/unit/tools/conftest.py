"""A tool context over a folder of the test, whose ports write down what was asked of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import AgentName, CallId, RunId, SessionId, TaskId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.testing.sources import ManualClock
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.trace import graph
from brainpilot_rt.workspace.files import Workspace


@dataclass
class Desk:
    """What the tools did and what they are told."""

    root: Path
    answer: str = "yes"
    asked: list[tuple[str, tuple[str, ...], bool]] = field(default_factory=list)
    sent: list[tuple[str, str, LetterKind | None, str | None]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    nodes: dict[str, TraceNode] = field(default_factory=dict)
    passages: list[Passage] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)
    hidden: tuple[Path, ...] = ()

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root, hidden=self.hidden)

    def context(self, call_id: str = "call_1") -> ToolContext:
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

    async def send(
        self, to: AgentName, content: str, kind: LetterKind | None, task_id: TaskId | None
    ) -> str:
        if to == "librarain":
            raise NotFound("no agent librarain; did you mean librarian?")
        self.sent.append((to, content, kind, task_id))
        return "accepted"

    async def ask(self, question: str, options: tuple[str, ...], free: bool) -> str:  # noqa: FBT001 - the port
        self.asked.append((question, options, free))
        return self.answer

    async def create(self, name: AgentName) -> str:
        self.agents.append(name)
        return f"created {name}"

    async def destroy(self, name: AgentName) -> str:
        self.agents.remove(name)
        return f"destroyed {name}"

    async def save(self, op: str, node: TraceNode) -> None:
        assert (node.id in self.nodes) == (op == "updated")
        self.nodes[node.id] = node

    def trace_nodes(self) -> Sequence[TraceNode]:
        return list(self.nodes.values())

    async def search(self, query: str, top_k: int) -> list[Passage]:
        return self.passages[:top_k]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root = tmp_path / "work"
    root.mkdir()
    return Desk(root)


@pytest.fixture
def put(desk: Desk) -> Callable[[str, str | bytes], Path]:
    """Write a file of the work tree as someone else would."""

    def write(name: str, content: str | bytes) -> Path:
        path = desk.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
