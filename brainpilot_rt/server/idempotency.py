"""`Idempotency-Key`: a POST that is repeated is answered, not done, again.

The answer is durable. Where a route changes a session, it is stored in the very commit of the
change (the handler builds the receipt from the result); elsewhere right after the deed. The same
key with the same request gives the first answer verbatim, with another request 409. Two at the
same time: the second waits for the first.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.errors import BadRequest, Conflict
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.eventlog.port import EventLog, Receipt
from brainpilot_rt.server.ports import ReceiptOf
from brainpilot_rt.server.tracks import encode

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_TICKET: Final = "brainpilot_rt.ticket"
_HASHED_HERE_MAX: Final = 1024 * 1024

Answer = tuple[int, dict[str, Any]]
"""Status and JSON body."""


def json_response(answer: Answer) -> Response:
    """An answer as a response."""
    status, body = answer
    return Response(encode(body), status, media_type="application/json")


class Ticket:
    """The right to answer for a key. `stored`: the receipt is in a commit."""

    def __init__(self, key: str, fingerprint: str, at_ms: int) -> None:
        self._key = key
        self._fingerprint = fingerprint
        self._at_ms = at_ms
        self.stored = False

    def receipt(self, status: int, body: bytes) -> Receipt:
        """The durable answer."""
        self.stored = True
        return Receipt(self._key, self._fingerprint, status, body, self._at_ms)


def receipt_of(request: Request, answer: Callable[[Any], Answer]) -> ReceiptOf | None:
    """How to build the receipt of this request, for the commit; None if it has no key."""
    ticket: Ticket | None = request.scope.get(_TICKET)
    if ticket is None:
        return None

    def build(result: Any) -> Receipt:
        status, body = answer(result)
        return ticket.receipt(status, encode(body))

    return build


def unrecorded(request: Request) -> None:
    """Keep the answer of this request out of the log: it holds a secret."""
    ticket: Ticket | None = request.scope.get(_TICKET)
    if ticket is not None:
        ticket.stored = True


class Idempotency:
    """Answers repeated requests from the log."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._busy: dict[str, asyncio.Future[None]] = {}

    async def once(
        self, request: Request, body: bytes, act: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Act, or repeat the answer given before; plainly act when there is no key."""
        keys = request.headers.getlist("idempotency-key")
        if not keys:
            return await act(request)
        if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
            raise BadRequest("Idempotency-Key is 1 to 255 visible ASCII characters")
        fingerprint = await _fingerprint(request, body)
        async with self._alone(keys[0]):
            known = await self._log.receipt(keys[0])
            if known is not None:
                return _repeat(known, fingerprint)
            ticket = Ticket(keys[0], fingerprint, self._clock.now_ms())
            request.scope[_TICKET] = ticket
            response = await act(request)
            done = response.status_code < HTTPStatus.MULTIPLE_CHOICES
            if done and not ticket.stored and "retry-after" not in response.headers:
                receipt = ticket.receipt(response.status_code, bytes(response.body))
                await self._log.append(DAEMON_STREAM, [], receipt=receipt)
            return response

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncGenerator[None]:
        while key in self._busy:
            await asyncio.wait([self._busy[key]])
        done = self._busy[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._busy[key]
            done.set_result(None)


async def _fingerprint(request: Request, body: bytes) -> str:
    """What was asked, as a hash; that of a large body is computed on a thread."""
    target = f"{request.method} {request.scope['path']}\n".encode()
    asked = hashlib.sha256(target + request.scope["query_string"] + b"\n")
    if len(body) > _HASHED_HERE_MAX:
        await asyncio.to_thread(asked.update, body)
    else:
        asked.update(body)
    return asked.hexdigest()


def _repeat(known: Receipt, fingerprint: str) -> Response:
    if known.fingerprint != fingerprint:
        message = "this Idempotency-Key was used for another request"
        raise Conflict(message, code="idempotency_key_reused")
    headers = {"idempotent-replay": "true"}
    return Response(known.body, known.status, headers=headers, media_type="application/json")
