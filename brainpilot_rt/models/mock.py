"""The mock model (`BP_MOCK=1`): BrainPilot's own stand-in, for its tests and its UI.

Each prompt is answered with "mock reply from <agent>" in pieces of eight characters and fixed token
counts. `[[tool:NAME {json}]]` in a prompt (the first one, on one line) calls that tool first;
`[[error]]` shows a failed attempt, then fails for good, without text.
"""

import json
import re
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, Final, cast

from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.messages import AssistantMessage, TextPart, UserMessage
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.offline import tool_call
from brainpilot_rt.models.offline_rules import Step
from brainpilot_rt.models.surrogates import mended_json

MOCK: Final = ModelRef(provider="mock", model="mock")

_DIRECTIVE: Final = re.compile(r"\[\[tool:(?P<name>[\w-]+)(?:\s+(?P<arguments>\{.*\}))?\s*\]\]")
_CHUNK_CHARS: Final = 8
_INPUT_TOKENS: Final = 10


async def stream(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    """Answer as BrainPilot's mock does."""
    prompt, called = _prompt(request)
    if "[[error]]" in prompt:
        reason = "mock provider error"
        yield AttemptFailed(attempt=1, attempts_max=1, delay_s=0.0, reason=reason)
        raise FatalFault(reason, code="mock_error")
    step = _directive(prompt)
    if step and not called:
        call = tool_call(request, step)
        yield ToolCallDelta(index=0, name=call.name, arguments_delta=call.raw_arguments)
        yield _finished(AssistantMessage(parts=(call,)), StopReason.TOOL_USE)
        return
    text = f"mock reply from {request.agent}"
    for start in range(0, len(text), _CHUNK_CHARS):
        yield TextDelta(index=0, text=text[start : start + _CHUNK_CHARS])
    yield _finished(AssistantMessage(parts=(TextPart(text=text),)), StopReason.END)


def _prompt(request: ModelRequest) -> tuple[str, bool]:
    """What was said since the last finished reply, and whether a tool was called since."""
    said: list[str] = []
    called = False
    for message in reversed(request.messages):
        if isinstance(message, UserMessage):
            said.append(message.text)
        elif isinstance(message, AssistantMessage):
            if not message.tool_calls:
                break
            called = True
    return "\n".join(reversed(said)), called


def _directive(prompt: str) -> Step | None:
    match = _DIRECTIVE.search(prompt)
    if match is None:
        return None
    try:
        arguments: object = json.loads(match["arguments"] or "{}")
    except ValueError:
        return None
    return Step(match["name"], mended_json(cast("dict[str, Any]", arguments)))


def _finished(message: AssistantMessage, stop: StopReason) -> ReplyFinished:
    return ReplyFinished(
        message=message,
        stop_reason=stop,
        usage=Usage(input=_INPUT_TOKENS, output=-(-len(message.text) // 4)),
        model=MOCK,
        cost_usd=Decimal(0),
    )
