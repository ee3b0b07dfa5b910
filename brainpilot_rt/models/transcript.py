"""A conversation made fit for any wire: every tool call is followed by exactly one result.

Providers refuse a conversation in which a call has no result or a result has no call. The log
keeps that order, but a compaction may have cut between the two; a result that is missing is then
said to be missing.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

_NAME_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_-]")
_NAME_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """One reply (None at the very start), its results in call order, what was said then."""

    reply: AssistantMessage | None
    results: tuple[ToolResultMessage, ...]
    said: tuple[str, ...]


def exchanges(messages: tuple[Message, ...]) -> Iterator[Exchange]:
    """Cut a conversation after each reply and pair its calls with their results."""
    reply: AssistantMessage | None = None
    results: dict[str, ToolResultMessage] = {}
    said: list[str] = []
    for message in messages:
        match message:
            case AssistantMessage():
                if reply or said:
                    yield Exchange(reply, _pair(reply, results), tuple(said))
                reply, results, said = message, {}, []
            case ToolResultMessage():
                results.setdefault(message.call_id, message)
            case UserMessage():
                if message.text.strip():
                    said.append(message.text)
    yield Exchange(reply, _pair(reply, results), tuple(said))


def wire_name(name: str) -> str:
    """A tool name or call id that every provider accepts in a conversation."""
    return _NAME_FORBIDDEN.sub("_", name)[:_NAME_CHARS_MAX] or "unnamed"


def wire_arguments(call: ToolCall) -> dict[str, object]:
    """The arguments as an object; what was not one is shown as text."""
    return {"raw": call.raw_arguments} if call.arguments is None else call.arguments


def wire_arguments_text(call: ToolCall) -> str:
    """The arguments as JSON text."""
    return json.dumps(wire_arguments(call), ensure_ascii=False)


def _pair(
    reply: AssistantMessage | None, results: dict[str, ToolResultMessage]
) -> tuple[ToolResultMessage, ...]:
    if reply is None:
        return ()
    return tuple(
        results.get(call.call_id)
        or ToolResultMessage(
            call_id=call.call_id,
            name=call.name,
            content="No result of this call was recorded.",
            is_error=True,
        )
        for call in reply.tool_calls
    )
