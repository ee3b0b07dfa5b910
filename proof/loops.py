"""Teams that would write to each other for ever, and how far they get before the caps stop them.

A topology says who writes to whom; the model of every agent writes those letters whenever it is
asked, `polite` once per run, `restless` in every turn. The team is a real one in this process, on
virtual time, and nothing but the product's own caps ends it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName, CallId
from brainpilot_rt.domain.messages import AssistantMessage, AssistantPart, TextPart, ToolCall
from brainpilot_rt.domain.messages import ToolResultMessage as Result
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
    StopReason,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.testing.team import SESSION, LoopClock, Setup, Team, team

Manner: TypeAlias = Literal["polite", "restless"]
Edges: TypeAlias = Mapping[str, Sequence[str]]

CALL_USD: Final = Decimal("0.01")
STOPPED: Final = "chain_stopped"
_OPENING: Final = "Go."


@dataclass(frozen=True, slots=True)
class Topology:
    """Who writes to whom, by name."""

    name: str
    edges: Edges
    manner: Manner = "polite"
    kind: str | None = None
    """`msg_type` of every letter; None leaves it to the daemon."""


@dataclass(frozen=True, slots=True)
class Contained:
    """What came of it."""

    letters: int
    runs: int
    calls: int
    tokens: int
    usd: Decimal
    stopped: int
    """Notices that the chain was stopped."""
    kinds: Mapping[str, int]
    """Letters by who accepted them: of runs, and of the daemon (bounces)."""
    ended: Sequence[str]
    """How the user's request ended."""
    open_work: Sequence[str]
    violations: Sequence[str]


def ring(size: int, manner: Manner = "polite", kind: str | None = None) -> Topology:
    """Everybody writes to the next, the last one to the first; 2 is ping-pong, 3 a triangle."""
    names = [str(PRINCIPAL), *(f"expert-{number}" for number in range(1, size))]
    edges = {name: [names[(at + 1) % size]] for at, name in enumerate(names)}
    return Topology(
        f"ring of {size}, {manner}" + (f", {kind}" if kind else ""), edges, manner, kind
    )


def star(leaves: int, manner: Manner = "polite") -> Topology:
    """One writes to all, and all answer with a letter of their own."""
    names = [f"expert-{number}" for number in range(1, leaves + 1)]
    edges: dict[str, list[str]] = {str(PRINCIPAL): names}
    edges |= {name: [str(PRINCIPAL)] for name in names}
    return Topology(f"star of {leaves}, {manner}", edges, manner, "task_delegate")


def bomb(agents: int, wide: int, manner: Manner = "polite") -> Topology:
    """Everybody writes to the next ten."""
    names = [str(PRINCIPAL), *(f"expert-{number}" for number in range(1, agents))]
    edges = {
        name: [names[(at + step) % agents] for step in range(1, wide + 1)]
        for at, name in enumerate(names)
    }
    return Topology(f"bomb of {agents}, {wide} each, {manner}", edges, manner, "task_delegate")


class _Chatter:
    """The model of everybody."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.calls = Counter[str]()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.calls[request.agent] += 1
        await asyncio.sleep(0.01)
        wrote = isinstance(request.messages[-1], Result)
        quiet = not request.tools or (wrote and self.topology.manner == "polite")
        parts: list[AssistantPart] = [TextPart(text="I have nothing more to say.")]
        if not quiet:
            parts = [*self._letters(request)]
        yield ReplyFinished(
            message=AssistantMessage(parts=tuple(parts)),
            stop_reason=StopReason.END if quiet else StopReason.TOOL_USE,
            usage=Usage(input=1000, output=100),
            model=request.model or ModelRef(provider="chatter", model="chatter"),
            cost_usd=CALL_USD,
        )

    def _letters(self, request: ModelRequest) -> list[ToolCall]:
        arguments: list[dict[str, Any]] = [
            {"to": to, "content": "And you?", "msg_type": self.topology.kind}
            for to in self.topology.edges[request.agent]
        ]
        number = self.calls[request.agent]
        return [
            ToolCall(
                call_id=CallId(f"{request.agent}-{number}-{at}"),
                name="send_message",
                arguments=one,
                raw_arguments="{}",
            )
            for at, one in enumerate(arguments)
        ]


async def contained(topology: Topology, folder: Path, setup: Setup) -> Contained:
    """Let them talk until nothing is at work; TimeoutError when that never comes."""
    chatter = _Chatter(topology)
    log = MemoryEventLog(clock=LoopClock())
    async with team(log, chatter.stream, folder, setup) as crew:
        await crew.create()
        for name in topology.edges:
            if name != PRINCIPAL:
                create = cmd.CreateAgent(agent=AgentName(name), by=PRINCIPAL)
                await crew.organs.manager.dispatch(SESSION, create)
        await crew.post(_OPENING)
        await crew.settled()
        return await _summary(crew, sum(chatter.calls.values()))


async def _summary(crew: Team, calls: int) -> Contained:
    events = [one.event for one in await crew.events()]
    letters = [one for one in events if isinstance(one, ev.LetterAccepted)]
    state = crew.state()
    return Contained(
        letters=len(letters),
        runs=sum(isinstance(one, ev.RunStarted) for one in events),
        calls=calls,
        tokens=sum(one.usage.total for one in events if isinstance(one, ev.ModelReplied)),
        usd=CALL_USD * calls,
        stopped=sum(isinstance(one, ev.NoticePosted) and one.code == STOPPED for one in events),
        kinds=Counter("daemon" if one.run_id is None else "run" for one in letters),
        ended=[one.outcome for one in events if isinstance(one, ev.HostTurnFinished)],
        open_work=[*state.letters, *state.tasks, *state.runs],
        violations=await crew.violations(),
    )
