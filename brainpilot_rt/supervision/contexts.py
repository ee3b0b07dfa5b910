"""What a run reads, turn by turn: gathered before each model call, assembled, and said in the log.

    prepare   looks at live files and rows (on a thread), and compacts a conversation that is long
    assemble  puts the sections together, in one synchronous step

The order serves the provider's prompt cache: the persona first, what changes with every turn last.
Each section is recorded with its size, its budget and what was left out of it and why. Pure parts
are in `context/`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from brainpilot_rt.agents.definition import AgentDefinition
from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.context.assembly import Assembled
from brainpilot_rt.context.conversation import Conversation
from brainpilot_rt.context.excerpts import Excerpt, excerpt
from brainpilot_rt.context.memory import Memory
from brainpilot_rt.context.sections import (
    Member,
    OpenTask,
    Surroundings,
    identity,
    joined,
    place,
)
from brainpilot_rt.context.sources import (
    CHARS_PER_TOKEN,
    Part,
    Source,
    assemble_sources,
    facts_source,
    health_source,
)
from brainpilot_rt.context.window import Asked
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.memory import MemoryItem
from brainpilot_rt.domain.messages import Message, UserMessage
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.domain.skills import Skill
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.supervision.compaction import Compaction
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.shown import digest_of


class RunContext:
    """The context of one run."""

    def __init__(self, organs: Organs, identity: RunIdentity, definition: AgentDefinition) -> None:
        self._organs = organs
        self._identity = identity
        self._definition = definition
        self._compaction = Compaction(organs, identity)
        self._turn = 0
        self._query = ""
        self._gathered: tuple[Source, ...] = ()
        self._conversation: Conversation | None = None
        self._memory: Memory | None = None
        self._facts: tuple[MemoryItem, ...] = ()
        self._seconds = 0.0

    async def prepare(self, turn: int) -> Sequence[Message] | None:
        """Gather what `turn` is assembled from; a conversation that was compacted is returned."""
        organs, session = self._organs, self._identity.session
        self._turn = turn
        self._memory = await organs.memories.of(session)
        shared = await organs.memories.shared()
        self._facts = self._memory.items("facts")
        if shared is not self._memory:
            self._facts = (*shared.items("facts"), *self._facts)
        conversation = await self._conversed()
        compacted = await self._compaction.look(turn, conversation)
        if compacted:
            conversation = await self._conversed()
        self._conversation = conversation
        began = organs.clock.monotonic()
        messages = conversation.messages()
        self._query = _asked(messages)
        self._gathered, skills = await asyncio.to_thread(self._gather)
        self._seconds = organs.clock.monotonic() - began
        await organs.skills.report(session, skills)
        return messages if compacted else None

    async def _conversed(self) -> Conversation:
        organs, who = self._organs, self._identity
        mail = [one.letter for one in organs.manager.state(who.session).letters.values()]
        return await organs.conversations.of(who.session, who.agent, mail)

    def _gather(self) -> tuple[tuple[Source, ...], tuple[Skill, ...]]:
        organs, who = self._organs, self._identity
        try:
            tree = organs.workspace(who.session)
            skills = organs.skills.find(tree)
        except CommandRejected as fault:
            return (Source(name="workspace", label="none", warnings=(fault.message,)),), ()
        given = organs.materials(who.agent)
        gathered = organs.shown.sources.gather(who.agent, tree, skills, self._query, given)
        return gathered, skills

    def excerpt(self) -> Excerpt:
        """What was gathered, in short: by it the program of the run is chosen."""
        said = self._said(self._conversation.messages() if self._conversation else ())
        return excerpt((*self._sources(), *self._window(said, "")), said.messages)

    def assemble(
        self, history: Sequence[Message], guidance: str, marker: str
    ) -> tuple[Assembled, ev.ContextAssembled]:
        """What the model reads now, and the fact that says so."""
        organs, who = self._organs, self._identity
        began = organs.clock.monotonic()
        budget = organs.settings.context_chars_max
        said = self._said(history)
        parts = [
            Part(name="persona", text=identity(self._definition.system, who.agent), items=1),
            *self._sources(),
            *self._window(said, guidance),
            Part(name="team", text=place(surroundings(self._state(), who.agent)), items=1),
            Part(name="program", text=guidance, items=1),
            Part(name="marker", text=marker, items=1),  # its own: it is new in every turn
        ]
        system = joined(part.text for part in parts)
        sections = [self._section(part) for part in parts if part.text or part.why]
        spoken = ContextSection(
            name="conversation",
            tokens=-(-said.chars // CHARS_PER_TOKEN),
            budget=budget // CHARS_PER_TOKEN,
            items=len(said.messages),
            left_out=said.left_out,
            why="older than what fits" if said.left_out else "",
        )
        seconds = self._seconds + organs.clock.monotonic() - began
        fact = ev.ContextAssembled(
            run_id=who.run_id,
            agent=who.agent,
            turn=self._turn,
            sections=(*sections, spoken),
            tokens=sum(section.tokens for section in sections) + spoken.tokens,
            duration_us=round(seconds * 1_000_000),
        )
        return replace(said, system=system), fact

    def _said(self, history: Sequence[Message]) -> Assembled:
        assembler = self._organs.conversations.assembler(
            self._identity.session, self._identity.agent
        )
        return assembler.assemble("", history, budget_chars=self._organs.settings.context_chars_max)

    def _state(self) -> SessionState:
        return self._organs.manager.state(self._identity.session)

    def _sources(self) -> tuple[Part, ...]:
        organs = self._organs
        no_shell = organs.liveness.no_shell
        troubles = [
            *organs.shown.troubles(self._identity.session),
            *([f"commands can not be run ({no_shell})"] if no_shell else []),
        ]
        sources = [*self._gathered, facts_source(self._facts), health_source(troubles)]
        return assemble_sources(sources, organs.thinking.sources_tokens_max)

    def _window(self, said: Assembled, guidance: str) -> tuple[Part, ...]:
        organs, who = self._organs, self._identity
        if self._memory is None or self._conversation is None:
            return ()
        spoken = sum(isinstance(one, UserMessage) for one in said.messages)
        asked = Asked(
            agent=who.agent,
            query=self._query,
            since_ms=self._conversation.since_ms(spoken),
            tokens_max=organs.thinking.memory_tokens_max,
            items_max=organs.thinking.section_items_max,
            told=guidance,
        )
        return organs.shown.window(who.session, who.agent).parts(self._memory, asked)

    def _section(self, part: Part) -> ContextSection:
        digest = digest_of(part.text) if part.text else ""
        known = not digest or self._organs.shown.knows(self._identity.session, digest)
        return ContextSection(
            name=part.name,
            tokens=part.tokens,
            budget=part.budget,
            items=part.items,
            left_out=part.left_out,
            why=part.why,
            item_ids=part.item_ids,
            digest=digest,
            text=None if known else part.text,
            untrusted=part.untrusted,
        )


def _asked(messages: Sequence[Message]) -> str:
    """What the agent was asked last: the text of the latest message that is not its own."""
    said = (one.text for one in reversed(messages) if isinstance(one, UserMessage))
    return next(said, "")


def surroundings(state: SessionState, agent: AgentName) -> Surroundings:
    """What an agent is told about its team and its tasks."""
    return Surroundings(
        agent=agent,
        team=[
            Member(one.name, one.role, one.phase, one.kind, one.description)
            for one in state.agents.values()
            if one.phase is not AgentPhase.STOPPED
        ],
        holds=[
            OpenTask(one.task_id, one.creator, one.title)
            for one in state.tasks.values()
            if one.assignee == agent
        ],
        waits=[
            OpenTask(one.task_id, one.assignee, one.title)
            for one in state.tasks.values()
            if one.creator == agent
        ],
    )
