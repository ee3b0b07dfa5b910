"""Routes about calls that wait for a person's word: look, approve, deny; the first word counts.

The routes under `/v1/mcp` are the same ones, as clients of agent runs name them.
"""

from typing import Annotated, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.governing import ApprovalScope
from brainpilot_rt.domain.ids import SessionId, parse_session_id
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.idempotency import Answer, json_response, receipt_of
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.resources import Row
from brainpilot_rt.server.wires.approvals import approval_json, decided_json
from brainpilot_rt.sessions.views import ApprovalView
from brainpilot_rt.supervision.approvals import HISTORY_MAX, Word

_VALID_S_MAX: Final = 10 * 365 * 24 * 3600.0
_LIMIT: Final = 100


class DenyBody(Body):
    """POST .../deny. The agent reads the note."""

    note: Annotated[str, Field(max_length=2_000)] = ""


class ApproveBody(DenyBody):
    """POST .../approve. `digest`: of what the caller saw; another call is not approved with it."""

    scope: ApprovalScope = "once"
    valid_s: Annotated[float | None, Field(gt=0, le=_VALID_S_MAX)] = None
    digest: Annotated[str | None, Field(max_length=128)] = None


class ApprovalRoutes:
    """Handlers about approvals."""

    def __init__(self, backend: Backend) -> None:
        self._approvals = backend.approvals
        self._agents = backend.agents

    async def index(self, request: Request) -> Response:
        """GET /approvals: of all sessions and agents."""
        found = self._approvals.open(_session(request))
        return json_response((200, {"approvals": [approval_json(one) for one in found]}))

    async def history(self, request: Request) -> Response:
        """GET /approvals/history."""
        limit = number(request, "limit", _LIMIT, most=HISTORY_MAX)
        found = await self._approvals.decided(_session(request), limit)
        return json_response((200, {"approvals": [decided_json(one) for one in found]}))

    async def show(self, request: Request) -> Response:
        """GET /approvals/{id}: open or decided."""
        wanted = request.path_params["id"]
        try:
            return json_response((200, approval_json(self._approvals.find(wanted))))
        except NotFound:
            decided = await self._approvals.find_decided(wanted)
            return json_response((200, decided_json(decided)))

    async def approve(self, request: Request) -> Response:
        """POST /approvals/{id}/approve."""
        body = parse(ApproveBody, sent(request))
        word = Word(approve=True, scope=body.scope, valid_s=body.valid_s, note=body.note)
        return await self._decide(request, word, body.digest)

    async def deny(self, request: Request) -> Response:
        """POST /approvals/{id}/deny."""
        body = parse(DenyBody, sent(request))
        return await self._decide(request, Word(approve=False, note=body.note), None)

    async def _decide(self, request: Request, word: Word, digest: str | None) -> Response:
        refuse_agents(request, self._agents, "decide about calls")
        status = "approved" if word.approve else "denied"

        def done(asked: ApprovalView) -> Answer:
            said = {"status": status, "scope": word.scope, "note": word.note}
            return 200, approval_json(asked) | said

        asked = await self._approvals.decide(
            request.path_params["id"], word, digest, receipt_of(request, done)
        )
        return json_response(done(asked))


def _session(request: Request) -> SessionId | None:
    named = request.query_params.get("session")
    return None if named is None else parse_session_id(named)


def approval_rows(to: ApprovalRoutes) -> list[Row]:
    """The routes of approvals."""
    one, alias = "/approvals/{id}", "/v1/mcp/approvals"
    of = {"session": "only of this session"}
    past = {**of, "limit": "newest wanted, at most 1000 (100)"}
    listed = {200: "done", 400: "malformed"}
    found = {200: "found", 404: "never asked, or long ago"}
    decided = {
        200: "decided",
        400: "malformed, or not for this long",
        403: "an agent's token",
        404: "never asked",
        409: "decided already, or it is not what was shown",
    }
    yes, no = (ApproveBody,), (DenyBody,)
    return [
        Row("GET", "/approvals", to.index, "Calls that wait for a person", listed, query=of),
        Row("GET", "/approvals/history", to.history, "What was decided", listed, query=past),
        Row("GET", one, to.show, "One of them, open or decided", found),
        Row("POST", f"{one}/approve", to.approve, "Let it run", decided, body=yes),
        Row("POST", f"{one}/deny", to.deny, "Do not let it run", decided, body=no),
        Row("GET", alias, to.index, "As GET /approvals", listed, query=of),
        Row("POST", f"{alias}/{{id}}/approve", to.approve, "Let it run", decided, body=yes),
        Row("POST", f"{alias}/{{id}}/deny", to.deny, "Do not let it run", decided, body=no),
    ]
