"""Errors as HTTP: one table from the error tree to a status, one body wherever it happens.

BrainPilot's clients read `error` (0.2.2) or `detail` (0.0.9), programs read `code`; those three
are the whole body on BrainPilot's routes. `/v1` speaks the form of the model providers, and that of
Anthropic to those who name its version. Everywhere else, and for whoever asks for it, the answer is
RFC 9457 problem JSON, with the same three inside.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import Response

from brainpilot_rt.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Busy,
    CommandRejected,
    Conflict,
    Forbidden,
    NotFound,
    ProviderFault,
    RuntimeFault,
    TooLarge,
    Unavailable,
)
from brainpilot_rt.server.tracks import encode

_log = logging.getLogger(__name__)

STATUS: Final[tuple[tuple[type[RuntimeFault], int], ...]] = (
    (BadRequest, 400),
    (BudgetExceeded, 402),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Busy, 429),
    (CommandRejected, 409),
    (Unavailable, 503),
    (ProviderFault, 502),
    (RuntimeFault, 500),
)
"""First match wins, so a class stands before its parents."""

_BRAINPILOT: Final = ("/sessions", "/sse/", "/metrics", "/health", "/runtime/", "/mcp/")
_PROBLEM_JSON: Final = "application/problem+json"
_ANTHROPIC: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""`error.type` by status, for clients of Anthropic; any other is an `api_error`."""


def status_of(fault: RuntimeFault) -> int:
    """The HTTP status of an error of the tree."""
    kinds = type(fault).__mro__
    return next(status for kind, status in STATUS if kind in kinds)


def body_of(
    path: str, headers: Headers, status: int, code: str, message: str, detail: str = ""
) -> tuple[str, Any]:
    """Content type and body of an error answer on a path."""
    accept = headers.get("accept", "")
    if path.startswith("/v1/") and "anthropic-version" in headers:
        kind = _ANTHROPIC.get(status, "api_error")
        said = {"type": kind, "message": message, "code": code}
        request_id = headers.get("x-request-id")
        return "application/json", {"type": "error", "error": said, "request_id": request_id}
    if path.startswith("/v1/"):
        return "application/json", {"error": {"message": message, "type": code}}
    body: dict[str, Any] = {"error": message, "detail": detail or message, "code": code}
    if path.startswith(_BRAINPILOT) and _PROBLEM_JSON not in accept:
        return "application/json", body
    title = HTTPStatus(status).phrase
    return _PROBLEM_JSON, {"type": "about:blank", "title": title, "status": status, **body}


def problem(
    path: str,
    headers: Headers,
    status: int,
    code: str,
    message: str,
    *,
    extra: dict[str, str] | None = None,
) -> Response:
    """An error answer."""
    media_type, body = body_of(path, headers, status, code, message)
    return Response(encode(body), status, headers=extra, media_type=media_type)


def answer_to(
    fault: RuntimeFault, path: str, headers: Headers, redact: Callable[[str], str]
) -> Response:
    """The answer to an error of the tree."""
    extra = (
        {"retry-after": str(max(1, round(fault.retry_after_s)))}
        if isinstance(fault, Busy)
        else None
    )
    status = status_of(fault)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("%s answered %d: %s", path, status, fault.message)
    said, detail = redact(fault.message), redact(fault.detail)
    media_type, body = body_of(path, headers, status, fault.code, said, detail)
    return Response(encode(body), status, headers=extra, media_type=media_type)


def answer_to_a_bug(path: str, headers: Headers) -> Response:
    """The answer to anything else. What happened is in the log of the daemon and nowhere else."""
    _log.exception("a request to %s failed", path)
    return problem(path, headers, 500, "internal_error", "internal error; see the daemon's log")
