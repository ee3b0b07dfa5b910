"""What a run reads, turn by turn: gathered before each model call, assembled, and said in the log.

Pure parts are in `context/`; here is where live files and rows are read for them.
"""

import hashlib
from collections.abc import Sequence

from brainpilot_rt.agents.definition import AgentDefinition
from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.context.assembly import Assembled
from brainpilot_rt.context.sections import Member, OpenTask, Surroundings, system_prompt
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName
from brainpilot_rt.domain.memory import tokens_of
from brainpilot_rt.domain.messages import Message
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.supervision.organs import Organs


class RunContext:
    """The context of one run."""

    def __init__(self, organs: Organs, identity: RunIdentity, definition: AgentDefinition) -> None:
        self._organs = organs
        self._identity = identity
        self._definition = definition
        self._turn = 0
        self._digest = ""

    async def prepare(self, turn: int) -> Sequence[Message] | None:
        """Gather what `turn` is assembled from; a conversation that was compacted is returned."""
        self._turn = turn
        return None

    def assemble(
        self, history: Sequence[Message], guidance: str, marker: str
    ) -> tuple[Assembled, ev.ContextAssembled]:
        """What the model reads now, and the fact that says so."""
        organs, identity = self._organs, self._identity
        around = surroundings(organs.manager.state(identity.session), identity.agent)
        ending = "\n\n".join(part for part in (guidance, marker) if part)
        system = system_prompt(self._definition.system, around, ending)
        assembler = organs.conversations.assembler(identity.session, identity.agent)
        budget = organs.settings.context_chars_max
        assembled = assembler.assemble(system, history, budget_chars=budget)
        return assembled, self._fact(assembled)

    def _fact(self, assembled: Assembled) -> ev.ContextAssembled:
        digest = hashlib.sha256(assembled.system.encode()).hexdigest()[:16]
        text = None if digest == self._digest else assembled.system
        self._digest = digest
        persona = ContextSection(
            name="persona",
            tokens=tokens_of(assembled.system),
            items=1,
            digest=digest,
            text=text,
        )
        said = ContextSection(
            name="conversation",
            tokens=0,
            items=len(assembled.messages),
            left_out=assembled.left_out,
            why="older than what fits" if assembled.left_out else "",
        )
        return ev.ContextAssembled(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=self._turn,
            sections=(persona, said),
            tokens=persona.tokens + said.tokens,
        )


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
