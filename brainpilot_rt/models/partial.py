"""A reply while it grows: both dialects fold their wire events into one of these.

Deltas come out, parts pile up in the order of their first delta. A delta of a part that is no
longer the last one (parallel tool calls sent interleaved) is kept and not shown, so that what is
shown stays contiguous. Bounded: `CALLS_MAX` calls, `OUTPUT_CHARS_MAX` characters.
"""

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NoReturn, cast

from brainpilot_rt.domain.errors import FatalFault
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
)
from brainpilot_rt.domain.model_calls import ReasoningDelta, StopReason, TextDelta, ToolCallDelta
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.surrogates import Halves, mended, mended_json

CALLS_MAX: Final = 200
OUTPUT_CHARS_MAX: Final = 8 * 1024 * 1024
CALL_ID_CHARS_MIN: Final = 9
"""A shorter id is a counter, which another agent of the session may use as well."""
CALL_ID_CHARS_MAX: Final = 128


@dataclass(slots=True)
class _Part:
    kind: Literal["text", "reasoning", "tool_call"]
    index: int
    chunks: list[str] = field(default_factory=list[str])
    name: str = ""
    call_id: CallId | None = None
    opaque: dict[str, Any] = field(default_factory=dict[str, Any])


class PartialReply:
    """The parts so far. Keys are the dialect's own way of telling its blocks apart."""

    def __init__(self, messages: tuple[Message, ...], new_id: Callable[[], str]) -> None:
        self._parts: list[_Part] = []
        self._by_key: dict[Hashable, _Part] = {}
        self._new_id = new_id
        self._chars = 0
        self._halves = Halves()
        # Ids of the session so far: a provider may count from zero again in every reply.
        self._taken = {
            call.call_id
            for message in messages
            if isinstance(message, AssistantMessage)
            for call in message.tool_calls
        }

    @property
    def calls(self) -> int:
        """How many tool calls there are."""
        return sum(part.kind == "tool_call" for part in self._parts)

    def text(self, chunk: str) -> TextDelta | None:
        """Add answer text; it continues the last part when that is text."""
        chunk = self._halves.take(chunk)
        if not chunk:
            return None
        part = self._last("text")
        self._grow(part, chunk)
        return TextDelta(index=part.index, text=chunk)

    def reasoning(self, chunk: str) -> ReasoningDelta | None:
        """Add reasoning; it continues the last part when that is reasoning."""
        chunk = self._halves.take(chunk)
        if not chunk:
            return None
        part = self._last("reasoning")
        self._grow(part, chunk)
        return ReasoningDelta(index=part.index, text=chunk)

    def open_reasoning(self) -> None:
        """Begin a new block of reasoning even if the last part is one."""
        self._parts.append(_Part("reasoning", len(self._parts)))

    def keep(self, dialect: str, data: dict[str, Any]) -> None:
        """Keep what the provider wants back unchanged, with the last reasoning part."""
        part = next((p for p in reversed(self._parts) if p.kind == "reasoning"), None)
        (part or self._last("reasoning")).opaque[dialect] = mended_json(data)

    def call(
        self, key: Hashable, *, call_id: str, name: str, arguments: str
    ) -> ToolCallDelta | None:
        """Begin or continue the tool call known by `key`."""
        part = self._by_key.get(key)
        if part is None:
            if self.calls >= CALLS_MAX:
                self._overflow(f"more than {CALLS_MAX} tool calls")
            part = _Part("tool_call", len(self._parts), call_id=self._unique(call_id))
            self._by_key[key] = part
            self._parts.append(part)
        part.name = part.name or name
        self._grow(part, arguments)
        if part is not self._parts[-1] or not part.name:
            return None
        return ToolCallDelta(index=part.index, name=part.name, arguments_delta=arguments)

    def message(self) -> AssistantMessage:
        """The whole reply."""
        return AssistantMessage(parts=tuple(_finished(part) for part in self._parts))

    def _last(self, kind: Literal["text", "reasoning"]) -> _Part:
        if not self._parts or self._parts[-1].kind != kind:
            self._parts.append(_Part(kind, len(self._parts)))
        return self._parts[-1]

    def _grow(self, part: _Part, chunk: str) -> None:
        self._chars += len(chunk)
        if self._chars > OUTPUT_CHARS_MAX:
            self._overflow(f"more than {OUTPUT_CHARS_MAX} characters")
        part.chunks.append(chunk)

    def _overflow(self, what: str) -> NoReturn:
        raise FatalFault(f"the model's reply has {what}", code="output_limit")

    def _unique(self, wanted: str) -> CallId:
        call_id = CallId(wanted)
        fits = CALL_ID_CHARS_MIN <= len(wanted) <= CALL_ID_CHARS_MAX
        if not fits or call_id in self._taken:
            call_id = CallId(f"call_{self._new_id()}")
        self._taken.add(call_id)
        return call_id


def settle_stop(stop: StopReason, message: AssistantMessage) -> StopReason:
    """Servers disagree on the reason beside tool calls; the calls themselves decide."""
    if message.tool_calls and stop is StopReason.END:
        return StopReason.TOOL_USE
    if not message.tool_calls and stop is StopReason.TOOL_USE:
        return StopReason.END
    return stop


def tokens(counts: object, *names: str) -> int | None:
    """The first of these counters that is there; None when none is, or it is no count."""
    if isinstance(counts, dict):
        fields = cast("dict[str, Any]", counts)
        for name in names:
            value = fields.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
    return None


def reported(usage: Usage) -> Usage | None:
    """The usage, or None when it counts nothing: a reply without any token was not counted."""
    return usage if usage.total else None


def _finished(part: _Part) -> AssistantPart:
    text = mended("".join(part.chunks))
    match part.kind:
        case "text":
            return TextPart(text=text)
        case "reasoning":
            return ReasoningPart(text=text, opaque=part.opaque)
        case "tool_call":
            return ToolCall(
                call_id=part.call_id or CallId(""),
                name=mended(part.name) or "unnamed",
                arguments=_arguments(text),
                raw_arguments=text,
            )


def _arguments(raw: str) -> dict[str, Any] | None:
    """The JSON object in `raw`; nothing at all means no arguments; None for anything else."""
    if not raw.strip():
        return {}
    try:
        value: object = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return mended_json(cast("dict[str, Any]", value)) if isinstance(value, dict) else None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
