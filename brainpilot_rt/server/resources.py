"""A row of the route table, and what serves all rows of one path.

Here is what is the same for every route: which method, which limit on the body, one idempotency,
one translation of errors, one mark of activity. Handlers are plain async functions from a request
to a response.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from brainpilot_rt.domain.errors import Forbidden, RuntimeFault
from brainpilot_rt.governance.access import Scope as Held
from brainpilot_rt.governance.access import covers
from brainpilot_rt.server.bodies import read_body
from brainpilot_rt.server.callers import refuse_agents
from brainpilot_rt.server.idempotency import Idempotency
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.problems import answer_to, answer_to_a_bug, problem
from brainpilot_rt.supervision.memories import SHARED

Handler = Callable[[Request], Awaitable[Response]]

_MUTATING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the route table. `answers`: what each status means."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, str]
    body: tuple[type[BaseModel], ...] = ()
    """What the JSON body may be."""
    query: dict[str, str] = field(default_factory=dict[str, str])
    open: bool = False
    """Needs no token."""
    stream: bool = False
    activity: bool = True
    """A success is something the user did, and moves the idle epoch."""
    upload: bool = False
    """The body may be as large as an upload."""
    write: bool = False
    """A change that makes no agent act."""
    rpc: bool = False
    """Speaks JSON-RPC, also of what is wrong with a message."""

    @property
    def needs(self) -> Held:
        """What a token must be good for: unless said otherwise, a change needs everything."""
        return "read" if self.method == "GET" else "write" if self.write else "execute"


@dataclass(frozen=True, slots=True)
class Shared:
    """What every resource uses."""

    idempotency: Idempotency
    backend: Backend
    body_bytes_max: int
    upload_bytes_max: int
    redact: Callable[[str], str] = str


class Resource:
    """All methods of one path, as an ASGI app."""

    def __init__(self, rows: Sequence[Row], shared: Shared) -> None:
        self._rows = {row.method: row for row in rows}
        if "GET" in self._rows:
            self._rows["HEAD"] = self._rows["GET"]
        self._allow = ", ".join(sorted(self._rows))
        self._shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        row = self._rows.get(scope["method"])
        path: str = scope["path"]
        headers = Headers(scope=scope)
        if row is None:
            message = f"{scope['method']} is not possible here"
            extra = {"allow": self._allow}
            answer = problem(path, headers, 405, "method_not_allowed", message, extra=extra)
            await answer(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(row, request)
        except RuntimeFault as fault:
            response = answer_to(fault, path, headers, self._shared.redact)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 - the boundary of a request: a bug becomes a 500
            response = answer_to_a_bug(path, headers)
        await response(scope, receive, send)

    async def _respond(self, row: Row, request: Request) -> Response:
        held: Held = request.scope["brainpilot_rt.scope"]
        if not row.open and not covers(held, row.needs):
            raise Forbidden(f"this token may {held}; this needs {row.needs}", code="scope")
        if row.method not in _MUTATING:
            return await row.handler(request)
        shared = self._shared
        if row.path.startswith("/sessions/{id}") and request.path_params["id"] == SHARED:
            refuse_agents(request, shared.backend.agents, "change the memory of the user")

        async def act(request: Request) -> Response:
            response = await row.handler(request)
            if row.activity and response.status_code < 300:  # noqa: PLR2004 - it was done
                shared.backend.touch()
            return response

        limit = shared.upload_bytes_max if row.upload else shared.body_bytes_max
        body = await read_body(request, limit)
        if row.method != "POST":
            return await act(request)
        return await shared.idempotency.once(request, body, act)
