"""Token counts when nobody reported any: characters divided by four, always marked as estimates."""

import json
from typing import Final

from brainpilot_rt.domain.messages import AssistantMessage, Message, ReasoningPart, TextPart
from brainpilot_rt.domain.model_calls import ModelRequest
from brainpilot_rt.domain.usage import Usage

CHARS_PER_TOKEN: Final = 4
"""Too high for Chinese and too low for prose; near enough for a number marked as an estimate."""


def estimate(request: ModelRequest, message: AssistantMessage) -> Usage:
    """What a call probably cost in tokens."""
    sent = len(request.system) + sum(_chars(each) for each in request.messages)
    sent += sum(
        len(tool.name) + len(tool.description) + len(json.dumps(tool.parameters))
        for tool in request.tools
    )
    return Usage(input=_tokens(sent), output=_tokens(_chars(message)), estimated=True)


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)


def _chars(message: Message) -> int:
    match message.role:
        case "user":
            return len(message.text)
        case "tool":
            return len(message.content)
        case "assistant":
            return sum(
                len(part.text)
                if isinstance(part, TextPart | ReasoningPart)
                else len(part.name) + len(part.raw_arguments)
                for part in message.parts
            )
