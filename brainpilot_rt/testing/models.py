"""A model that says what the test wrote down, when the test lets it.

`ScriptedModel.stream` satisfies the model port. Every agent has its own queue of replies; `"*"` is
the queue of whoever has none left. A reply is a list of steps played in order: text, reasoning,
tool calls, gates, failed attempts, faults. A gate stops the stream until the test opens it, so that
a test can look at the daemon in the middle of an answer without sleeping:

    gate = Gate()
    model.say("principal", "Hel", gate, "lo")
    ...
    await gate.reached.wait()      # "Hel" has been streamed, "lo" has not
    gate.open()
"""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from brainpilot_rt.domain.errors import FatalFault, ProviderFault
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    AssistantPart,
    ReasoningPart,
    TextPart,
    ToolCall,
)
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReasoningDelta,
    ReplyFinished,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from brainpilot_rt.domain.usage import Usage

ANYONE = "*"


@dataclass(slots=True, eq=False)
class Gate:
    """A place where a stream waits. `reached` is set on arrival; `open()` lets it pass for good."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        """Let the stream go on."""
        self.opened.set()


@dataclass(frozen=True, slots=True)
class Thought:
    """A step: visible reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A step: a tool call. Without `call_id` one is made of the run, the turn and the position."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    call_id: str | None = None


Step: TypeAlias = str | Thought | Call | Gate | AttemptFailed | ProviderFault


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted answer. `stop` None: `tool_use` when it calls tools, else `end`."""

    steps: tuple[Step, ...]
    usage: Usage = field(default_factory=lambda: Usage(input=10, output=5))
    cost_usd: Decimal | None = Decimal(0)
    stop: StopReason | None = None


class ScriptedModel:
    """A fake model: queues of replies per agent, a record of the requests it got."""

    def __init__(self, *, otherwise: Reply | None = None) -> None:
        """`otherwise` answers when a script has run out; without it that is a `FatalFault`."""
        self.requests: list[ModelRequest] = []
        """Every request, in the order of arrival."""
        self.abandoned: list[ModelRequest] = []
        """Requests whose stream was cancelled or closed before its end."""
        self._otherwise = otherwise
        self._scripts: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._arrived = asyncio.Condition()

    def script(self, agent: str, *replies: Reply) -> None:
        """Append replies to the queue of an agent (`"*"`: of anyone without a script)."""
        self._scripts[agent].extend(replies)

    def say(self, agent: str, *steps: Step) -> None:
        """Append one reply made of these steps."""
        self.script(agent, Reply(steps))

    def hang(self, agent: str) -> Gate:
        """Append a reply that says nothing until its gate is opened, and then nothing more."""
        gate = Gate()
        self.say(agent, gate)
        return gate

    def requests_of(self, agent: str) -> list[ModelRequest]:
        """The requests one agent made, in order."""
        return [request for request in self.requests if request.agent == agent]

    async def arrival(self, agent: str, count: int = 1) -> ModelRequest:
        """Wait until the agent has made `count` requests and return the last of those."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests_of(agent)) >= count)
        return self.requests_of(agent)[count - 1]

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Play the next reply for the agent of the request."""
        self.requests.append(request)
        finished = False
        try:
            async with self._arrived:
                self._arrived.notify_all()
            reply = self._next_reply(request.agent)
            parts: list[AssistantPart] = []
            for step in reply.steps:
                if isinstance(step, Gate):
                    step.reached.set()
                    await step.opened.wait()
                elif isinstance(step, ProviderFault):
                    finished = True
                    raise step
                else:
                    yield _play(step, parts, request)
            finished = True
            yield _finish(reply, parts, request)
        finally:
            if not finished:
                self.abandoned.append(request)

    def _next_reply(self, agent: str) -> Reply:
        for name in (agent, ANYONE):
            if self._scripts[name]:
                return self._scripts[name].popleft()
        if self._otherwise is None:
            return Reply((FatalFault(f"nothing is scripted for {agent}", code="unscripted"),))
        return self._otherwise


def answering(
    rule: Callable[[ModelRequest], Step],
) -> Callable[[ModelRequest], AsyncGenerator[ModelEvent, None]]:
    """A model of one rule: each request is answered by the one step the rule gives for it."""

    async def stream(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        model = ScriptedModel()
        model.say(request.agent, rule(request))
        async for event in model.stream(request):
            yield event

    return stream


def _play(
    step: str | Thought | Call | AttemptFailed, parts: list[AssistantPart], request: ModelRequest
) -> ModelEvent:
    """Add one step to the parts and give its event."""
    last = parts[-1] if parts else None
    match step:
        case AttemptFailed():
            return step
        case str():
            if isinstance(last, TextPart):
                parts[-1] = TextPart(text=last.text + step)
            else:
                parts.append(TextPart(text=step))
            return TextDelta(index=len(parts) - 1, text=step)
        case Thought():
            if isinstance(last, ReasoningPart):
                parts[-1] = ReasoningPart(text=last.text + step.text)
            else:
                parts.append(ReasoningPart(text=step.text))
            return ReasoningDelta(index=len(parts) - 1, text=step.text)
        case Call():
            arguments = json.dumps(step.arguments, ensure_ascii=False)
            call_id = step.call_id or f"call_{request.run_id}_{request.turn}_{len(parts)}"
            parts.append(
                ToolCall(
                    call_id=CallId(call_id),
                    name=step.name,
                    arguments=step.arguments,
                    raw_arguments=arguments,
                )
            )
            return ToolCallDelta(index=len(parts) - 1, name=step.name, arguments_delta=arguments)


def _finish(reply: Reply, parts: list[AssistantPart], request: ModelRequest) -> ReplyFinished:
    message = AssistantMessage(parts=tuple(parts))
    return ReplyFinished(
        message=message,
        stop_reason=reply.stop or (StopReason.TOOL_USE if message.tool_calls else StopReason.END),
        usage=reply.usage,
        model=request.model or ModelRef(provider="scripted", model="scripted"),
        cost_usd=reply.cost_usd,
    )
