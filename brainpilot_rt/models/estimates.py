"""Token counts when nobody reported any: characters divided by four, always marked as estimates."""

import json
from typing import Final

from brainpilot_rt.domain.messages import AssistantMessage, Message, ReasoningPart, TextPart
from brainpilot_rt.domain.model_calls import ModelRef, ModelRequest
from brainpilot_rt.domain.usage import Usage

CHARS_PER_TOKEN: Final = 4
"""Too high for Chinese and too low for prose; near enough for a number marked as an estimate."""
TOKENS_PER_MESSAGE: Final = 4
OUTPUT_START: Final = 500
"""Output tokens expected of a model nobody has heard."""
OUTPUT_WEIGHT: Final = 0.1
"""Of the newest reply in the moving average of output tokens."""


def estimate(request: ModelRequest, message: AssistantMessage) -> Usage:
    """What a call probably cost in tokens."""
    return Usage(input=_tokens(_sent(request)), output=_tokens(_chars(message)), estimated=True)


class Expected:
    """What calls will probably take, before they are made: output is learnt, model by model."""

    def __init__(self) -> None:
        self._output: dict[ModelRef, float] = {}

    def before(self, request: ModelRequest, model: ModelRef | None = None) -> Usage:
        """Of a call that is to be made; `model` instead of the request's."""
        asked = model or request.model
        output = self._output.get(asked, OUTPUT_START) if asked else OUTPUT_START
        most = request.max_tokens or round(output)
        taken = _tokens(_sent(request)) + TOKENS_PER_MESSAGE * len(request.messages)
        return Usage(input=taken, output=min(round(output), most), estimated=True)

    def heard(self, request: ModelRequest, chars: int) -> Usage:
        """Of a call that was cut after so many characters of its reply."""
        taken = _tokens(_sent(request)) + TOKENS_PER_MESSAGE * len(request.messages)
        return Usage(input=taken, output=_tokens(chars), estimated=True)

    def learn(self, model: ModelRef, output: int) -> None:
        """A reply had so many tokens."""
        known = self._output.get(model)
        self._output[model] = (
            float(output) if known is None else known + OUTPUT_WEIGHT * (output - known)
        )


def _sent(request: ModelRequest) -> int:
    sent = len(request.system) + sum(_chars(each) for each in request.messages)
    return sent + sum(
        len(tool.name) + len(tool.description) + len(json.dumps(tool.parameters))
        for tool in request.tools
    )


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
