"""The Chat Completions dialect: OpenAI, and what imitates it (Ollama, vLLM, OpenRouter, Gemini).

What servers do differently is tolerated: `max_completion_tokens` only at OpenAI itself; reasoning
under `reasoning_content` or `reasoning`; tool calls without an index, or with arguments as
an object; a reason of `stop` beside tool calls; usage in the last chunk, in every chunk or never.
`reasoning_details` (OpenRouter) and `extra_content` of a call (Gemini's thought signature) go back
verbatim, kept under `opaque["openai_chat"]`.

The end marker is a finish reason or `[DONE]`; usage may come between the two.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast
from urllib.parse import urlsplit

from brainpilot_rt.domain.messages import AssistantMessage, ReasoningPart
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
from brainpilot_rt.models.transcript import exchanges, wire_arguments_text, wire_name

DIALECT: Final = "openai_chat"

_STOPS: Final = {
    "stop": StopReason.END,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "length": StopReason.LENGTH,
    "content_filter": StopReason.REFUSAL,
}


def build(profile: ProviderProfile, model: str, request: ModelRequest) -> Call:
    """The HTTP request for one model call."""
    headers = {"authorization": f"Bearer {profile.api_key}"} if profile.api_key else {}
    base = profile.base_url.rstrip("/")
    if not urlsplit(base).path:
        base = f"{base}/v1"
    body = _body(profile, model, request)
    return Call(f"{base}/chat/completions", headers, body, (profile.api_key or "",))


def _body(profile: ProviderProfile, model: str, request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": list(_messages(request)),
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in request.tools
        ]
    max_tokens = request.max_tokens or profile.max_tokens
    if max_tokens:
        at_openai = (urlsplit(profile.base_url).hostname or "").endswith("openai.com")
        body["max_completion_tokens" if at_openai else "max_tokens"] = max_tokens
    if request.thinking != "off":
        body["reasoning_effort"] = request.thinking
    elif request.temperature is not None:
        body["temperature"] = request.temperature
    return body


def _messages(request: ModelRequest) -> Iterator[dict[str, Any]]:
    if request.system:
        yield {"role": "system", "content": request.system}
    for exchange in exchanges(request.messages):
        if exchange.reply:
            yield from _reply(exchange.reply)
        for result in exchange.results:
            content = f"Error: {result.content}" if result.is_error else result.content
            yield {"role": "tool", "tool_call_id": result.call_id, "content": content}
        if exchange.said:
            yield {"role": "user", "content": "\n\n".join(exchange.said)}


def _reply(reply: AssistantMessage) -> Iterator[dict[str, Any]]:
    kept: dict[str, Any] = {}
    for part in reply.parts:
        if isinstance(part, ReasoningPart):
            kept |= part.opaque.get(DIALECT, {})
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if "reasoning_details" in kept:
        message["reasoning_details"] = kept["reasoning_details"]
    extras = kept.get("extra_content", {})
    calls: list[dict[str, Any]] = []
    for position, call in enumerate(reply.tool_calls):
        wire: dict[str, Any] = {
            "id": call.call_id,
            "type": "function",
            "function": {"name": wire_name(call.name), "arguments": wire_arguments_text(call)},
        }
        if str(position) in extras:
            wire["extra_content"] = extras[str(position)]
        calls.append(wire)
    if calls:
        message["tool_calls"] = calls
    if calls or reply.text:
        yield message


class OpenAiChatFold:
    """Folds the chunks of one stream. Pure: the same chunks give the same reply."""

    def __init__(self, request: ModelRequest, ref: ModelRef, new_id: Callable[[], str]) -> None:
        self.done = False
        self._request = request
        self._ref = ref
        self._reply = PartialReply(request.messages, new_id)
        self._keys: list[str] = []
        self._details: list[Any] = []
        self._extras: dict[str, Any] = {}
        self._stop: str | None = None
        self._ended = False
        self._refused = False
        self._usage: object = None

    @property
    def complete(self) -> bool:
        """The reply is whole even if the stream ends here: only usage may be missing."""
        return self.done or self._ended

    def take(self, event: SseEvent) -> Iterable[ModelEvent | None]:
        """Our events for one chunk. Raises `ProviderFault`."""
        if event.data.strip() == "[DONE]":
            self.done = True
            return ()
        try:
            data: object = json.loads(event.data)
        except (ValueError, RecursionError):
            if event.name not in {"message", "error"}:
                return ()
            raise protocol("a chunk is not JSON", sample=event.data) from None
        if not isinstance(data, dict):
            raise protocol("a chunk is not an object", sample=event.data)
        chunk = cast("dict[str, Any]", data)
        if chunk.get("error") or event.name == "error":
            raise in_band(chunk.get("error") or chunk)
        self._usage = chunk.get("usage") or self._usage
        match chunk.get("choices"):
            case [{} as choice, *_]:
                return self._choice(cast("dict[str, Any]", choice))
            case _:
                return ()

    def finish(self) -> ReplyFinished:
        """The whole reply."""
        if self._details or self._extras:
            kept: dict[str, Any] = {}
            if self._details:
                kept["reasoning_details"] = self._details
            if self._extras:
                kept["extra_content"] = self._extras
            self._reply.keep(DIALECT, kept)
        message = self._reply.message()
        stop = _STOPS.get(self._stop or "", StopReason.END)
        return ReplyFinished(
            message=message,
            stop_reason=StopReason.REFUSAL if self._refused else settle_stop(stop, message),
            usage=_usage(self._usage) or estimate(self._request, message),
            model=self._ref,
            cost_usd=None,
        )

    def _choice(self, choice: dict[str, Any]) -> Iterator[ModelEvent | None]:
        delta: object = choice.get("delta")
        if isinstance(delta, dict):
            yield from self._delta(cast("dict[str, Any]", delta))
        reason = choice.get("finish_reason")
        if reason == "error":
            raise in_band(choice.get("error") or "the provider stopped with an error")
        if isinstance(reason, str) and reason:
            self._stop, self._ended = reason, True

    def _delta(self, delta: dict[str, Any]) -> Iterator[ModelEvent | None]:
        details: object = delta.get("reasoning_details")
        if isinstance(details, list):
            self._details += cast("list[Any]", details)
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str):
            yield self._reply.reasoning(thought)
        said = delta.get("content") or delta.get("refusal")
        if isinstance(said, str):
            self._refused = self._refused or bool(delta.get("refusal"))
            yield self._reply.text(said)
        calls: object = delta.get("tool_calls")
        for call in cast("list[object]", calls) if isinstance(calls, list) else []:
            if isinstance(call, dict):
                yield self._call(cast("dict[str, Any]", call))

    def _call(self, call: dict[str, Any]) -> ModelEvent | None:
        function: object = call.get("function")
        fields = cast("dict[str, Any]", function) if isinstance(function, dict) else {}
        key = self._key(call, fields)
        if call.get("extra_content"):
            self._extras[str(self._keys.index(key))] = call["extra_content"]
        arguments = fields.get("arguments")
        return self._reply.call(
            key,
            call_id=str(call.get("id") or ""),
            name=str(fields.get("name") or ""),
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        )

    def _key(self, call: dict[str, Any], function: dict[str, Any]) -> str:
        """Which call a fragment belongs to: by index, else by id, else a name begins a new one."""
        if call.get("index") is not None:
            key = f"index {call['index']}"
        elif call.get("id"):
            key = f"id {call['id']}"
        elif function.get("name") or not self._keys:
            key = f"number {len(self._keys)}"
        else:
            key = self._keys[-1]
        if key not in self._keys:
            self._keys.append(key)
        return key


def _usage(counts: object) -> Usage | None:
    """Their prompt count includes what came from the cache; ours does not. None: not usable."""
    sent = tokens(counts, "prompt_tokens", "input_tokens")
    said = tokens(counts, "completion_tokens", "output_tokens")
    if sent is None or said is None:
        return None
    fields = cast("dict[str, Any]", counts)
    cached = tokens(fields.get("prompt_tokens_details"), "cached_tokens")
    cached = min(cached or tokens(fields, "prompt_cache_hit_tokens") or 0, sent)
    return reported(Usage(input=sent - cached, output=said, cache_read=cached))
