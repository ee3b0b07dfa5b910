"""The offline model: the model port served by rules, so that a team works without any model (D15).

It is deterministic, costs nothing, reads only the request, and says in its answers that it is not a
language model. The rules are in `offline_rules`, what they can do with text in `extraction`. Its
token counts are estimates (characters / 4), marked as such.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from typing import Final

from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import AssistantMessage, AssistantPart, TextPart, ToolCall
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from brainpilot_rt.models.estimates import estimate
from brainpilot_rt.models.offline_rules import Step
from brainpilot_rt.models.offline_thinking import decide

OFFLINE: Final = ModelRef(provider="offline", model="offline")

_WORD: Final = re.compile(r"\s*\S+\s*")
_CHUNKS_PER_BREATH: Final = 16


async def stream(request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    """Answer a request by rule: text in pieces of a word, then at most one tool call."""
    decision = decide(request)
    parts: list[AssistantPart] = []
    if decision.text:
        parts.append(TextPart(text=decision.text))
        for count, chunk in enumerate(_words(decision.text)):
            yield TextDelta(index=0, text=chunk)
            if count % _CHUNKS_PER_BREATH == 0:
                await asyncio.sleep(0)
    if decision.step:
        call = tool_call(request, decision.step)
        yield ToolCallDelta(index=len(parts), name=call.name, arguments_delta=call.raw_arguments)
        parts.append(call)
    message = AssistantMessage(parts=tuple(parts))
    yield ReplyFinished(
        message=message,
        stop_reason=StopReason.TOOL_USE if decision.step else StopReason.END,
        usage=estimate(request, message),
        model=OFFLINE,
        cost_usd=Decimal(0),
    )


def tool_call(request: ModelRequest, step: Step) -> ToolCall:
    """A call whose id follows from the run and the turn, so that a replay names it the same."""
    return ToolCall(
        call_id=CallId(f"call_{request.run_id}_{request.turn}"),
        name=step.tool,
        arguments=step.arguments,
        raw_arguments=json.dumps(step.arguments, ensure_ascii=False),
    )


def _words(text: str) -> Iterator[str]:
    """Pieces of about a word; joined they are the text."""
    return (match[0] for match in _WORD.finditer(text))
