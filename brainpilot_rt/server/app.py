"""The server: the table of routes, and how it is put together.

Every route is also served under `/c/<token>/`. The daemon builds the app once its port is bound,
closes `app.state.streams` before it stops the listener (an open stream would hold it up), and may
lend each connection's `state` an `abort` callable to get rid of clients that do not read.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final, TypeAlias

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from brainpilot_rt.metrics.counters import Counters
from brainpilot_rt.server.absent import reason
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.idempotency import Idempotency
from brainpilot_rt.server.openapi import document
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.problems import problem
from brainpilot_rt.server.resources import Resource, Row, Shared
from brainpilot_rt.server.routes.agent_profiles import (
    AgentLimitRoutes,
    AgentProfileRoutes,
    limit_rows,
    profile_rows,
)
from brainpilot_rt.server.routes.agent_runs import AgentRunRoutes, agent_run_rows
from brainpilot_rt.server.routes.approvals import ApprovalRoutes, approval_rows
from brainpilot_rt.server.routes.budget import BudgetRoutes, budget_rows
from brainpilot_rt.server.routes.conversation import (
    AnswerBody,
    ConversationRoutes,
    InterruptBody,
    MessageBody,
)
from brainpilot_rt.server.routes.files import FileRoutes, UploadBody
from brainpilot_rt.server.routes.governance import GovernanceRoutes, governance_rows
from brainpilot_rt.server.routes.guardrails import GuardrailRoutes, guardrail_rows
from brainpilot_rt.server.routes.intelligence import IntelligenceRoutes, intelligence_rows
from brainpilot_rt.server.routes.managed import managed_rows
from brainpilot_rt.server.routes.mcp import McpRoutes, mcp_rows
from brainpilot_rt.server.routes.mcp_connect import McpConnectRoutes, mcp_connect_rows
from brainpilot_rt.server.routes.memory import EditBody, MemoryRoutes, RememberBody
from brainpilot_rt.server.routes.memory_v1 import SharedMemoryRoutes, shared_memory_rows
from brainpilot_rt.server.routes.openai import OpenAiRoutes, openai_rows
from brainpilot_rt.server.routes.refusals import ProviderRoutes, provider_rows
from brainpilot_rt.server.routes.service import CapabilitiesBody, ServiceRoutes, ShutdownBody
from brainpilot_rt.server.routes.sessions import (
    CreateSessionBody,
    SessionRoutes,
    UpdateSessionBody,
)
from brainpilot_rt.server.routes.skills import SkillRoutes
from brainpilot_rt.server.routes.streams import StreamRoutes
from brainpilot_rt.server.routes.trace import TraceRoutes
from brainpilot_rt.server.routes.turns import TurnRoutes
from brainpilot_rt.server.run_streams import RunStreams
from brainpilot_rt.server.security import Guard, Rules
from brainpilot_rt.server.stream import Streams

Answers: TypeAlias = dict[int, str]

_AFTER: Final = {"after": "the cursor to go on after", "token": "where no header can be sent"}
_PATH: Final = {"path": "logical path: /workspace/..., /data/..., /attachments/..., /shared/..."}
_LIMIT: Final = {"limit": "newest frames wanted, 1 to 5000 (1000); 0 or less: all"}
_SEQ: Final = {"after": "the `seq` to begin after"}
_FORM: Final = {"format": "json, svg, dot or mermaid", "detail": "auto, runs or turns"}
_PAGE: Final = {
    "of": "an answer, letter, run, file or citation; `latest`: the last answer",
    "after": "the `number` to begin after",
    "limit": "nodes wanted, at most 5000",
}
_DONE: Final[Answers] = {200: "done"}
_FOUND: Final[Answers] = {200: "found", 400: "not a legal id", 404: "no such session"}
_CHANGED: Final[Answers] = {200: "done", 400: "malformed", 404: "no such session"}
_POSTED: Final[Answers] = {**_CHANGED, 409: "stale, or the key was reused", 413: "too large"}
_CREATED: Final[Answers] = {201: "created, or already there", 400: "malformed", 413: "too large"}
_FILE: Final[Answers] = {200: "the file", 400: "not a file path", 404: "no such file"}
_RANGE: Final[Answers] = {**_FILE, 206: "a part of it", 416: "no such part"}
_STREAM: Final[Answers] = {
    200: "server-sent events",
    400: "not a cursor",
    404: "no such session",
    429: "too many streams",
    503: "stopping",
}
_READY: Final[Answers] = {200: "ready", 503: "not ready, and why"}
_STOP: Final[Answers] = {202: "stopping", 400: "malformed", 409: "not idle, and why"}


def _service_rows(to: ServiceRoutes) -> list[Row]:
    return [
        Row("GET", "/health", to.health, "Alive, and which instance", _DONE, open=True),
        Row("GET", "/metrics", to.metrics, "Liveness; Prometheus when named", _DONE, open=True),
        Row("GET", "/healthz", to.healthz, "Alive", _DONE, open=True),
        Row("GET", "/readyz", to.readyz, "Able to accept work", _READY, open=True),
        Row("GET", "/version", to.version, "Name and version", _DONE, open=True),
        Row("GET", "/openapi.json", to.openapi, "This document", _DONE, open=True),
        Row("GET", "/", to.page, "The web page", _DONE, open=True),
        Row("GET", "/web/{name}", to.static, "Its parts", _FILE, open=True),
        Row("GET", "/mcp/status", to.mcp_status, "MCP servers", _DONE),
        Row(
            "PUT",
            "/runtime/capabilities",
            to.capabilities,
            "Handshake of BrainPilot's backend",
            _CHANGED,
            body=(CapabilitiesBody,),
            activity=False,
        ),
        Row(
            "POST",
            "/shutdown",
            to.shutdown,
            "Stop unless something was accepted since",
            _STOP,
            body=(ShutdownBody,),
            activity=False,
        ),
    ]


def _session_rows(to: SessionRoutes) -> list[Row]:
    one = "/sessions/{id}"
    new, changed = (CreateSessionBody,), (UpdateSessionBody,)
    return [
        Row("GET", "/sessions", to.index, "All sessions", _DONE),
        Row("POST", "/sessions", to.create, "Create a session", _CREATED, body=new),
        Row("GET", one, to.show, "One session", _FOUND),
        Row(
            "PUT",
            one,
            to.update,
            "Rename, set the thinking level",
            _CHANGED,
            body=changed,
            write=True,
        ),
        Row("DELETE", one, to.delete, "Delete with all its data", _FOUND),
        Row("GET", f"{one}/state", to.state, "What is going on", _FOUND),
        Row("GET", f"{one}/agents", to.agents, "The team", _DONE),
        Row("GET", f"{one}/letters", to.letters, "Letters and their receipts", _FOUND),
        Row("GET", f"{one}/stats", to.stats, "Tokens, tools and runs", _FOUND),
        Row("POST", f"{one}/evict", to.evict, "Stop, and drop from memory", _FOUND, write=True),
    ]


def _trace_rows(to: TraceRoutes) -> list[Row]:
    one = "/sessions/{id}"
    why = f"{one}/trace/causes"
    form, page = _FORM, _FORM | _PAGE
    return [
        Row("GET", f"{one}/trace", to.graph, "The graph of trace", _FOUND),
        Row("GET", f"{one}/trace.svg", to.picture, "A picture of it", _FOUND),
        Row("GET", f"{one}/trace/nodes/{{node}}", to.node, "A node and its versions", _FOUND),
        Row("GET", why, to.causes, "What caused what, and its cost", _FOUND, query=page),
        Row("GET", f"{why}/{{of}}", to.causes, "What led to one thing", _FOUND, query=form),
    ]


def _turn_rows(to: TurnRoutes) -> list[Row]:
    one = "/sessions/{id}/turns"
    newest = {"limit": "newest turns wanted, at most 1000 (50)"}
    found = {**_FOUND, 404: "no such session or turn"}
    return [
        Row("GET", one, to.index, "What each turn cost and was for", _FOUND, query=newest),
        Row("GET", f"{one}/{{n}}/context", to.context, "What the model read in a turn", found),
    ]


def _memory_rows(to: MemoryRoutes) -> list[Row]:
    one = "/sessions/{id}/memory"
    item = f"{one}/items/{{item}}"
    whose = {"agent": "of a section that each agent has: whose; without it all"}
    some = {**whose, "limit": "newest items wanted, at most 5000 (100)"}
    words = {
        **whose,
        "query": "words to look for",
        "top_k": "items wanted, at most 100 (10)",
        "section": "only this section",
    }
    no_section = {**_FOUND, 404: "no such session or section"}
    full = {409: "the section is full, or the key was reused", 413: "too large"}
    added = {201: "remembered", 400: "malformed", 404: no_section[404], **full}
    edited = {**_CHANGED, 404: "no such session or item", **full}
    gone = {**_FOUND, 404: edited[404]}
    new, changed = (RememberBody,), (EditBody,)
    return [
        Row("GET", one, to.index, "What is remembered, by section", _FOUND),
        Row("POST", one, to.remember, "Remember something", added, body=new, write=True),
        Row("GET", f"{one}/search", to.search, "Find by words", no_section, query=words),
        Row("GET", f"{one}/{{section}}", to.section, "A section", no_section, query=some),
        Row("PUT", item, to.edit, "Change or pin an item", edited, body=changed, write=True),
        Row("DELETE", item, to.forget, "Forget an item", gone, write=True),
    ]


def _skill_rows(to: SkillRoutes) -> list[Row]:
    one = "/sessions/{id}/skills"
    return [Row("GET", one, to.index, "Skills, and what is wrong with them", _FOUND)]


def _talk_rows(to: ConversationRoutes) -> list[Row]:
    one = "/sessions/{id}"
    said, stop = (MessageBody, AnswerBody), (InterruptBody,)
    return [
        Row("POST", f"{one}/messages", to.post, "Say or answer something", _POSTED, body=said),
        Row(
            "POST",
            f"{one}/interrupt",
            to.interrupt,
            "Stop an agent or all",
            _DONE,
            body=stop,
            write=True,
        ),
        Row(
            "POST",
            f"{one}/tools/{{call}}/interrupt",
            to.interrupt_tool,
            "Stop one tool call",
            _FOUND,
            write=True,
        ),
    ]


def _file_rows(to: FileRoutes) -> list[Row]:
    files = "/sessions/{id}/files"
    return [
        Row("GET", files, to.index, "One level of files", _FILE, query=_PATH),
        Row(
            "POST",
            files,
            to.upload,
            "Upload a file",
            _CREATED,
            body=(UploadBody,),
            query=_PATH,
            upload=True,
            write=True,
        ),
        Row("DELETE", files, to.delete, "Delete a file or folder", _FILE, query=_PATH, write=True),
        Row("GET", f"{files}/content", to.content, "A text file", _FILE, query=_PATH),
        Row("GET", f"{files}/raw", to.raw, "The bytes, or a range", _RANGE, query=_PATH),
    ]


def _stream_rows(to: StreamRoutes) -> list[Row]:
    one = "/sessions/{id}"
    follow = "Follow a session"
    return [
        Row("GET", f"{one}/history", to.history, "Frames so far", _FOUND, query=_LIMIT),
        Row("GET", f"{one}/export", to.export, "Events as JSON lines", _FOUND, query=_SEQ),
        Row("GET", f"{one}/events", to.session, follow, _STREAM, query=_AFTER, stream=True),
        Row("GET", "/sse/{id}", to.session, follow, _STREAM, query=_AFTER, stream=True),
        Row("GET", "/events", to.everything, "Follow all", _STREAM, query=_AFTER, stream=True),
    ]


def build_app(backend: Backend, config: ServerConfig) -> Starlette:
    """The ASGI app over a backend. Listens to the backend until `state.streams` is closed."""
    http = config.http
    hub = Hub(backend, http)
    streams = Streams(backend, hub)
    counters = Counters()
    backend.listen(counters.fold)
    service = ServiceRoutes(backend, config, hub, counters)
    connect = McpConnectRoutes(config, backend.version)
    rows = [
        *_service_rows(service),
        *_session_rows(SessionRoutes(backend, config)),
        *_trace_rows(TraceRoutes(backend)),
        *_memory_rows(MemoryRoutes(backend)),
        *_turn_rows(TurnRoutes(backend)),
        *_skill_rows(SkillRoutes(backend)),
        *_talk_rows(ConversationRoutes(backend)),
        *_file_rows(FileRoutes(backend)),
        *_stream_rows(StreamRoutes(backend, streams)),
        *profile_rows(AgentProfileRoutes(backend)),
        *limit_rows(AgentLimitRoutes(backend)),
        *mcp_rows(McpRoutes(backend)),
        *mcp_connect_rows(connect),
        *approval_rows(ApprovalRoutes(backend)),
        *agent_run_rows(AgentRunRoutes(backend, RunStreams(backend, hub))),
        *intelligence_rows(IntelligenceRoutes(backend, hub)),
        *governance_rows(GovernanceRoutes(backend)),
        *guardrail_rows(GuardrailRoutes(backend)),
        *shared_memory_rows(SharedMemoryRoutes(backend)),
        *provider_rows(ProviderRoutes(backend)),
        *budget_rows(BudgetRoutes(backend.budgets, backend.agents)),
        *managed_rows(backend, config, hub),
        *openai_rows(OpenAiRoutes(backend, config, hub)),
    ]
    service.schema = cache(lambda: document(rows, backend.version))
    shared = Shared(
        Idempotency(backend.log, config.clock),
        backend,
        http.body_bytes_max,
        max(http.upload_bytes_max, http.body_bytes_max),
        config.redact,
    )
    rules = Rules(
        hosts=config.hosts,
        token=config.token,
        bytes_max=shared.upload_bytes_max,
        open_paths=_pattern(row for row in rows if row.open),
        stream_paths=_pattern(row for row in rows if row.stream),
        clients=config.clients,
        monotonic=config.clock.monotonic,
    )
    app = Starlette(
        routes=[Route(path, Resource(group, shared)) for path, group in _by_path(rows).items()],
        middleware=[Middleware(Guard, rules, counters.refuse)],
    )
    connect.app = app.router
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    app.state.streams = streams
    app.state.rows = rows
    return app


def _by_path(rows: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.path, []).append(row)
    return grouped


def _pattern(rows: Iterable[Row]) -> re.Pattern[str]:
    """Matches the paths of some rows."""
    paths = {re.sub(r"{\w+}", "[^/]+", row.path) for row in rows}
    return re.compile("|".join(sorted(paths)))


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    path, why = scope["path"], reason(scope["path"])
    code = "no_such_route" if why is None else "unsupported"
    answer = problem(path, Headers(scope=scope), 404, code, why or "there is nothing here")
    await answer(scope, receive, send)
