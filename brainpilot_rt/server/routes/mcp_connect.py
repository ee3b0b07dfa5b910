"""The daemon as an MCP server, at `/v1/mcp/connect`: agents for whoever has an MCP client.

Each of its tools is a request to a route that is there anyway, with the token of whoever calls: the
same rights, the same bounds, the same errors. Both eras of the protocol are spoken by the official
SDK, without a session: every POST stands alone, and there is nothing to listen to with a GET.
"""

import asyncio
import importlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from brainpilot_rt.server.bodies import read_body
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.idempotency import unrecorded
from brainpilot_rt.server.resources import Row

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

_REFUSED: Final = 400
_STOPPED: Final = "the daemon is stopping; what was begun goes on when it is back"


def _text(about: str) -> dict[str, Any]:
    return {"type": "string", "description": about}


def _number(about: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "description": about}


@dataclass(frozen=True, slots=True)
class _Tool:
    """A tool, and how its call becomes a request."""

    name: str
    about: str
    properties: dict[str, Any]
    required: tuple[str, ...]
    method: str
    path: str
    """With the names of arguments in braces."""
    reads: bool

    def request(self, given: dict[str, Any]) -> tuple[str, str, bytes]:
        """Path, query and body of a call; KeyError names an argument that is missing."""
        for name in self.required:
            if name not in given:
                raise KeyError(name)
        known = {name: value for name, value in given.items() if name in self.properties}
        # A name that needs an escape is no name of an agent or session; it is refused as it is.
        placed = {name for name in known if f"{{{name}}}" in self.path}
        path = self.path.format(**{name: quote(str(known[name]), safe="") for name in placed})
        rest = {name: value for name, value in known.items() if name not in placed}
        if self.method == "GET":
            return path, urlencode(rest), b""
        return path, "", json.dumps(rest).encode()


_AGENT: Final = _text("The agent: `principal`, a specialist, or one that was registered.")
_TOOLS: Final = (
    _Tool(
        "run_agent",
        "Ask an agent for something and wait for its answer, however long that takes.",
        {
            "agent": _AGENT,
            "message": _text("What is wanted."),
            "session_id": _text("A session to go on in; without it a new one."),
            "max_turns": _number("Model calls of the agent at most."),
            "budget_cap_usd": {"type": "number", "description": "What it may cost."},
        },
        ("agent", "message"),
        "POST",
        "/v1/agents/{agent}/run",
        reads=False,
    ),
    _Tool(
        "list_sessions",
        "The sessions of an agent, newest first.",
        {"agent": _AGENT, "limit": _number("Sessions wanted, at most 100.")},
        ("agent",),
        "GET",
        "/v1/agents/{agent}/sessions",
        reads=True,
    ),
    _Tool(
        "get_session_events",
        "What happened in a session of an agent, page by page.",
        {
            "agent": _AGENT,
            "session_id": _text("The session."),
            "after": _text("The `next` of the page before."),
            "limit": _number("Events wanted, at most 1000."),
        },
        ("agent", "session_id"),
        "GET",
        "/v1/agents/{agent}/sessions/{session_id}/events",
        reads=True,
    ),
)


class McpConnectRoutes:
    """The handler; `app` is given to it once there is one."""

    def __init__(self, config: ServerConfig, version: str) -> None:
        self._bytes_max = config.http.body_bytes_max
        self._version = version
        self.app: ASGIApp | None = None
        """What serves the other routes, behind the check of the token."""

    async def connect(self, request: Request) -> Response:
        """POST /v1/mcp/connect."""
        body = await read_body(request, self._bytes_max)
        unrecorded(request)
        # On a thread: it takes a third of a second.
        await asyncio.to_thread(importlib.import_module, "mcp.server.streamable_http_manager")
        return _Spoken(body, _server(self._version, self.app, request.scope))


class _Spoken(Response):
    """The answer to one message."""

    def __init__(self, body: bytes, server: "Server[Any]") -> None:
        super().__init__()
        self._said = body
        self._server = server

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the SDK answer."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        # It tells of each request; ours are not told of either.
        logging.getLogger("mcp.server").setLevel(logging.WARNING)
        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(_as_spoken(scope), _again(self._said, receive), send)


def _as_spoken(scope: Scope) -> Scope:
    """The request with the media types of the protocol, whatever it called them.

    The SDK answers another content type with plain text; here the body itself says what it is, and
    what is wrong with it is said as everywhere.
    """
    ours = {b"content-type": b"application/json", b"accept": b"application/json, text/event-stream"}
    others = [(key, value) for key, value in scope["headers"] if key not in ours]
    return {**scope, "headers": [*others, *ours.items()]}


def _server(version: str, app: ASGIApp | None, scope: Scope) -> "Server[Any]":
    from mcp import types
    from mcp.server.lowlevel import Server

    async def listed(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=one.name,
                    description=one.about,
                    input_schema={
                        "type": "object",
                        "properties": one.properties,
                        "required": list(one.required),
                    },
                    annotations=types.ToolAnnotations(read_only_hint=one.reads),
                )
                for one in _TOOLS
            ]
        )

    async def called(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        failed, text = await _carried_out(app, scope, params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=failed)

    return Server("brainpilot-rt", version=version, on_list_tools=listed, on_call_tool=called)


async def _carried_out(
    app: ASGIApp | None, scope: Scope, name: str, given: dict[str, Any]
) -> tuple[bool, str]:
    """Whether it failed, and the answer as JSON."""
    tool = next((one for one in _TOOLS if one.name == name), None)
    if tool is None or app is None:
        return True, f"there is no tool {name[:80]!r}"
    try:
        path, query, body = tool.request(given)
    except KeyError as missing:
        return True, f"argument {missing} is missing"
    status, answer = await _asked(app, scope, (tool.method, path, query), body)
    return status >= _REFUSED or not answer, answer or _STOPPED


async def _asked(
    app: ASGIApp, scope: Scope, what: tuple[str, str, str], body: bytes
) -> tuple[int, str]:
    """Status and body of a request of our own, made as whoever made the one we serve."""
    method, path, query = what
    # Whose token it is was found out already; nothing else of the outer request counts.
    kept = {key: scope[key] for key in scope if key.startswith("brainpilot_rt.")}
    for one in ("brainpilot_rt.body", "brainpilot_rt.ticket"):
        kept.pop(one, None)
    wanted = {b"authorization", b"x-api-key", b"host"}
    headers = [(key, value) for key, value in scope["headers"] if key in wanted]
    inner: Scope = {
        **{key: scope[key] for key in ("type", "asgi", "http_version", "scheme", "server")},
        **kept,
        "client": scope.get("client"),
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [*headers, (b"accept", b"application/json")],
        "state": {},
    }
    status, parts = 500, bytearray()

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        parts.extend(message.get("body", b""))

    await app(inner, _again(body, None), send)
    return status, parts.decode().strip()


def _again(body: bytes, rest: Receive | None) -> Receive:
    """A body that was read already, once more; then what comes, or nothing for ever."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        if rest is not None:
            return await rest()
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def mcp_connect_rows(to: McpConnectRoutes) -> list[Row]:
    """The one route."""
    answers = {200: "a message of the protocol", 202: "taken", 400: "no such message"}
    here = "/v1/mcp/connect"
    about = "The daemon as an MCP server (streamable HTTP, without sessions)"
    return [Row("POST", here, to.connect, about, answers, activity=False, rpc=True)]
