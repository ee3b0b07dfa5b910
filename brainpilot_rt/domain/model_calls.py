"""A model call as values: the request, and the stream of what comes back.

The port itself is a callable declared where it is used:
`stream(request) -> AsyncIterator[ModelEvent]`.
A stream yields deltas and ends with exactly one `ReplyFinished`; every failure is raised as a
`ProviderFault` (see `errors.py`) and nothing else. Deltas of one part are contiguous per `index`;
parts appear in the order of their first delta.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

from pydantic import SkipValidation

from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.messages import AssistantMessage, Message
from brainpilot_rt.domain.tools import ToolSpec
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.domain.values import Value


class StopReason(StrEnum):
    """Why the model stopped, mapped from every dialect."""

    END = "end"
    TOOL_USE = "tool_use"
    LENGTH = "length"
    REFUSAL = "refusal"
    STOP_SEQUENCE = "stop_sequence"


class ModelRef(Value):
    """Which model: the provider profile's id and the model's own name."""

    provider: str
    model: str


class ModelRequest(Value):
    """Everything one call needs. `tools` empty means the model may not call any."""

    session: SessionId
    agent: AgentName
    role: str
    """The agent's role as its profile names it (`principal`, `librarian`, `expert`, ...)."""
    run_id: RunId
    turn: int
    model: ModelRef | None
    """None: whatever the daemon's default profile says."""
    system: str
    messages: SkipValidation[tuple[Message, ...]]
    """Not checked again: each is a checked value already, and there may be thousands."""
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    thinking: Literal["off", "low", "medium", "high"] = "off"


class TextDelta(Value):
    """A piece of answer text of part `index`."""

    type: Literal["text"] = "text"
    index: int
    text: str


class ReasoningDelta(Value):
    """A piece of reasoning of part `index`."""

    type: Literal["reasoning"] = "reasoning"
    index: int
    text: str


class ToolCallDelta(Value):
    """Progress of a tool call of part `index`; the finished call is in `ReplyFinished`."""

    type: Literal["tool_call"] = "tool_call"
    index: int
    name: str
    arguments_delta: str


class AttemptFailed(Value):
    """An attempt failed and another follows after `delay_s`. Attempts are state, not errors."""

    type: Literal["attempt_failed"] = "attempt_failed"
    attempt: int
    attempts_max: int
    delay_s: float
    reason: str


class ReplyFinished(Value):
    """The whole reply. The last item of every stream that does not raise."""

    type: Literal["finished"] = "finished"
    message: AssistantMessage
    stop_reason: StopReason
    usage: Usage
    model: ModelRef
    """The model that really answered."""
    cost_usd: Decimal | None
    """None: the price is not known."""


ModelEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | AttemptFailed | ReplyFinished
