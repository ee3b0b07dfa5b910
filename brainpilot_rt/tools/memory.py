"""`remember`, `recall`, `record_finding`, `forget`: how agents use the memory of their session.

Where it is kept is behind a port. The same words are kept once, so a call that is run again after a
crash does nothing twice. Whether a finding is verified is looked up in the file by code.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import Field

from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.memory import POLICIES, Block, Draft, Finding, MemoryItem, SectionName
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from brainpilot_rt.workspace.files import Workspace

_SHOWN_CHARS_MAX: Final = 2_000
_LINE_MAX: Final = 999_999_999
"""As far as lines are counted: what a citation in a text may name."""
_Text = Annotated[str, Field(min_length=1, max_length=20_000)]


class MemoryShelf(Protocol):
    """The memory of a session, as tools use it; every method raises `CommandRejected`."""

    async def items(
        self, session: SessionId, section: SectionName, agent: AgentName | None = None
    ) -> Sequence[MemoryItem]:
        """The items of a section, oldest first."""
        ...

    async def search(
        self, session: SessionId, query: str, top_k: int, **where: Any
    ) -> list[tuple[MemoryItem, float]]:
        """What fits a few words best; `where`: `section`, `agent`, `kept`."""
        ...

    async def remember(
        self, session: SessionId, draft: Draft, by: AgentName, run_id: RunId | None
    ) -> MemoryItem:
        """Remember something."""
        ...

    async def record_finding(
        self,
        session: SessionId,
        workspace: Workspace,
        finding: Finding,
        run_id: RunId,
        by: AgentName,
    ) -> MemoryItem:
        """Look the citation of a finding up and remember what came of it."""
        ...

    async def forget(
        self, session: SessionId, item_ids: Sequence[str], by: AgentName, run_id: RunId | None
    ) -> None:
        """Forget items."""
        ...


class Remember(Arguments):
    """Keep something in the memory of this session; it outlives this run and its agent.

    facts: what the user wants known. lessons: what was learnt the hard way. playbooks and
    plan_examples: how a kind of work is done. reflection: your own thoughts. working: notes for
    this run only. The first four are the team's, the last two your own.
    """

    section: Literal["facts", "lessons", "playbooks", "plan_examples", "reflection", "working"]
    content: _Text
    tags: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    block: Annotated[
        Block | None, Field(description="Of a fact: what it is about; general if not given.")
    ] = None


class Recall(Arguments):
    """Find what this session remembers: by words, or without a query the newest of a section.

    Without a section it looks through what was kept on purpose. messages and actions (older than
    this conversation) and documents are searched when they are named.
    """

    query: Annotated[str, Field(max_length=2_000)] = ""
    section: SectionName | None = None
    top_k: Annotated[int, Field(ge=1, le=50)] = 8


class RecordFinding(Arguments):
    """Keep a claim together with its evidence: the words of a file that show it.

    The quote is looked up in the cited lines at once; the answer says whether it is there.
    """

    claim: _Text
    path: Annotated[str, Field(min_length=1, max_length=400)]
    start_line: Annotated[int, Field(ge=1, le=_LINE_MAX)]
    end_line: Annotated[int, Field(ge=1, le=_LINE_MAX)]
    quote: Annotated[str, Field(min_length=1, max_length=2_000)]
    confidence: Annotated[float, Field(description="0 to 1.")] = 0.5


class Forget(Arguments):
    """Take an item you wrote out of the memory of this session."""

    item_id: Annotated[str, Field(min_length=1, max_length=80)]


def shown(items: Sequence[MemoryItem]) -> str:
    """Items as a model reads them: a line about each, then its words, which stand further in."""
    blocks: list[str] = []
    for one in items:
        more = [", ".join(one.tags)] if one.tags else []
        more += ["pinned"] if one.pinned else []
        cut = len(one.content) - _SHOWN_CHARS_MAX
        words = one.content[:_SHOWN_CHARS_MAX] + (f"… ({cut:,} more characters)" if cut > 0 else "")
        head = f"### {' · '.join([one.section, one.id, f'by {one.agent}', *more])}"
        blocks.append("\n  ".join([" ".join(head.split()), *words.splitlines()]))
    return "\n\n".join(blocks) or "Nothing is remembered that fits."


def memory_tools(shelf: MemoryShelf) -> tuple[Tool, ...]:
    """The four tools over a memory."""

    async def remember(context: ToolContext, wanted: Remember) -> ToolOutput:
        draft = Draft(agent=context.agent, **dict(wanted))
        kept = await shelf.remember(context.session, draft, context.agent, context.run_id)
        return ToolOutput(f"Kept in {kept.section} as {kept.id}.")

    async def recall(context: ToolContext, wanted: Recall) -> ToolOutput:
        session, agent = context.session, context.agent
        if wanted.query.strip():
            where = {"section": wanted.section, "agent": agent, "kept": wanted.section is None}
            found = await shelf.search(session, wanted.query, wanted.top_k, **where)
            return ToolOutput(shown([item for item, _ in found]))
        if wanted.section is not None:
            items = await shelf.items(session, wanted.section, agent)
            return ToolOutput(shown(items[-wanted.top_k :]))
        counted = [(one, len(await shelf.items(session, one, agent))) for one in POLICIES]
        lines = [f"{section}: {count} items" for section, count in counted if count]
        return ToolOutput("\n".join(lines) or "Nothing is remembered yet.")

    async def record(context: ToolContext, wanted: RecordFinding) -> ToolOutput:
        finding = Finding(
            claim=wanted.claim,
            citation=Citation(
                path=wanted.path.removeprefix("/workspace/").removeprefix("./"),
                start_line=wanted.start_line,
                end_line=max(wanted.start_line, wanted.end_line),
                quote=" ".join(wanted.quote.split()),
            ),
            confidence=min(1.0, max(0.0, wanted.confidence)),
        )
        kept = await shelf.record_finding(
            context.session, context.workspace, finding, context.run_id, context.agent
        )
        if kept.finding is not None and kept.finding.verified:
            return ToolOutput(f"Finding {kept.id} is kept and verified.")
        why = kept.finding.reason if kept.finding is not None else ""
        return ToolOutput(f"Finding {kept.id} is kept, but it is not verified: {why}.")

    async def forget(context: ToolContext, wanted: Forget) -> ToolOutput:
        try:
            await shelf.forget(context.session, [wanted.item_id], context.agent, context.run_id)
        except NotFound:
            return ToolOutput(f"There is no item {wanted.item_id} that can be forgotten.")
        return ToolOutput(f"Item {wanted.item_id} is forgotten.")

    effect = Effect.IDEMPOTENT
    return (
        tool(remember, Remember, name="remember", effect=effect),
        tool(recall, Recall, name="recall", effect=Effect.PURE),
        tool(record, RecordFinding, name="record_finding", effect=effect),
        tool(forget, Forget, name="forget", effect=effect),
    )
