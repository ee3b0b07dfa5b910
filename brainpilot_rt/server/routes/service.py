"""Routes about the daemon itself: alive, ready, busy, version, stop, schema, web page."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.metrics.counters import Counters
from brainpilot_rt.metrics.exposition import negotiate, render
from brainpilot_rt.metrics.process import rss_bytes
from brainpilot_rt.server.bodies import Body, parse, sent
from brainpilot_rt.server.config import ServerConfig
from brainpilot_rt.server.hub import Hub
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.wires.brainpilot_views import liveness_json

_WEB: Final = Path(__file__).parent.parent / "web"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


class ShutdownBody(Body):
    """POST /shutdown. `ifIdleEpoch`: what /metrics said when the caller looked."""

    if_idle_epoch: Annotated[int, Field(alias="ifIdleEpoch", strict=True)]


class CapabilitiesBody(Body):
    """PUT /runtime/capabilities: what BrainPilot's backend can do for us."""

    capabilities: list[Literal["builtin.monitor"]]


class ServiceRoutes:
    """Handlers about the daemon."""

    def __init__(
        self, backend: Backend, config: ServerConfig, hub: Hub, counters: Counters
    ) -> None:
        self._backend = backend
        self._config = config
        self._hub = hub
        self._counters = counters
        self._health = json_response((200, {"status": "ok", "instanceId": backend.instance_id}))
        self._alive = json_response((200, {"status": "ok"}))
        self.schema: Callable[[], dict[str, Any]] = dict
        """Set when the table of routes is known."""

    async def health(self, _: Request) -> Response:
        """GET /health: alive, and who it is.

        `readOnly` says why nothing is accepted, `noShell` why no command can be run, if so.
        """
        troubles = {"readOnly": self._backend.read_only, "noShell": self._backend.no_shell}
        said = {name: why for name, why in troubles.items() if why is not None}
        if not said:
            return self._health
        return json_response(
            (200, {"status": "ok", "instanceId": self._backend.instance_id} | said)
        )

    async def healthz(self, _: Request) -> Response:
        """GET /healthz: alive."""
        return self._alive

    async def readyz(self, _: Request) -> Response:
        """GET /readyz: able to accept work."""
        missing = self._backend.ready()
        if not missing:
            return json_response((200, {"status": "ready"}))
        message = "not ready: " + ", ".join(missing)
        problem = {"error": message, "detail": message, "code": "not_ready"}
        return json_response((503, {"status": "not ready", "missing": missing} | problem))

    async def version(self, _: Request) -> Response:
        """GET /version."""
        return json_response((200, {"name": "brainpilot-rt", "version": self._backend.version}))

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json."""
        return json_response((200, self.schema()))

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: JSON unless the client names a Prometheus format."""
        live = self._backend.liveness()
        rss = rss_bytes()
        form = negotiate(request.headers.get("accept", ""))
        vary = {"vary": "Accept"}
        if form != "json":
            gauges = {
                "sessions_active": live.active_sessions,
                "agents_running": live.running_agents,
                "letters_unread": live.unread_letters,
                "audit_violations": live.audit_violations,
                "reclaimable": int(not live.reasons),
                "read_only": int(self._backend.read_only is not None),
                "idle_epoch": live.idle_epoch,
                "loop_lag_seconds": live.loop_lag_ms / 1000,
                "loop_blocked": live.loop_blocked,
                "resident_memory_bytes": rss,
                "approvals_open": len(self._backend.approvals.open()),
                "reservations_open": self._counters.governed.reservations_open,
                "sse_clients": self._hub.count,
                "sse_rings": self._hub.ring_count,
                "sse_lag_disconnects": self._hub.lagged,
                **self._backend.gauges(),
            }
            body, media_type = render(self._counters, gauges, live.leases, form)
            return Response(body, headers=vary | {"content-type": media_type})
        limit = self._config.mem_limit_bytes
        facts = liveness_json(live) | {
            "readOnly": self._backend.read_only,
            "memRss": rss,
            "memLimitBytes": limit,
            "memRatio": None if not limit else round(rss / limit, 4),
        }
        response = json_response((200, facts))
        response.headers["vary"] = "Accept"
        return response

    async def shutdown(self, request: Request) -> Response:
        """POST /shutdown: stop, unless something was accepted since the caller looked."""
        body = parse(ShutdownBody, sent(request))
        reasons = self._backend.shutdown_if_idle(body.if_idle_epoch)
        if not reasons:
            return json_response((202, {"status": "stopping"}))
        message = "not idle: " + ", ".join(reasons)
        problem = {"error": message, "detail": message, "code": "not_idle"}
        return json_response((409, {"status": "busy", "reasons": list(reasons)} | problem))

    async def capabilities(self, request: Request) -> Response:
        """PUT /runtime/capabilities: the handshake of BrainPilot's backend."""
        body = parse(CapabilitiesBody, sent(request), "invalid capabilities")
        return json_response((200, {"capabilities": body.capabilities}))

    async def mcp_status(self, _: Request) -> Response:
        """GET /mcp/status."""
        return json_response((200, self._backend.mcp_status()))

    async def page(self, request: Request) -> Response:
        """GET /: the web page; a capability address that lacks its last slash leads to it."""
        asked = bytes(request.scope.get("raw_path") or b"/").decode("latin-1")
        if not asked.endswith("/"):
            # The page names its parts relative to its address.
            return RedirectResponse(f"{asked.rpartition('/')[2]}/")
        return _static("index.html")

    async def static(self, request: Request) -> Response:
        """GET /web/{name}: what the web page is made of."""
        return _static(request.path_params["name"])


def _static(name: str) -> Response:
    kind = _TYPES.get(Path(name).suffix)
    if kind is None or name not in {file.name for file in _WEB.iterdir()}:
        raise NotFound("there is no such page")
    body = (_WEB / name).read_bytes()
    return Response(body, headers=_PAGE_HEADERS | {"content-type": kind})
