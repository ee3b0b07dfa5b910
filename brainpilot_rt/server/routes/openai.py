"""OpenAI-compatible routes: the models there are, and chat completions by a model or by an agent.

A model's name, or `auto`, is one governed call with the caller's own conversation and tools. An
agent's name is a run of that agent in a session of ours: the caller's tools are offered beside the
agent's own, and their calls come back like any model's. The id of such a call names its session, so
that whoever brings its result needs nothing else.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import (
    BadRequest,
    Conflict,
    FatalFault,
    NotFound,
    RetryableFault,
    RuntimeFault,
)
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import NAME, PRINCIPAL, UUID, AgentName, SessionId
from brainpilot_rt.domain.model_calls import ReplyFinished, StopReason, TextDelta
from brainpilot_rt.server.bodies import parse, sent
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.idempotency import json_response, unrecorded
from brainpilot_rt.server.ports import Backend, NewSession
from brainpilot_rt.server.problems import status_of
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.stream import EventStream
from brainpilot_rt.server.talk import Talk, named_calls, session_of_calls
from brainpilot_rt.server.tracks import encode
from brainpilot_rt.server.wires import openai as wire
from brainpilot_rt.server.wires.openai import ChatBody, ChatWriter, End, Json, Piece
from brainpilot_rt.server.wires.openai_headers import headers_of, model_json, money_of, one_line
from brainpilot_rt.server.wires.openai_responses import ResponsesBody, ResponsesWriter
from brainpilot_rt.supervision.client_tools import BUILT_IN, ClientTool, described, spec_of
from brainpilot_rt.supervision.completions import Asked, Completion

_DONE: Final = b"data: [DONE]\n\n"
_REFUSALS: Final = {
    "budget_exhausted": 402,
    "budget_exceeded": 402,
    "cost_exceeded": 402,
    "agent_suspended": 402,
    "guardrail_blocked": 400,
    "model_unavailable": 424,
}
_KINDS: Final = {400: "invalid_request_error", 402: "insufficient_quota", 429: "rate_limit_error"}


Writer: TypeAlias = ChatWriter | ResponsesWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer under way, whoever gives it."""

    pieces: AsyncGenerator[Piece, None]
    headers: Callable[[], Mapping[str, str]]
    """What is known of it at the moment of asking."""
    session: SessionId | None = None


class OpenAiRoutes:
    """Handlers of the OpenAI family."""

    def __init__(self, backend: Backend, config: ServerConfig, hub: Hub) -> None:
        self._backend = backend
        self._config = config
        self._hub = hub

    # --- models -----------------------------------------------------------------------------

    async def models(self, _: Request) -> Response:
        """GET /v1/models."""
        return json_response((200, {"object": "list", "data": self._listed(), "has_more": False}))

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{id}."""
        wanted = request.path_params["id"]
        for one in self._listed():
            if one["id"] == wanted:
                return json_response((200, one))
        missing = NotFound(f"there is no model {wanted[:80]!r}", code="model_not_found")
        return _refused(missing, self._config.redact)

    def _listed(self) -> list[Json]:
        auto = model_json("auto", "brainpilot-rt", "routed among the configured models")
        models = [
            model_json(f"{one.provider}:{one.model}", one.provider, "model")
            for one in self._backend.completions.models()
        ]
        agents = [
            model_json(name, "brainpilot-rt", about) for name, about in self._agents().items()
        ]
        return [auto, *models, *agents]

    def _agents(self) -> dict[str, str]:
        """Name -> what it is for: the team by its principal, and who is registered and active."""
        found = {str(PRINCIPAL): "the team"}
        for one in self._backend.agents.listed():
            if one["lifecycleState"] == "active":
                found[one["agentId"]] = str(one.get("description") or one["displayName"])
        return found

    # --- answers ----------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        try:
            body = parse(ChatBody, sent(request))
            named = request.headers.get("x-conversation-id", "")
            reply = await self._reply(request, body, named)
            usage = body.stream_options is not None and body.stream_options.include_usage
            writer = ChatWriter(self._backend.new_id(), self._now_s(), body.model, usage=usage)
            if not body.stream:
                return await _whole(reply, writer)
            unrecorded(request)
            return await self._streamed(reply, writer, _DONE)
        except RuntimeFault as fault:
            return _refused(fault, self._config.redact)

    async def responses(self, request: Request) -> Response:
        """POST /v1/responses."""
        try:
            body = parse(ResponsesBody, sent(request))
            chat = parse(ChatBody, body.as_chat())
            before = body.previous_response_id or ""
            named = before.rpartition("_")[2] or request.headers.get("x-conversation-id", "")
            if before and not self._is_agent(body.model):
                raise BadRequest(
                    "responses are not stored: previous_response_id is for agents, whose sessions "
                    "keep the conversation",
                    code="unsupported_parameter",
                )
            reply = await self._reply(request, chat, named)
            new_id = self._backend.new_id()
            answer_id = f"{new_id}_{reply.session}" if reply.session else new_id
            writer = ResponsesWriter(answer_id, self._now_s(), body)
            if not body.stream:
                return await _whole(reply, writer)
            unrecorded(request)
            return await self._streamed(reply, writer, b"")
        except RuntimeFault as fault:
            return _refused(fault, self._config.redact)

    def _now_s(self) -> int:
        return self._config.clock.now_ms() // 1000

    def _is_agent(self, name: str) -> bool:
        return name == PRINCIPAL or self._backend.agents.knows(name)

    async def _reply(self, request: Request, body: ChatBody, named: str) -> Reply:
        body.check()
        if self._is_agent(body.model):
            return await self._by_agent(request, body, named)
        return self._by_model(request, body)

    def _by_model(self, request: Request, body: ChatBody) -> Reply:
        system, messages = wire.conversation(body.messages)
        route = body.route or wire.Route()
        most = money_of(request.headers.get("x-br-max-estimated-cost")) or route.cost_max_usd
        completion = self._backend.completions.ask(
            Asked(
                model=body.model,
                system=system,
                messages=messages,
                tools=tuple(spec_of(one) for one in _tools(body, frozenset())),
                max_tokens=body.max_completion_tokens or body.max_tokens,
                temperature=body.temperature,
                within=(*route.models, *(f"{one}:*" for one in route.providers)),
                cost_max_usd=most,
            )
        )
        known = completion.known
        return Reply(
            pieces=_of_model(completion),
            headers=lambda: headers_of(known),
        )

    async def _by_agent(self, request: Request, body: ChatBody, named: str) -> Reply:
        agent = AgentName(body.model)
        brought = wire.results(body.messages)
        if brought:
            session, results = session_of_calls(brought)
            await self._mine(session, agent)
            pieces = self._talk(session).bring(results)
        else:
            if agent != PRINCIPAL:
                self._backend.agents.admit(agent)
            else:
                self._backend.agents.check_money(agent)
            session, fresh = await self._conversation(named, agent)
            await self._offer(session, agent, body)
            content = wire.opening(body.messages, fresh=fresh)
            most = money_of(request.headers.get("x-br-max-estimated-cost"))
            limits = RunLimits(cap_usd=most) if most is not None else None
            pieces = self._talk(session).say(
                lambda: self._backend.post_message(
                    session, agent=agent, content=content, limits=limits
                )
            )
        return Reply(
            pieces=named_calls(pieces, session),
            headers=lambda: {"x-conversation-id": session},
            session=session,
        )

    def _talk(self, session: SessionId) -> Talk:
        return Talk(self._backend, session, self._config.tools_parallel_max)

    async def _conversation(self, named: str, agent: AgentName) -> tuple[SessionId, bool]:
        """The session of a conversation, and whether it has just been made."""
        if named and (NAME.fullmatch(named) or UUID.fullmatch(named)):
            try:
                await self._mine(SessionId(named), agent)
            except NotFound:
                pass
            else:
                return SessionId(named), False
        digest = hashlib.sha256(f"{agent}\n{named}".encode()).hexdigest()[:32]
        wanted = f"chat-{digest}" if named else None
        if wanted is not None and await self._backend.log.session(SessionId(wanted)) is not None:
            return SessionId(wanted), False
        new = NewSession(title=f"Chat with {agent}", session=wanted, agent=agent, labels=_LABELS)
        return (await self._backend.create_session(new)).session, True

    async def _mine(self, session: SessionId, agent: AgentName) -> None:
        """NotFound unless it is a conversation with this agent."""
        view = await self._backend.view(session)
        if view.agent != agent:
            raise NotFound(f"{session!r} is no conversation with {agent}", code="unknown_session")

    async def _offer(self, session: SessionId, agent: AgentName, body: ChatBody) -> None:
        """Let the agent's next run have the caller's tools as they are now."""
        tools = [one.model_dump(mode="json") for one in _tools(body, BUILT_IN)]
        if tools and agent == PRINCIPAL:
            raise BadRequest("the team takes no tools of a caller; a registered agent does")
        names = [one["name"] for one in tools]
        labels = dict((await self._backend.view(session)).labels)
        if labels.get("client_tools", []) != tools:
            labels |= {"client_tools": tools, "custom_tools": names}
            await self._backend.update_session(session, labels=labels)

    async def _streamed(self, reply: Reply, writer: Writer, last: bytes) -> Response:
        """A model's stream begins with its first words: what is refused before has a status."""
        self._hub.admit()
        first = await anext(reply.pieces) if reply.session is None else ""

        async def source(_: object) -> AsyncGenerator[bytes, None]:
            async with aclosing(reply.pieces) as rest:
                yield _frames([*writer.begin(), *_written(writer, first)])
                try:
                    async for piece in rest:
                        if made := _written(writer, piece):
                            yield _frames(made)
                except RuntimeFault as fault:
                    yield _frames(writer.failed(_error(fault, self._config.redact)[1]))
                if last:
                    yield last

        headers = [(name.encode(), one_line(text)) for name, text in reply.headers().items()]
        return EventStream(self._hub, source, headers)


_LABELS: Final[Mapping[str, Any]] = {"api": "openai"}


# --- pieces ---------------------------------------------------------------------------------


async def _of_model(completion: Completion) -> AsyncGenerator[Piece, None]:
    async with aclosing(completion.events) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                yield event.text
            elif isinstance(event, ReplyFinished):
                yield End(
                    stop=event.stop_reason,
                    calls=event.message.tool_calls,
                    usage=event.usage,
                    cost_usd=event.cost_usd,
                )


async def _whole(reply: Reply, writer: Writer) -> Response:
    said: list[str] = []
    end = End(stop=StopReason.END)
    async with aclosing(reply.pieces) as pieces:
        async for piece in pieces:
            if isinstance(piece, End):
                end = piece
            else:
                said.append(piece)
    response = json_response((200, writer.whole("".join(said), end)))
    for name, text in reply.headers().items():
        response.headers[name] = one_line(text).decode("latin-1")
    return response


def _written(writer: Writer, piece: Piece) -> list[Json]:
    if isinstance(piece, End):
        return writer.end(piece)
    return writer.words(piece) if piece else []


def _frames(values: Iterable[Json]) -> bytes:
    """Frames of a stream: events of responses have a name, chunks of chats must not."""
    parts: list[bytes] = []
    for one in values:
        if name := one.get("type"):
            parts.append(f"event: {name}\n".encode())
        parts.append(b"data: " + encode(one) + b"\n\n")
    return b"".join(parts)


def _tools(body: ChatBody, taken: frozenset[str]) -> list[ClientTool]:
    offered = [
        {
            "name": one.name,
            "description": one.description or "",
            "input_schema": one.parameters or {"type": "object", "properties": {}},
        }
        for one in body.offered
    ]
    return described(offered, taken)


def _error(fault: RuntimeFault, redact: Callable[[str], str]) -> tuple[int, Json]:
    """Status and body. Nothing that would fail again has a status that clients try again."""
    status = _REFUSALS.get(fault.code, status_of(fault))
    if isinstance(fault, Conflict):
        status = HTTPStatus.BAD_REQUEST
    elif isinstance(fault, RetryableFault):
        status = HTTPStatus.SERVICE_UNAVAILABLE
    elif isinstance(fault, FatalFault) and fault.code not in _REFUSALS:
        status = HTTPStatus.FAILED_DEPENDENCY
    kind = _KINDS.get(status, "api_error")
    said = {"message": redact(fault.message), "type": kind, "param": None, "code": fault.code}
    return int(status), {"error": said}


def _refused(fault: RuntimeFault, redact: Callable[[str], str]) -> Response:
    return json_response(_error(fault, redact))


def openai_rows(to: OpenAiRoutes) -> list[Row]:
    """The table of the family; it is served without `/v1` too (`security.canonical`)."""
    answers = {200: "the answer, whole or as chunks", 400: "malformed, or not to be had here"}
    more = {402: "over budget", 404: "no such model", 424: "the provider refused"}
    return [
        Row("GET", "/v1/models", to.models, "auto, models and agents", {200: "done"}),
        Row("GET", "/v1/models/{id}", to.model, "One of them", {200: "found", 404: "no such"}),
        Row(
            "POST", "/v1/chat/completions", to.chat, "Ask a model or an agent", answers | more,
            body=(ChatBody,),
        ),
        Row(
            "POST", "/v1/responses", to.responses, "The same in another form", answers | more,
            body=(ResponsesBody,),
        ),
    ]  # fmt: skip
