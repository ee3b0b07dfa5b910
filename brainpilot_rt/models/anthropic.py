"""The Anthropic Messages dialect: a request in its form, its stream as our events.

Conversation: results of calls come first in the user turn after the reply that made them; text of
several letters is one user turn. Thinking blocks carry a signature and go back verbatim, kept under
`opaque["anthropic"]`. The system text and the newest turn are marked for the prompt cache.

Stream: `message_start`, blocks (`text`, `thinking`, `redacted_thinking`, `tool_use`) as start,
deltas and stop, `message_delta` with the stop reason and usage, `message_stop` as the end marker;
`error` inside the stream is a fault; everything unknown is ignored.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from brainpilot_rt.domain.messages import AssistantMessage, ReasoningPart, TextPart
from brainpilot_rt.domain.model_calls import (
    ModelEvent,
    ModelRef,
    ModelRequest,
    ReplyFinished,
    StopReason,
)
from brainpilot_rt.domain.usage import Usage
from brainpilot_rt.models.conversation import Call
from brainpilot_rt.models.estimates import estimate
from brainpilot_rt.models.faults import in_band, protocol
from brainpilot_rt.models.partial import PartialReply, reported, settle_stop, tokens
from brainpilot_rt.models.providers import ProviderProfile
from brainpilot_rt.models.sse import SseEvent
from brainpilot_rt.models.transcript import exchanges, wire_arguments, wire_name

DIALECT: Final = "anthropic"
MAX_TOKENS: Final = 8192
"""Output tokens when nobody says; the API demands a number. As BrainPilot's default."""
THINKING_TOKENS: Final = {"low": 2048, "medium": 8192, "high": 16384}

_VERSION: Final = "2023-06-01"
# From 4.6 on the model divides its thinking itself; later ones refuse a token budget.
_ADAPTIVE: Final = re.compile(r"claude-[a-z]+-(?:4-[6-9]|[5-9])")
_EVENTS: Final = frozenset(
    {
        "message",
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "error",
    }
)
_CACHED: Final = {"type": "ephemeral"}
_STOPS: Final = {
    "end_turn": StopReason.END,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "refusal": StopReason.REFUSAL,
    "stop_sequence": StopReason.STOP_SEQUENCE,
}


def build(profile: ProviderProfile, model: str, request: ModelRequest) -> Call:
    """The HTTP request for one model call."""
    headers = {"anthropic-version": _VERSION}
    if profile.api_key:
        headers["x-api-key"] = profile.api_key
    base = profile.base_url.rstrip("/")
    url = f"{base}/messages" if base.endswith("/v1") else f"{base}/v1/messages"
    return Call(url, headers, _body(profile, model, request), (profile.api_key or "",))


def _body(profile: ProviderProfile, model: str, request: ModelRequest) -> dict[str, Any]:
    max_tokens = request.max_tokens or profile.max_tokens or MAX_TOKENS
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "max_tokens": max_tokens,
        "messages": _turns(request),
    }
    if request.system:
        body["system"] = [{"type": "text", "text": request.system, "cache_control": _CACHED}]
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
    if request.thinking == "off":
        if request.temperature is not None:
            body["temperature"] = request.temperature
    elif _ADAPTIVE.match(model):
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": request.thinking}
    else:
        budget = THINKING_TOKENS[request.thinking]
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        body["max_tokens"] = max(max_tokens, budget + MAX_TOKENS)
    return body


def _turns(request: ModelRequest) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for exchange in exchanges(request.messages):
        blocks = _reply_blocks(exchange.reply) if exchange.reply else []
        if blocks:
            if not turns:
                turns.append({"role": "user", "content": [_text("(earlier turns are left out)")]})
            turns.append({"role": "assistant", "content": blocks})
        content: list[dict[str, Any]] = [
            {
                "type": "tool_result",
                "tool_use_id": wire_name(result.call_id),
                "content": result.content or "(no output)",
                "is_error": result.is_error,
            }
            for result in exchange.results
        ]
        content += [_text(said) for said in exchange.said]
        if content:
            _add_user(turns, content)
    if turns and turns[-1]["role"] == "user":
        turns[-1]["content"][-1]["cache_control"] = _CACHED
    return turns


def _add_user(turns: list[dict[str, Any]], content: list[dict[str, Any]]) -> None:
    if turns and turns[-1]["role"] == "user":
        turns[-1]["content"] += content
    else:
        turns.append({"role": "user", "content": content})


def _reply_blocks(reply: AssistantMessage) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in reply.parts:
        if isinstance(part, ReasoningPart):
            if DIALECT in part.opaque:
                blocks.append(part.opaque[DIALECT])
        elif isinstance(part, TextPart):
            if part.text.strip():
                blocks.append(_text(part.text))
        else:
            blocks.append(
                {
                    "type": "tool_use",
                    "id": wire_name(part.call_id),
                    "name": wire_name(part.name),
                    "input": wire_arguments(part),
                }
            )
    return blocks


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


class AnthropicFold:
    """Folds the events of one stream. Pure: the same events give the same reply."""

    def __init__(self, request: ModelRequest, ref: ModelRef, new_id: Callable[[], str]) -> None:
        self.done = False
        self._request = request
        self._ref = ref
        self._reply = PartialReply(request.messages, new_id)
        self._block: dict[str, Any] = {}
        self._stop: str | None = None
        self._counts: dict[str, int] = {}
        self._bad_count = False

    @property
    def complete(self) -> bool:
        """The reply is whole: the end marker came."""
        return self.done

    def take(self, event: SseEvent) -> Iterable[ModelEvent | None]:
        """Our events for one of theirs. Raises `ProviderFault`."""
        if event.name not in _EVENTS:
            return ()
        try:
            data: object = json.loads(event.data)
        except (ValueError, RecursionError):
            raise protocol("an event is not JSON", sample=event.data) from None
        if not isinstance(data, dict):
            raise protocol("an event is not an object", sample=event.data)
        return self._take(cast("dict[str, Any]", data))

    def finish(self) -> ReplyFinished:
        """The whole reply."""
        message = self._reply.message()
        counts = self._counts
        usage = Usage(
            input=counts.get("input", 0),
            output=counts.get("output", 0),
            cache_read=counts.get("cache_read", 0),
            cache_write=counts.get("cache_write", 0),
        )
        known = None if self._bad_count else reported(usage)
        return ReplyFinished(
            message=message,
            stop_reason=settle_stop(_STOPS.get(self._stop or "", StopReason.END), message),
            usage=known or estimate(self._request, message),
            model=self._ref,
            cost_usd=None,
        )

    def _take(self, data: dict[str, Any]) -> Iterable[ModelEvent | None]:
        match data:
            case {"type": "content_block_delta", "delta": {"type": str(kind)} as delta}:
                return [self._delta(kind, cast("dict[str, Any]", delta), data.get("index"))]
            case {"type": "content_block_start", "content_block": {"type": str()} as block}:
                return [self._start(cast("dict[str, Any]", block), data.get("index"))]
            case {"type": "content_block_stop"}:
                self._keep_thinking()
            case {"type": "message_start", "message": {"usage": usage}}:
                self._count(usage)
            case {"type": "message_delta"}:
                self._count(data.get("usage"))
                delta: object = data.get("delta")
                if isinstance(delta, dict):
                    self._stop = cast("dict[str, Any]", delta).get("stop_reason") or self._stop
            case {"type": "message_stop"}:
                self.done = True
            case {"type": "error"}:
                raise in_band(data.get("error"))
            case _:
                pass
        return ()

    def _start(self, block: dict[str, Any], key: object) -> ModelEvent | None:
        self._block = block
        match block["type"]:
            case "text":
                return self._reply.text(str(block.get("text") or ""))
            case "thinking":
                self._block = {"type": "thinking", "thinking": "", "signature": ""}
                self._reply.open_reasoning()
            case "redacted_thinking":
                self._reply.open_reasoning()
                self._reply.keep(DIALECT, block)
            case "tool_use":
                given = block.get("input")
                return self._reply.call(
                    str(key),
                    call_id=str(block.get("id") or ""),
                    name=str(block.get("name") or ""),
                    arguments=json.dumps(given) if given else "",
                )
            case _:
                pass
        return None

    def _delta(self, kind: str, delta: dict[str, Any], key: object) -> ModelEvent | None:
        match kind:
            case "text_delta":
                return self._reply.text(str(delta.get("text") or ""))
            case "input_json_delta":
                chunk = str(delta.get("partial_json") or "")
                return self._reply.call(str(key), call_id="", name="", arguments=chunk)
            case "thinking_delta":
                chunk = str(delta.get("thinking") or "")
                self._block["thinking"] = self._block.get("thinking", "") + chunk
                return self._reply.reasoning(chunk)
            case "signature_delta":
                signature = str(delta.get("signature") or "")
                self._block["signature"] = self._block.get("signature", "") + signature
            case _:
                pass
        return None

    def _keep_thinking(self) -> None:
        if self._block.get("type") == "thinking" and self._block.get("signature"):
            self._reply.keep(DIALECT, self._block)
        self._block = {}

    def _count(self, usage: object) -> None:
        """Counters are cumulative: a later one replaces an earlier, unless it counts nothing."""
        if not isinstance(usage, dict):
            return
        fields = cast("dict[str, Any]", usage)
        for ours, theirs in (
            ("input", "input_tokens"),
            ("output", "output_tokens"),
            ("cache_read", "cache_read_input_tokens"),
            ("cache_write", "cache_creation_input_tokens"),
        ):
            if fields.get(theirs) is not None:
                value = tokens(fields, theirs)
                self._bad_count = self._bad_count or value is None
                self._counts[ours] = value or self._counts.get(ours, 0)
