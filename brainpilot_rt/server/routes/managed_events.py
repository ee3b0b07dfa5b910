"""Routes about the events of managed sessions: what clients send, and how they read what happened.

What is sent is checked as a whole first: of a request that is refused nothing is done.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, Conflict, NotFound
from brainpilot_rt.domain.ids import AgentName, CallId, SessionId
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.managed_streams import ManagedStreams
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.routes.paging import in_time, is_in, limit_of, many, moment_ms
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.server.wires.managed_bodies import EVENTS_MAX, Json, text_of
from brainpilot_rt.server.wires.managed_events import DELTAS, listed
from brainpilot_rt.sessions.views import SessionView
from brainpilot_rt.supervision.approvals import Word

API: Final = "managed"
"""What a session's label `api` says when it was made in this family."""
THREAD: Final = "thread-"
_LISTED: Final = 100
_LISTED_MAX: Final = 1_000
_NOT_TAKEN: Final = {
    "user.tool_result": "tools that are not custom run here, so nobody else can bring their result",
    "user.define_outcome": "outcomes are not judged here: ask for what you want in a user.message",
    "system.message": "the system prompt is the agent's: change it there, or say it as a "
    "user.message",
}


class Sent(Body):
    """An event from a client."""

    type: str
    content: Any = None
    tool_use_id: str = ""
    custom_tool_use_id: str = ""
    result: Literal["allow", "deny"] | None = None
    deny_message: Annotated[str, Field(max_length=2_000)] | None = None
    is_error: bool | None = None
    session_thread_id: str | None = None


class SentBody(Body):
    """POST /v1/sessions/{id}/events."""

    events: Annotated[list[Json], Field(min_length=1, max_length=EVENTS_MAX)]


def parsed(events: Sequence[Json]) -> list[Sent]:
    """Events as they may be taken; `BadRequest` for the first that can not be."""
    found = [parse(Sent, one) for one in events]
    for one in found:
        if why := _NOT_TAKEN.get(one.type):
            raise BadRequest(f"{one.type}: {why}", code="unsupported_event")
        match one.type:
            case "user.message":
                if not text_of(one.content).strip():
                    raise BadRequest("a user.message needs text")
            case "user.tool_confirmation":
                if not one.tool_use_id or one.result is None:
                    raise BadRequest("a user.tool_confirmation needs tool_use_id and result")
            case "user.custom_tool_result":
                text_of(one.content)
                if not one.custom_tool_use_id:
                    raise BadRequest("a user.custom_tool_result needs custom_tool_use_id")
            case "user.interrupt":
                pass
            case other:
                raise BadRequest(f"there are no events of type {other[:80]!r}")
    return found


async def managed(backend: Backend, session: SessionId) -> SessionView:
    """A session that was made in this family; `NotFound` for any other."""
    view = await backend.view(session)
    if view.labels.get("api") != API:
        raise NotFound(f"there is no session {session!r} here", code="unknown_session")
    return view


class ManagedEventRoutes:
    """Handlers about the events of managed sessions."""

    def __init__(self, backend: Backend, streams: ManagedStreams) -> None:
        self._backend = backend
        self._streams = streams

    async def send(self, request: Request) -> Response:
        """POST /v1/sessions/{id}/events."""
        session = session_of(request)
        view = await managed(self._backend, session)
        if view.labels.get("archived_at") is not None:
            raise BadRequest("this session is archived", code="session_archived")
        raw = sent(request)
        given = parse(SentBody, raw).events
        events = parsed(given)
        for one in events:
            self._check(view, one)
        ids = [await self.take(session, one) for one in events]
        data = [
            {**said, "id": event_id, "processed_at": None}
            for said, event_id in zip(given, ids, strict=True)
        ]
        return json_response((200, {"data": data}))

    def _check(self, view: SessionView, event: Sent) -> None:
        """Whether what an event answers waits for it."""
        waits = {one.call_id for one in view.approvals}
        if event.type == "user.tool_confirmation" and event.tool_use_id not in waits:
            raise BadRequest(
                f"no call {event.tool_use_id[:80]!r} waits for a confirmation",
                code="not_waiting",
            )
        calls = {one.call_id for one in view.client_calls}
        if event.type == "user.custom_tool_result" and event.custom_tool_use_id not in calls:
            raise BadRequest(
                f"no call {event.custom_tool_use_id[:80]!r} waits for a result",
                code="not_waiting",
            )
        if event.session_thread_id is not None:
            _agent_of(view, event.session_thread_id)

    async def take(self, session: SessionId, event: Sent) -> str:
        """Do what a checked event asks for; its id."""
        match event.type:
            case "user.message":
                view = await self._backend.view(session)
                self._backend.agents.admit(str(view.agent))
                return await self.say(session, event)
            case "user.interrupt":
                agent = None
                if event.session_thread_id is not None:
                    view = await self._backend.view(session)
                    agent = _agent_of(view, event.session_thread_id)
                    agent = None if agent == view.agent else agent
                await self._backend.interrupt(session, agent)
                return f"evt_{self._backend.new_id()}"
            case "user.tool_confirmation":
                word = Word(approve=event.result == "allow", note=event.deny_message or "")
                await self._decide(event.tool_use_id, word)
                return f"confirm_{event.tool_use_id}"
            case _:
                await self._result(session, event)
                return f"result_{event.custom_tool_use_id}"

    async def say(self, session: SessionId, event: Sent) -> str:
        """Post a user.message of a caller that was admitted; its id."""
        content = text_of(event.content)
        return (await self._backend.post_message(session, agent=None, content=content)).message_id

    async def _decide(self, call_id: str, word: Word) -> None:
        try:
            await self._backend.approvals.decide(call_id, word)
        except Conflict as late:  # somebody was faster; a client tries a conflict again
            raise BadRequest(late.message, code=late.code) from None

    async def _result(self, session: SessionId, event: Sent) -> None:
        try:
            await self._backend.approvals.answer_call(
                session,
                CallId(event.custom_tool_use_id),
                text_of(event.content),
                is_error=bool(event.is_error),
            )
        except Conflict as late:
            raise BadRequest(late.message, code=late.code) from None

    async def index(self, request: Request) -> Response:
        """GET /v1/sessions/{id}/events: oldest first unless the order is `desc`."""
        session = session_of(request)
        await managed(self._backend, session)
        query = request.query_params
        kinds, between = many(request, "types"), in_time(request)
        limit = limit_of(request, _LISTED, _LISTED_MAX)
        found = [
            one
            for one in listed(await self._streams.events(session))
            if (not kinds or one["type"] in kinds)
            and (one["processed_at"] is None or is_in(moment_ms(one["processed_at"]), between))
        ]
        descending = query.get("order") == "desc"
        if descending:
            found.reverse()
        if token := query.get("page", ""):
            if not (token.isascii() and token.isdecimal() and len(token) <= 9):  # noqa: PLR2004 - digits
                raise BadRequest("this is the token of no page here", code="invalid_page")
            last = int(token)
            found = [one for one in found if (one["n"] < last if descending else one["n"] > last)]
        shown = found[:limit]
        more = str(shown[-1]["n"]) if len(found) > limit else None
        data = [{key: value for key, value in one.items() if key != "n"} for one in shown]
        return json_response((200, {"data": data, "next_page": more}))

    async def stream(self, request: Request) -> Response:
        """GET /v1/sessions/{id}/events/stream, whatever is accepted."""
        session = session_of(request)
        await managed(self._backend, session)
        deltas = many(request, "event_deltas")
        return self._streams.open(session, deltas=bool(deltas & DELTAS))


def _agent_of(view: SessionView, thread: str) -> AgentName:
    """Whose thread it is; `BadRequest` when it is none of the session's."""
    for one in view.agents:
        if thread == f"{THREAD}{one.name}":
            return one.name
    raise BadRequest(f"this session has no thread {thread[:80]!r}", code="unknown_thread")
