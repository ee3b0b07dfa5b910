"""Responses as OpenAI's clients speak them: a chat completion in another form. Pure.

Text in and out, and the caller's own functions; nothing is stored, so an answer can be continued by
its id only where a session keeps the conversation: with an agent.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.model_calls import StopReason
from brainpilot_rt.server.wires.openai import MESSAGES_MAX, End, Json, call_json, usage_json

_CUT: Final = {StopReason.LENGTH: "max_output_tokens", StopReason.REFUSAL: "content_filter"}
_NOT_SPOKEN: Final = ("background", "conversation", "prompt", "include", "top_logprobs")


class ResponsesBody(BaseModel):
    """POST /v1/responses."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=300)]
    input: str | Annotated[list[Json], Field(min_length=1, max_length=MESSAGES_MAX)]
    instructions: str | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    previous_response_id: str | None = None
    text: Json | None = None

    def as_chat(self) -> Json:
        """The same as the body of a chat completion; `BadRequest` for what can not be done."""
        extra = self.model_extra or {}
        if named := next((name for name in _NOT_SPOKEN if extra.get(name)), ""):
            raise BadRequest(f"{named} is not supported here", code="unsupported_parameter")
        if any(one.get("type") != "function" for one in self.tools or ()):
            raise BadRequest("tools are functions of the caller here", code="unsupported_tool")
        given: list[Json] = (
            [{"role": "user", "content": self.input}]
            if isinstance(self.input, str)
            else [_message(one) for one in self.input]
        )
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        functions = [{"type": "function", "function": one} for one in self.tools or ()]
        return {
            "model": self.model,
            "messages": [*system, *given],
            "tools": functions or None,
            "tool_choice": self.tool_choice,
            "stream": self.stream,
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "response_format": (self.text or {}).get("format"),
        }


def _message(item: Json) -> Json:
    match item.get("type", "message"):
        case "message":
            return {"role": item.get("role"), "content": item.get("content")}
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments", "")}
            call = {"id": item.get("call_id"), "function": function}
            return {"role": "assistant", "tool_calls": [call]}
        case "function_call_output":
            said = {"content": item.get("output"), "tool_call_id": item.get("call_id")}
            return {"role": "tool", **said}
        case other:
            raise BadRequest(f"input of type {str(other)[:80]!r} is not read here")


class ResponsesWriter:
    """The JSON of one response, whole or in numbered events."""

    def __init__(self, answer_id: str, created_s: int, body: ResponsesBody) -> None:
        self._item = f"msg_{answer_id}"
        self._said = ""
        self._sent = 0
        self._head: Json = {
            "id": f"resp_{answer_id}",
            "object": "response",
            "created_at": created_s,
            "model": body.model,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": body.temperature,
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": None,
        }

    def whole(self, text: str, end: End) -> Json:
        """All of it."""
        usage = usage_json(end.usage, end.cost_usd)
        why = _CUT.get(end.stop)
        calls: list[Json] = [
            {
                "type": "function_call",
                "id": f"fc_{one.call_id}",
                "call_id": one.call_id,
                "status": "completed",
                **call_json(one)["function"],
            }
            for one in end.calls
        ]
        return self._head | {
            "status": "incomplete" if why else "completed",
            "incomplete_details": {"reason": why} if why else None,
            "output": [*([self._message(text)] if text else []), *calls],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
                "input_tokens_details": usage["prompt_tokens_details"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "cost": usage["cost"],
            },
        }

    def begin(self) -> list[Json]:
        """The first events."""
        empty: Json = self._head | {"status": "in_progress", "output": [], "usage": None}
        return [
            self._event("response.created", {"response": empty}),
            self._event("response.in_progress", {"response": empty}),
        ]

    def words(self, text: str) -> list[Json]:
        """More words."""
        made: list[Json] = []
        if not self._said:
            item: Json = self._message("", "in_progress") | {"content": []}
            made.append(
                self._event("response.output_item.added", {"output_index": 0, "item": item})
            )
            made.append(self._part("response.content_part.added", {"part": _text("")}))
        self._said += text
        delta: Json = {"delta": text, "logprobs": []}
        return [*made, self._part("response.output_text.delta", delta)]

    def end(self, end: End) -> list[Json]:
        """The last events."""
        made: list[Json] = []
        if self._said:
            done: Json = {"text": self._said, "logprobs": []}
            made.append(self._part("response.output_text.done", done))
            made.append(self._part("response.content_part.done", {"part": _text(self._said)}))
        whole = self.whole(self._said, end)
        items: list[Json] = whole["output"]
        for index, item in enumerate(items):
            place: Json = {"output_index": index, "item": item}
            if item["type"] == "function_call":
                made.append(self._event("response.output_item.added", place))
                said = {"item_id": item["id"], "output_index": index, "name": item["name"]}
                arguments = {"arguments": item["arguments"]}
                name = "response.function_call_arguments.done"
                made.append(self._event(name, said | arguments))
            made.append(self._event("response.output_item.done", place))
        kind: Literal["incomplete", "completed"] = whole["status"]
        return [*made, self._event(f"response.{kind}", {"response": whole})]

    def failed(self, error: Json) -> list[Json]:
        """The end of an answer that broke off."""
        said: Json = error["error"]
        why = {"code": said["code"], "message": said["message"]}
        return [self._event("error", why | {"param": None})]

    def _message(self, text: str, status: str = "completed") -> Json:
        said = {"type": "message", "id": self._item, "role": "assistant", "status": status}
        return said | {"content": [_text(text)]}

    def _part(self, name: str, body: Json) -> Json:
        place: Json = {"item_id": self._item, "output_index": 0, "content_index": 0}
        return self._event(name, place | body)

    def _event(self, name: str, body: Json) -> Json:
        self._sent += 1
        return {"type": name, "sequence_number": self._sent - 1, **body}


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
