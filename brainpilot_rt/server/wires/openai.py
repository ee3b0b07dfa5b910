"""Chat completions as OpenAI's clients speak them: requests to values, values to JSON. Pure.

What a request asks for and nobody here can do is refused with its name; hints about sampling that
no dialect of ours carries (`top_p`, `seed`, penalties) are taken and have no effect.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    AssistantPart,
    Message,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import StopReason
from brainpilot_rt.domain.usage import NO_USAGE, Usage

Json: TypeAlias = dict[str, Any]

MESSAGES_MAX: Final = 2_000
_FINISH: Final[Mapping[StopReason, str]] = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.TOOL_USE: "tool_calls",
    StopReason.LENGTH: "length",
    StopReason.REFUSAL: "content_filter",
}
_NOT_SPOKEN: Final = ("audio", "functions", "function_call", "logit_bias", "prediction", "stop")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StreamOptions(_Part):
    """What a stream ends with."""

    include_usage: bool = False


class Function(_Part):
    """A function a caller offers."""

    name: str
    description: str | None = None
    parameters: Json | None = None


class OfferedTool(_Part):
    """A tool a caller offers."""

    type: Literal["function"]
    function: Function


class CalledFunction(_Part):
    """A call as an earlier answer made it."""

    name: str
    arguments: str = ""


class Called(_Part):
    """The same with its id."""

    id: str
    function: CalledFunction


class ChatMessage(_Part):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Its words; `BadRequest` for pictures, sounds and files."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(_words(one) for one in self.content)


class Route(_Part):
    """Which models may answer."""

    models: tuple[str, ...] = ()
    providers: Annotated[tuple[str, ...], Field(alias="providerAllow")] = ()
    cost_max_usd: Annotated[Decimal | None, Field(alias="maxCostPerRequest", ge=0)] = None


class ChatBody(_Part):
    """POST /v1/chat/completions."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=300)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)]
    tools: Annotated[list[OfferedTool], Field(max_length=128)] | None = None
    tool_choice: str | Json | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    n: int | None = None
    logprobs: bool | None = None
    response_format: Json | None = None
    modalities: list[str] | None = None
    route: Route | None = None

    @property
    def offered(self) -> list[Function]:
        """The tools, unless none may be called."""
        return [] if self.tool_choice == "none" else [one.function for one in self.tools or ()]

    def check(self) -> None:
        """`BadRequest` for what can not be done here."""
        extra = self.model_extra or {}
        wrong = {
            "n": self.n not in (None, 1),
            "logprobs": bool(self.logprobs) or bool(extra.get("top_logprobs")),
            "tool_choice": self.tool_choice not in (None, "auto", "none"),
            "response_format": (self.response_format or {}).get("type", "text") != "text",
            "modalities": bool(self.modalities) and self.modalities != ["text"],
        } | {name: bool(extra.get(name)) for name in _NOT_SPOKEN}
        if named := next((name for name, is_wrong in wrong.items() if is_wrong), ""):
            raise BadRequest(
                f"{named} as given is not supported: one answer in words or calls of your own "
                "tools is what can be had here",
                code="unsupported_parameter",
            )


def conversation(messages: Sequence[ChatMessage]) -> tuple[str, tuple[Message, ...]]:
    """System prompt and conversation. `BadRequest` for a result that answers no call."""
    system = [one.text for one in messages if one.role in ("system", "developer")]
    names: dict[str, str] = {}
    read: list[Message] = []
    for one in messages:
        match one.role:
            case "user":
                read.append(UserMessage(text=one.text))
            case "assistant":
                calls = one.tool_calls or []
                names |= {call.id: call.function.name for call in calls}
                parts: list[AssistantPart] = [TextPart(text=one.text)] if one.text else []
                read.append(AssistantMessage(parts=(*parts, *map(_call, calls))))
            case "tool":
                called = one.tool_call_id or ""
                if called not in names:
                    raise BadRequest(f"tool_call_id {called[:80]!r} answers no call before it")
                read.append(
                    ToolResultMessage(call_id=CallId(called), name=names[called], content=one.text)
                )
            case _:
                pass
    if not read:
        raise BadRequest("there is nothing to answer: no message of a user")
    return "\n\n".join(system), tuple(read)


def results(messages: Sequence[ChatMessage]) -> dict[str, str]:
    """Results that end a conversation: call id -> content. Empty when it ends otherwise."""
    found: dict[str, str] = {}
    for one in reversed(messages):
        if one.role != "tool":
            break
        found[one.tool_call_id or ""] = one.text
    return dict(reversed(found.items()))


def opening(messages: Sequence[ChatMessage], *, fresh: bool) -> str:
    """What an agent is told: the last message; to one that knows nothing yet, all before it too."""
    last = messages[-1]
    if last.role != "user" or not last.text.strip():
        raise BadRequest("the last message has to be a user's, with words in it")
    before = [one for one in messages[:-1] if one.text.strip()] if fresh else []
    if not before:
        return last.text
    said = "\n\n".join(f"{one.role}: {one.text}" for one in before)
    return f"What was said before:\n\n{said}\n\nNow:\n\n{last.text}"


# --- answers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why and with what an answer ended."""

    stop: StopReason
    calls: tuple[ToolCall, ...] = ()
    """Calls the caller is to run."""
    usage: Usage = NO_USAGE
    cost_usd: Decimal | None = Decimal(0)


Piece: TypeAlias = str | End
"""Words, and at last how they ended."""


def call_json(call: ToolCall, index: int | None = None) -> Json:
    """A call of the caller's own tool."""
    arguments = call.raw_arguments if call.arguments is None else json.dumps(call.arguments)
    body: Json = {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
    return body if index is None else {"index": index} | body


def usage_json(usage: Usage, cost_usd: Decimal | None) -> Json:
    """Tokens as OpenAI counts them, and US dollars (null: the price is not known)."""
    read = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": read,
        "completion_tokens": usage.output,
        "total_tokens": read + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "cost": None if cost_usd is None else float(cost_usd),
    }


class ChatWriter:
    """The JSON of one chat completion, whole or in pieces."""

    def __init__(self, answer_id: str, created_s: int, model: str, *, usage: bool = False) -> None:
        """`usage`: whether the pieces end with what it took."""
        self._head: Json = {"id": f"chatcmpl-{answer_id}", "created": created_s, "model": model}
        self._usage = usage

    def whole(self, text: str, end: End) -> Json:
        """All of it."""
        message: Json = {"role": "assistant", "content": text or None, "refusal": None}
        if end.calls:
            message["tool_calls"] = [call_json(one) for one in end.calls]
        choice = {"index": 0, "message": message, "finish_reason": _reason(end), "logprobs": None}
        usage = usage_json(end.usage, end.cost_usd)
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": usage}

    def begin(self) -> list[Json]:
        """The first piece."""
        return [self._piece({"role": "assistant", "content": ""})]

    def words(self, text: str) -> list[Json]:
        """More words."""
        return [self._piece({"content": text})]

    def end(self, end: End) -> list[Json]:
        """The last pieces."""
        made: list[Json] = []
        if end.calls:
            calls = [call_json(one, n) for n, one in enumerate(end.calls)]
            made.append(self._piece({"tool_calls": calls}))
        made.append(self._piece({}, _reason(end)))
        if self._usage:
            usage = usage_json(end.usage, end.cost_usd)
            piece: Json = {"object": "chat.completion.chunk", "choices": [], "usage": usage}
            made.append(self._head | piece)
        return made

    def failed(self, error: Json) -> list[Json]:
        """The end of an answer that broke off."""
        return [error]

    def _piece(self, delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return self._head | {"object": "chat.completion.chunk", "choices": [choice]}


def _reason(end: End) -> str:
    return "tool_calls" if end.calls else _FINISH[end.stop]


def _words(part: Json) -> str:
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text"):
        return str(part.get("text", ""))
    raise BadRequest(f"content of type {kind!r} is not read here: text only", code="unsupported")


def _call(called: Called) -> ToolCall:
    raw = called.function.arguments
    try:
        parsed: object = json.loads(raw or "{}")
    except ValueError:
        parsed = None
    return ToolCall(
        call_id=CallId(called.id),
        name=called.function.name,
        arguments=parsed if isinstance(parsed, dict) else None,  # pyright: ignore[reportUnknownArgumentType] - JSON has text keys
        raw_arguments=raw,
    )
