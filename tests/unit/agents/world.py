"""The turn loop's world in memory: a log, tools that take (virtual) time, letters, a model.

At every model call it holds the loop to its main promise: the conversation the loop carries along
is the one the log would give back.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from brainpilot_rt.agents.definition import AgentDefinition, define_agent
from brainpilot_rt.agents.ports import RunIdentity, RunResult, TurnPorts
from brainpilot_rt.agents.turn import run
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.context.assembly import Assembled, Assembler
from brainpilot_rt.context.conversation import fold, render
from brainpilot_rt.context.sections import identity, joined
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import (
    Event,
    LetterAccepted,
    LettersJoined,
    Recorded,
    RunStarted,
    TaskReminded,
    TextFinished,
    TextStarted,
    ToolFinished,
    ToolPlanned,
    ToolStarted,
)
from brainpilot_rt.domain.ids import AgentName, LetterId, MessageId, RunId, SessionId, TaskId
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.messages import Message, ToolCall, UserMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.tools import Effect, ToolResult, ToolSpec
from brainpilot_rt.testing.models import ScriptedModel
from brainpilot_rt.testing.sources import START, SequentialIds

SESSION = SessionId("s")
AGENT = AgentName("librarian")
RUN = RunId("run_1")
NOW_MS = int(START.timestamp() * 1000)


def letter(number: int, content: str, **fields: Any) -> Letter:
    """A user's message to the agent, unless fields say otherwise."""
    letter_id = LetterId(SequentialIds.nth(number))
    given: dict[str, Any] = {
        "from_": AgentName("user"),
        "kind": LetterKind.USER_MESSAGE,
        "authority": Authority(origin="user"),
        "to": AGENT,
        "root_id": letter_id,
        "created_at": START.isoformat(),
    }
    return Letter(id=letter_id, session=SESSION, content=content, **(given | fields))


@dataclass
class World:
    """Everything a run touches, and what it did to it."""

    definition: AgentDefinition = field(
        default_factory=lambda: define_agent(
            id=AGENT, system="You are a test.", tools=("look", "slow", "gone")
        )
    )
    model: ScriptedModel = field(default_factory=ScriptedModel)
    unheard: frozenset[str] = frozenset()
    """Types of model events that get lost on the way."""
    instant: bool = False
    """The model says everything within one turn of the loop."""
    log: list[Recorded] = field(default_factory=list[Recorded])
    commits: list[list[str]] = field(default_factory=list[list[str]])
    shown: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    mail: list[Letter] = field(default_factory=list[Letter])
    reminder: str | None = None
    commit_s: float = 0.0
    broken: bool = False
    executed: list[str] = field(default_factory=list[str])
    resumed: list[bool] = field(default_factory=list[bool])
    identity: RunIdentity = field(
        default_factory=lambda: RunIdentity(session=SESSION, agent=AGENT, role=AGENT, run_id=RUN)
    )

    def record(self, *events: Event) -> list[Recorded]:
        recorded = [
            Recorded(SESSION, len(self.log) + n, len(self.log) + n, NOW_MS, event)
            for n, event in enumerate(events, start=1)
        ]
        self.log += recorded
        self.commits.append([event.type for event in events])
        return recorded

    def begin(self, *letters: Letter) -> None:
        """Accept the letters and start the run on them."""
        self.record(
            *(LetterAccepted(letter_id=one.id, letter=one) for one in letters),
            RunStarted(
                run_id=RUN,
                agent=AGENT,
                letter_ids=tuple(one.id for one in letters),
                root_id=letters[0].id,
            ),
        )

    def arrive(self, *letters: Letter) -> None:
        """Letters are accepted while the run is busy."""
        self.record(*(LetterAccepted(letter_id=one.id, letter=one) for one in letters))
        self.mail += letters

    def history(self) -> list[Message]:
        return fold(self.log, AGENT)

    async def run(self, *, first_turn: int = 0) -> RunResult:
        """Run, then commit what the run left to be committed, as the worker does."""
        result = await run(
            self.definition,
            self.ports(),
            self.history(),
            identity=self.identity,
            first_turn=first_turn,
        )
        if result.closing:
            self.record(*result.closing)
        return result

    def types(self) -> list[str]:
        return [recorded.event.type for recorded in self.log]

    def open_texts(self) -> list[str]:
        """Texts that were announced and never closed."""
        begun = [one.event.message_id for one in self.log if isinstance(one.event, TextStarted)]
        ended = [one.event.message_id for one in self.log if isinstance(one.event, TextFinished)]
        assert len(set(ended)) == len(ended)
        return [text for text in begun if text not in ended]

    def events(self, kind: type[Any]) -> list[Any]:
        return [one.event for one in self.log if isinstance(one.event, kind)]

    def ports(self) -> TurnPorts:
        ids = SequentialIds()
        return TurnPorts(
            stream=self.stream,
            emit=self.emit,
            show=self.show,
            offer=self.offer,
            call_tools=self.call_tools,
            boundary=self.boundary,
            remind=self.remind,
            assemble=self.assemble,
            new_message_id=lambda: MessageId(f"msg_{ids()}"),
            monotonic=asyncio.get_running_loop().time,
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        async with aclosing(self.model.stream(request)) as events:
            async for event in events:
                if event.type not in self.unheard:
                    yield event
                if not self.instant:
                    # A real model is slower than a turn of the loop.
                    await asyncio.sleep(0)

    async def emit(self, *events: Event) -> list[Recorded]:
        """Cancelled before the commit is done, nothing is committed."""
        await asyncio.sleep(self.commit_s)
        if self.broken:
            raise Unavailable("the disk is full")
        return self.record(*events)

    async def commit(self, *events: Event) -> None:
        """As ports that take `preceding` must."""
        await finish_shielded(self.emit(*events))

    def show(
        self,
        message_id: MessageId,
        index: int,
        offset: int,
        text: str,
        kind: Literal["text", "reasoning"],
    ) -> None:
        begun = {e.message_id: e.kind for e in self.events(TextStarted)}
        assert begun[message_id] == kind
        pieces = self.shown.setdefault(message_id, [])
        assert (index, offset) == (len(pieces), len("".join(pieces)))
        assert text
        pieces.append(text)

    def offer(self, names: tuple[str, ...]) -> tuple[ToolSpec, ...]:
        return tuple(
            ToolSpec(name=name, description=name, parameters={}, effect=Effect.PURE)
            for name in names
            if name != "gone"
        )

    async def call_tools(
        self,
        calls: tuple[ToolCall, ...],
        turn: int,
        preceding: tuple[Event, ...],
        *,
        resumed: bool,
    ) -> list[ToolResult]:
        """`slow` takes as many seconds as its argument says, everything else is at once."""
        self.resumed.append(resumed)
        planned = [] if resumed else [_planned(call, turn) for call in calls]
        started = [ToolStarted(run_id=RUN, call_id=call.call_id) for call in calls]
        try:
            await self.commit(*preceding, *planned, *started)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._execute(call)) for call in calls]
        except asyncio.CancelledError:
            ended = {event.call_id for event in self.events(ToolFinished)}
            left = [call for call in calls if call.call_id not in ended]
            await self.commit(*(_finished(call, "interrupted") for call in left))
            raise
        return [task.result() for task in tasks]

    async def _execute(self, call: ToolCall) -> ToolResult:
        await asyncio.sleep(float((call.arguments or {}).get("s", 0)))
        self.executed.append(call.call_id)
        finished = _finished(call, "completed")
        await self.commit(finished)
        return ToolResult(call_id=call.call_id, name=call.name, content=finished.content)

    async def boundary(self, turn: int, preceding: tuple[Event, ...]) -> tuple[UserMessage, ...]:
        if not self.mail:
            return ()
        taken, self.mail = self.mail, []
        ids = tuple(one.id for one in taken)
        joined = LettersJoined(run_id=RUN, agent=AGENT, letter_ids=ids, turn=turn)
        await self.commit(*preceding, joined)
        return (UserMessage(text=render(taken, NOW_MS)),)

    async def remind(self, preceding: tuple[Event, ...]) -> UserMessage | None:
        if self.reminder is None:
            return None
        text, self.reminder = self.reminder, None
        reminded = TaskReminded(task_id=TaskId("task_1"), run_id=RUN, agent=AGENT, text=text)
        await self.commit(*preceding, reminded)
        return UserMessage(text=text)

    def assemble(self, history: Sequence[Message], marker: str, final: bool) -> Assembled:  # noqa: FBT001 - the shape of the port
        assert list(history) == self.history()
        system = joined([identity(self.definition.system, AGENT), marker])
        return Assembler().assemble(system, history)


def _finished(call: ToolCall, status: Literal["completed", "interrupted"]) -> ToolFinished:
    return ToolFinished(
        run_id=RUN,
        agent=AGENT,
        call_id=call.call_id,
        name=call.name,
        content=f"{status} {call.call_id}",
        status=status,
    )


def _planned(call: ToolCall, turn: int) -> ToolPlanned:
    return ToolPlanned(
        run_id=RUN,
        agent=AGENT,
        turn=turn,
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        raw_arguments=call.raw_arguments,
        effect=Effect.PURE,
    )
