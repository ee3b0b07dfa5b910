"""Routes about why: the reasoning graph, the causal record, and pictures of both.

`causes` without a thing to explain is the whole record, page by page; with one (in the path, or as
`?of=` for what has slashes in its name) it is what led to that thing and what it cost.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.queries import number
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.trace import drawing, picture
from brainpilot_rt.trace.causes import Cause, Causes
from brainpilot_rt.trace.chains import chain, chain_json, find, whole_json

PAGE_MAX: Final = 5_000
_FORMS: Final[dict[str, tuple[Callable[[drawing.Drawing], str], str]]] = {
    "svg": (picture.svg, picture.MEDIA_TYPE),
    "dot": (drawing.dot, "text/vnd.graphviz"),
    "mermaid": (drawing.mermaid, "text/plain"),
}
_FULL: Final[dict[str, bool | None]] = {"auto": None, "runs": False, "turns": True}
_SEALED: Final = {
    "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"
}


class TraceRoutes:
    """Handlers about reasons and causes."""

    def __init__(self, backend: Backend) -> None:
        self._views = backend.trace_views

    async def graph(self, request: Request) -> Response:
        """GET /sessions/{id}/trace."""
        return json_response((200, await self._views.graph(session_of(request))))

    async def node(self, request: Request) -> Response:
        """GET /sessions/{id}/trace/nodes/{node}."""
        session, node = session_of(request), request.path_params["node"]
        return json_response((200, await self._views.node(session, node)))

    async def picture(self, request: Request) -> Response:
        """GET /sessions/{id}/trace.svg: the reasoning graph."""
        session = session_of(request)
        nodes = await self._views.nodes(session)
        drawn = drawing.of_steps(nodes, f"Reasoning of {session}")
        return await _drawn(drawn, "svg")

    async def causes(self, request: Request) -> Response:
        """GET /sessions/{id}/trace/causes, and /{of}."""
        session, asked = session_of(request), request.query_params
        form = asked.get("format", "json")
        if form != "json" and form not in _FORMS:
            raise BadRequest(f"format: one of json, {', '.join(_FORMS)}")
        wanted = request.path_params.get("of") or asked.get("of")
        graph = await self._views.causes(session)
        if wanted is None:
            if form == "json":
                after, limit = number(request, "after", 0), number(request, "limit", PAGE_MAX)
                page = await asyncio.to_thread(
                    whole_json, graph, session, after, min(limit, PAGE_MAX)
                )
                return json_response((200, page))
            return await _form(graph, list(graph.nodes.values()), f"Causes in {session}", request)
        of = find(graph, wanted)
        if form == "json":
            return json_response((200, await asyncio.to_thread(chain_json, graph, session, of)))
        return await _form(graph, chain(graph, of), f"Why: {of.label}", request)


async def _form(graph: Causes, nodes: Sequence[Cause], name: str, request: Request) -> Response:
    detail = request.query_params.get("detail", "auto")
    if detail not in _FULL:
        raise BadRequest("detail: auto, runs or turns")
    drawn = drawing.of_causes(graph, nodes, name, full=_FULL[detail])
    return await _drawn(drawn, request.query_params["format"])


async def _drawn(drawn: drawing.Drawing, form: str) -> Response:
    write, media_type = _FORMS[form]
    text = await asyncio.to_thread(write, drawn)
    return Response(text, headers=_SEALED, media_type=media_type)
