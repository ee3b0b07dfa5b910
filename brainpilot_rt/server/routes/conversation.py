"""Routes by which a user talks to a team: messages, answers, interrupts."""

from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest, Conflict, MemoryFull, NotFound, Unavailable
from brainpilot_rt.domain.ids import (
    CallId,
    RequestId,
    SessionId,
    parse_agent_name,
    parse_client_id,
)
from brainpilot_rt.domain.letters import CONTENT_CHARS_MAX
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.idempotency import Answer, json_response, receipt_of
from brainpilot_rt.server.ports import Backend, Posted
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.server.wires.shown import answered
from brainpilot_rt.supervision.approvals import Word

_ANSWER = "user_input_response"


class MessageData(Body):
    """What the client calls its own message."""

    uuid: str | None = None


class MessageBody(Body):
    """POST /sessions/{id}/messages: something the user says; no `agent` means the principal."""

    content: Annotated[str, Field(min_length=1, max_length=CONTENT_CHARS_MAX)]
    agent: str | None = None
    data: MessageData | None = None
    session_id: str | None = None


class AnswerBody(Body):
    """POST /sessions/{id}/messages: the answer to a question (`type` is `user_input_response`)."""

    type: Literal["user_input_response"]
    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    answer: Annotated[str, Field(max_length=10_000)]
    session_id: str | None = None


class InterruptBody(Body):
    """POST /sessions/{id}/interrupt: one agent, or everything."""

    agent: str | None = None


def _accepted(posted: Posted) -> Answer:
    body: dict[str, Any] = {
        "accepted": True,
        "runId": posted.host_run_id,
        "messageId": posted.message_id,
    }
    letter = {} if posted.letter_id is None else {"letterId": posted.letter_id}
    return 200, body | letter | ({"queued": True} if posted.queued else {})


def _refused(full: MemoryFull) -> Response:
    """BrainPilot's form of "not now"."""
    reason = {"reason": full.message, "error": full.message, "code": full.code}
    response = json_response((200, {"accepted": False} | reason))
    response.headers["retry-after"] = str(round(full.retry_after_s))
    return response


def _answered(outcome: Literal["ok", "stale"]) -> Answer:
    if outcome == "ok":
        return 200, {"status": "ok"}
    message = "nobody waits for this answer any more"
    problem = {"error": message, "detail": message, "code": "question_expired"}
    return 409, {"status": "stale", "reason": "question_expired"} | problem


class ConversationRoutes:
    """Handlers about what is said."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def post(self, request: Request) -> Response:
        """POST /sessions/{id}/messages: a message or an answer."""
        session = session_of(request)
        values = sent(request)
        named = values.get("session_id")
        if named is not None and named != session:
            raise BadRequest("session_id is not the session of the path", code="invalid_body")
        if values.get("type") == _ANSWER:
            return await self._answer(request, session, values)
        body = parse(MessageBody, values, "invalid body")
        wanted = None if body.data is None else body.data.uuid
        try:
            posted = await self._backend.post_message(
                session,
                agent=None if body.agent is None else parse_agent_name(body.agent),
                content=body.content,
                message_id=None if wanted is None else parse_client_id(wanted),
                receipt=receipt_of(request, _accepted),
            )
        except MemoryFull as full:
            return _refused(full)
        return json_response(_accepted(posted))

    async def _answer(
        self, request: Request, session: SessionId, values: dict[str, Any]
    ) -> Response:
        body = parse(AnswerBody, values, "invalid answer")
        answer = body.answer.strip()
        if not answer:
            raise BadRequest("invalid answer", code="invalid_body")
        try:
            if any(
                body.request_id == one.approval_id for one in self._backend.approvals.open(session)
            ):
                outcome = await self._decide(request, body.request_id, answer)
            else:
                outcome = await self._backend.answer(
                    session, RequestId(body.request_id), answer, receipt_of(request, _answered)
                )
        except Unavailable as fault:
            problem = {"error": fault.message, "detail": fault.message, "code": fault.code}
            retry = {"status": "retry", "reason": "persistence_unavailable"}
            return json_response((503, retry | problem))
        return json_response(_answered(outcome))

    async def _decide(
        self, request: Request, approval_id: str, answer: str
    ) -> Literal["ok", "stale"]:
        """An approval, shown as a question to clients that know nothing else."""
        refuse_agents(request, self._backend.agents, "decide about calls")
        approve = answered(answer)
        if approve is None:
            wrong = "this is answered by Approve or Deny"
            raise BadRequest("invalid answer", code="invalid_body", detail=wrong)
        receipt = receipt_of(request, lambda _: _answered("ok"))
        try:
            await self._backend.approvals.decide(approval_id, Word(approve=approve), None, receipt)
        except Conflict:
            return "stale"
        return "ok"

    async def interrupt(self, request: Request) -> Response:
        """POST /sessions/{id}/interrupt: answers once everything has really stopped."""
        session = session_of(request)
        body = parse(InterruptBody, sent(request))
        agent = parse_agent_name(body.agent) if body.agent else None
        scope = "session" if agent is None else "agent"
        try:
            done = (await self._backend.interrupt(session, agent)).interrupted
        except NotFound:
            done = False
        reason = {} if done else {"reason": "already_idle"}
        return json_response((200, {"interrupted": done, "scope": scope} | reason))

    async def interrupt_tool(self, request: Request) -> Response:
        """POST /sessions/{id}/tools/{call}/interrupt."""
        call = CallId(request.path_params["call"])
        outcome = await self._backend.interrupt_tool(session_of(request), call)
        done = outcome == "interrupted"
        reason = {} if done else {"reason": outcome}
        return json_response((200, {"interrupted": done, "toolCallId": call} | reason))
