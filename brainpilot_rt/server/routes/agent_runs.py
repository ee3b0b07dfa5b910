"""Routes of agent runs: start one, follow it, look it up, steer it.

A run is a host turn of a session that is for one agent. Its stream is only a view: the run goes on
whether anybody reads or not. What is steered is taken at the next turn boundary, an interrupt at
once.
"""

from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, BudgetExceeded, Conflict, NotFound
from brainpilot_rt.domain.governing import RunLimits
from brainpilot_rt.domain.ids import (
    PRINCIPAL,
    SPECIALISTS,
    AgentName,
    CallId,
    HostRunId,
    SessionId,
    parse_agent_name,
    parse_session_id,
)
from brainpilot_rt.domain.letters import CONTENT_CHARS_MAX
from brainpilot_rt.domain.times import iso
from brainpilot_rt.eventlog.ledger import Which, to_usd
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.cursors import parse_session_cursor
from brainpilot_rt.server.idempotency import Answer, json_response, receipt_of
from brainpilot_rt.server.ports import Backend, NewSession, Posted
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.run_streams import RunStreams
from brainpilot_rt.server.wires.agent_run_bodies import reason_of
from brainpilot_rt.sessions.views import SessionSummary
from brainpilot_rt.supervision.approvals import Word

API: Final = "agent_runs"
"""What a session's label `api` says when it was made here."""
TURNS: Final = 10
_TURNS_MAX: Final = 100
_TITLE_CHARS: Final = 80
_PAGE_MAX: Final = 1_000
_KNOWN_MAX: Final = 10_000
_TEAM: Final = frozenset({PRINCIPAL, *SPECIALISTS})
_TURNS: Final = frozenset({"host_turn_started", "host_turn_finished"})


class RunBody(Body):
    """POST /v1/agents/{id}/run. `session_id`: go on in that session."""

    message: Annotated[str, Field(min_length=1, max_length=CONTENT_CHARS_MAX)]
    max_turns: int | None = None
    budget_cap_usd: Annotated[Decimal | None, Field(max_digits=18)] = None
    session_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class Steering(Body):
    """An event from a client: flat, or with content blocks."""

    type: str
    text: Annotated[str | None, Field(max_length=CONTENT_CHARS_MAX)] = None
    content: str | list[dict[str, Any]] | None = None
    tool_use_id: str | None = None
    custom_tool_use_id: str | None = None
    result: Literal["allow", "deny"] | None = None
    deny_message: Annotated[str, Field(max_length=2_000)] = ""
    is_error: bool = False

    @property
    def words(self) -> str:
        """What is said, whichever form it came in."""
        if self.text is not None:
            return self.text
        if isinstance(self.content, list):
            return "\n".join(str(one.get("text", "")) for one in self.content)
        return self.content or ""


class SteeringBody(Body):
    """POST /v1/agents/{id}/sessions/{sid}/events: one event, or `events`."""

    events: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=50)]


def limits_of(max_turns: int | None, cap_usd: Decimal | None) -> RunLimits:
    """The limits of a run; raises for a cap under which nothing can be done."""
    if cap_usd is not None and cap_usd < 0:
        raise BadRequest("budget_cap_usd can not be negative", code="invalid_budget")
    if cap_usd is not None and cap_usd == 0:
        raise BudgetExceeded("budget_cap_usd is 0: nothing may be spent on this run")
    turns = TURNS if max_turns is None else min(max(max_turns, 1), _TURNS_MAX)
    return RunLimits(max_turns=turns, cap_usd=cap_usd)


class AgentRunRoutes:
    """Handlers about runs."""

    def __init__(self, backend: Backend, streams: RunStreams) -> None:
        self._backend = backend
        self._streams = streams
        self._agents: OrderedDict[SessionId, tuple[AgentName | None, Mapping[str, Any]]] = (
            OrderedDict()
        )

    # --- starting ---------------------------------------------------------------------------

    async def run(self, request: Request) -> Response:
        """POST /v1/agents/{id}/run."""
        agent = parse_agent_name(request.path_params["id"])
        body = parse(RunBody, sent(request))
        limits = limits_of(body.max_turns, body.budget_cap_usd)
        if not body.message.strip():
            raise BadRequest("message: a run needs something to do", code="invalid_body")
        self._admit(agent)
        self._streams.admit()
        session = await self._session_for(agent, body, limits)

        def started(posted: Posted) -> Answer:
            return 200, {"sessionId": session, "runId": posted.host_run_id, "status": "running"}

        posted = await self._backend.post_message(
            session,
            agent=agent,
            content=body.message,
            receipt=receipt_of(request, started),
            limits=limits,
        )
        run = HostRunId(posted.host_run_id)
        headers = {"X-Session-Id": session, "X-Run-Id": run}
        if _wants_json(request):
            return self._streams.at_end(session, run, headers)
        return self._streams.of_run(session, run, headers)

    def _admit(self, agent: AgentName) -> None:
        """Raise why an agent can not be asked; those of the team can be while there is money."""
        if agent not in _TEAM or self._backend.agents.knows(agent):
            self._backend.agents.admit(agent)
        else:
            self._backend.agents.check_money(agent)

    async def _session_for(self, agent: AgentName, body: RunBody, limits: RunLimits) -> SessionId:
        if body.session_id is not None:
            session = parse_session_id(body.session_id)
            await self._of_agent(session, agent)
            return session
        known = self._backend.agents
        profile = known.get(agent) if known.knows(agent) else {}
        custom: list[dict[str, Any]] = profile.get("custom_tools", [])
        cap = None if limits.cap_usd is None else str(limits.cap_usd)
        new = NewSession(
            title=body.message[:_TITLE_CHARS],
            agent=agent,
            labels={
                "api": API,
                "metadata": body.metadata,
                "max_turns": limits.max_turns,
                "budget_cap_usd": cap,
                "custom_tools": [one["name"] for one in custom],
            },
        )
        return (await self._backend.create_session(new)).session

    # --- looking up -------------------------------------------------------------------------

    async def _made_for(self, session: SessionId) -> tuple[AgentName | None, Mapping[str, Any]]:
        """Whom a session is for, and its first labels: they stand in its first event."""
        known = self._agents.get(session)
        if known is not None:
            return known
        first = await self._backend.log.read(session, limit=1)
        made = first[0].event if first else None
        if not isinstance(made, ev.SessionCreated):
            return None, {}
        if len(self._agents) >= _KNOWN_MAX:
            self._agents.popitem(last=False)
        self._agents[session] = (made.agent, made.labels)
        return self._agents[session]

    async def _of_agent(self, session: SessionId, agent: AgentName) -> SessionSummary:
        found = await self._backend.session(session)
        if (await self._made_for(session))[0] != agent:
            raise NotFound(f"agent {agent!r} has no session {session!r}", code="unknown_session")
        return found

    async def _named(self, request: Request) -> tuple[AgentName, SessionSummary]:
        agent = parse_agent_name(request.path_params["id"])
        session = parse_session_id(request.path_params["sid"])
        return agent, await self._of_agent(session, agent)

    async def sessions(self, request: Request) -> Response:
        """GET /v1/agents/{id}/sessions: newest first."""
        agent = parse_agent_name(request.path_params["id"])
        if agent not in _TEAM:
            self._backend.agents.get(agent)
        limit = number(request, "limit", 20, least=1, most=100)
        offset = number(request, "offset", 0)
        status = request.query_params.get("status")
        rows = await self._backend.list_sessions()
        mine = [row for row in rows if (await self._made_for(row.session))[0] == agent]
        mine.sort(key=lambda row: (row.created_ms, row.session), reverse=True)
        shown = mine if status else mine[offset : offset + limit]
        found = [await self._json(agent, row) for row in shown]
        if status:
            found = [one for one in found if one["status"] == status]
            total, found = len(found), found[offset : offset + limit]
        else:
            total = len(mine)
        page = {"sessions": found, "total": total, "limit": limit, "offset": offset}
        return json_response((200, page))

    async def session(self, request: Request) -> Response:
        """GET /v1/agents/{id}/sessions/{sid}."""
        agent, found = await self._named(request)
        return json_response((200, {"session": await self._json(agent, found)}))

    async def _json(self, agent: AgentName, row: SessionSummary) -> dict[str, Any]:
        log = self._backend.log
        turns = await log.read_back(row.session, limit=2, types=_TURNS)
        spent = await log.ledger.sums("all", Which(session=row.session))
        _, labels = await self._made_for(row.session)
        last = turns[-1] if turns else None
        ended = last.event if last and isinstance(last.event, ev.HostTurnFinished) else None
        running = last is not None and ended is None
        cap = labels.get("budget_cap_usd")
        return {
            "id": row.session,
            "agentId": agent,
            "tenantId": "local",
            "title": row.title,
            "status": "running" if running else "ended" if ended else "idle",
            "endReason": None if ended is None else reason_of(ended, exhausted=False),
            "totalTurns": 0 if ended is None else ended.turns,
            "totalCostUsd": float(sum(to_usd(one.counted_pico) for one in spent)),
            "budgetCapUsd": None if cap is None else float(cap),
            "maxTurns": labels.get("max_turns"),
            "createdAt": iso(row.created_ms),
            "updatedAt": iso(row.updated_ms),
            "endedAt": iso(last.at_ms) if last is not None and ended else None,
            "metadata": labels.get("metadata", {}),
        }

    async def events(self, request: Request) -> Response:
        """GET /v1/agents/{id}/sessions/{sid}/events: a page, or SSE for who accepts it."""
        _, found = await self._named(request)
        asked = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
        cursor = parse_session_cursor(asked)
        streams = "text/event-stream" in request.headers.get("accept", "")
        if request.url.path.endswith("/stream") or (streams and request.method == "GET"):
            self._streams.admit()
            ends = request.query_params.get("until") == "ended"
            return self._streams.of_session(found.session, cursor, ends=ends)
        limit = number(request, "limit", 100, least=1, most=_PAGE_MAX)
        frames, more = await self._streams.page(found.session, cursor, limit)
        events = [frame.data for frame in frames]
        return json_response((200, {"events": events, "next": more}))

    # --- steering ---------------------------------------------------------------------------

    async def steer(self, request: Request) -> Response:
        """POST /v1/agents/{id}/sessions/{sid}/events."""
        agent, found = await self._named(request)
        values = sent(request)
        flat = "events" not in values
        given = [values] if flat else parse(SteeringBody, values).events
        events = [parse(Steering, one) for one in given]
        if any(one.type == "user.tool_confirmation" for one in events):
            refuse_agents(request, self._backend.agents, "decide about calls")
        done = [await self._take(agent, found.session, one) for one in events]
        return json_response((200, done[0] if flat else {"events": done}))

    async def _take(self, agent: AgentName, session: SessionId, event: Steering) -> dict[str, Any]:
        match event.type:
            case "user.message":
                event_id = await self._say(agent, session, event.words)
            case "user.interrupt":
                event_id = await self._interrupt(session)
            case "user.tool_confirmation":
                event_id = await self._confirm(session, event)
            case "user.custom_tool_result":
                call = CallId(_needed(event.custom_tool_use_id, "custom_tool_use_id"))
                await self._backend.approvals.answer_call(
                    session, call, event.words, is_error=event.is_error
                )
                event_id = f"result_{call}"
            case other:
                raise BadRequest(
                    f"an event of type {other[:80]!r} is not taken here", code="invalid_event"
                )
        return {"id": event_id, "type": event.type, "status": "queued", "sessionId": session}

    async def _say(self, agent: AgentName, session: SessionId, text: str) -> str:
        """It joins the open run; without one it begins one with the limits of the first."""
        self._admit(agent)
        _, labels = await self._made_for(session)
        cap = labels.get("budget_cap_usd")
        limits = limits_of(labels.get("max_turns"), None if cap is None else Decimal(str(cap)))
        posted = await self._backend.post_message(session, agent=agent, content=text, limits=limits)
        return posted.message_id

    async def _interrupt(self, session: SessionId) -> str:
        view = await self._backend.view(session)
        if view.host_run_id is None:
            raise Conflict(f"session {session!r} has no run to interrupt", code="session_ended")
        await self._backend.interrupt(session, None)
        return f"interrupt_{view.host_run_id}"

    async def _confirm(self, session: SessionId, event: Steering) -> str:
        """The first word counts; a later one is told so."""
        approvals = self._backend.approvals
        wanted = _needed(event.tool_use_id, "tool_use_id")
        if event.result is None:
            raise BadRequest("result is allow or deny", code="invalid_event")
        try:
            asked = approvals.find(wanted)
        except NotFound:
            asked = (await approvals.find_decided(wanted)).asked
        if asked.session != session:
            raise NotFound(f"nothing of that id waits in session {session!r}", code="no_approval")
        word = Word(approve=event.result == "allow", note=event.deny_message)
        await approvals.decide(asked.approval_id, word)
        return f"confirm_{asked.call_id}"


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _needed(value: str | None, name: str) -> str:
    if not value:
        raise BadRequest(f"{name} is missing", code="invalid_event")
    return value


_AFTER: Final = {"after": "the cursor to begin after"}
_PAGE: Final = {**_AFTER, "limit": "frames wanted, at most 1000 (100)", "until": "`ended`"}
_LIST: Final = {"limit": "1 to 100 (20)", "offset": "to begin at", "status": "only of this status"}
_STARTED: Final = {
    200: "its events, or its summary as JSON",
    400: "malformed",
    402: "no budget, or suspended",
    403: "not active",
    404: "no such agent or session",
    429: "too many runs, or streams",
}
_FOUND: Final = {200: "found", 400: "malformed", 404: "no such agent or session"}
_STEERED: Final = {**_FOUND, 200: "taken", 402: "no budget", 409: "nothing waits for it"}


def agent_run_rows(to: AgentRunRoutes) -> list[Row]:
    """The routes of agent runs."""
    one = "/v1/agents/{id}/sessions"
    events = f"{one}/{{sid}}/events"
    said = (Steering, SteeringBody)
    return [
        Row("POST", "/v1/agents/{id}/run", to.run, "Run an agent", _STARTED, body=(RunBody,)),
        Row("GET", one, to.sessions, "Sessions of an agent", _FOUND, query=_LIST),
        Row("GET", f"{one}/{{sid}}", to.session, "One of them", _FOUND),
        Row("GET", events, to.events, "What happened", _FOUND, query=_PAGE),
        Row("GET", f"{events}/stream", to.events, "Follow it", _FOUND, query=_AFTER, stream=True),
        Row("POST", events, to.steer, "Say or decide something", _STEERED, body=said),
    ]
