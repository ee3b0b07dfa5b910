"""Chat messages: what a model reads and says. A *letter* is something else (`letters.py`).

An assistant message is a list of parts in the order the model produced them. Provider-opaque data
(thinking signatures) travels verbatim in `opaque`, keyed by dialect, so that the next call to the
same dialect can return it.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.values import Value


class TextPart(Value):
    """Plain text."""

    type: Literal["text"] = "text"
    text: str


class ReasoningPart(Value):
    """The model's visible reasoning; `opaque` is what its provider wants back unchanged."""

    type: Literal["reasoning"] = "reasoning"
    text: str
    opaque: dict[str, Any] = Field(default_factory=dict)


class ToolCall(Value):
    """One call the model asked for.

    `arguments` is None when `raw_arguments` was not a JSON object.
    """

    type: Literal["tool_call"] = "tool_call"
    call_id: CallId
    name: str
    arguments: dict[str, Any] | None
    raw_arguments: str = ""


AssistantPart: TypeAlias = Annotated[
    TextPart | ReasoningPart | ToolCall, Field(discriminator="type")
]


class UserMessage(Value):
    """Something said to the agent: a user's words or letters, already fenced and labelled."""

    role: Literal["user"] = "user"
    text: str


class AssistantMessage(Value):
    """One model reply."""

    role: Literal["assistant"] = "assistant"
    parts: tuple[AssistantPart, ...]

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class ToolResultMessage(Value):
    """The one result of one tool call."""

    role: Literal["tool"] = "tool"
    call_id: CallId
    name: str
    content: str
    is_error: bool = False


Message: TypeAlias = Annotated[
    UserMessage | AssistantMessage | ToolResultMessage, Field(discriminator="role")
]


def message_chars(message: Message) -> int:
    """Characters a provider is sent for a message, near enough."""
    match message:
        case UserMessage(text=text):
            return len(text)
        case ToolResultMessage(content=content):
            return len(content)
        case AssistantMessage(parts=parts):
            return sum(map(_part_size, parts))


def _part_size(part: TextPart | ReasoningPart | ToolCall) -> int:
    match part:
        case ToolCall():
            return len(part.name) + len(part.raw_arguments or str(part.arguments))
        case TextPart() | ReasoningPart():
            return len(part.text)
