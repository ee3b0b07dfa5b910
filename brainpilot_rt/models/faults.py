"""A provider's failure, classified once: which of our faults it is, and what the user can do.

| seen | fault | code |
|---|---|---|
| 401 | fatal | `auth` |
| 402, 429 for an exhausted quota | fatal | `quota` |
| 403 | fatal | `forbidden` |
| 404 | fatal | `not_found` |
| 400, 422 and other 4xx | fatal | `bad_request`, or `context_overflow` |
| 413 | fatal | `context_overflow` |
| 408, 409, 425 | retryable | `timeout`, `conflict` |
| 429 | retryable | `rate_limited` |
| 503, 529, in-stream overload | retryable | `overloaded` |
| other 5xx | retryable | `server_error` |
| 3xx | fatal | `redirect`: not followed, the key would go with it |
| HTML, wrong content type, garbage | fatal | `protocol` |
| end of stream without its end marker | retryable | `protocol` |
| no connection, reset | retryable | `connection`, `stream_cut` |

Messages are bounded and carry no key: the exact keys in use are cut out, and what looks like one.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from brainpilot_rt.domain.errors import FatalFault, ProviderFault, RetryableFault

MESSAGE_CHARS_MAX: Final = 500

_KEY_LIKE: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|api)[-_][A-Za-z0-9_*-]{8,}|\bAIza[\w-]{20,}|\b(?:gh[pousr]|hf)_\w{16,}"
    r"|\bBearer\s+\S+|\beyJ[\w-]{10,}\.[\w-]+(?:\.[\w-]*)?|(?<=://)[^/\s@]+(?=@)",
    re.IGNORECASE,
)
_OVERFLOW: Final = re.compile(
    r"context.{0,12}(?:length|window|size)|(?:prompt|input|request).{0,20}too (?:long|large)"
    r"|too many (?:input )?tokens|maximum.{0,20}tokens",
    re.IGNORECASE,
)
_QUOTA: Final = re.compile(r"billing|credit balance", re.IGNORECASE)
_HTML: Final = re.compile(r"^\s*<(?:!doctype|html|head|body)", re.IGNORECASE)
_SECRET_CHARS_MIN: Final = 6

_ADVICE: Final = {
    "auth": "the key was not accepted: check the key of this provider",
    "quota": "the account has no quota or credit left",
    "forbidden": "the key may not use this model or address",
    "not_found": "no such model or address: check the model's name and the base URL",
    "context_overflow": "the conversation is too long for this model",
    "redirect": "redirects are not followed: set the base URL to where the provider answers",
}
_RETRYABLE: Final = {
    408: "timeout",
    409: "conflict",
    425: "conflict",
    429: "rate_limited",
    503: "overloaded",
    529: "overloaded",
}
_FATAL: Final = {
    401: "auth",
    402: "quota",
    403: "forbidden",
    404: "not_found",
    413: "context_overflow",
}
_IN_BAND: Final = {
    "authentication_error": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "timeout_error": 408,
    "context_length_exceeded": 413,
}
_SERVER_ERROR: Final = 500
_CLIENT_ERROR: Final = 400
_ERROR_STATUS_END: Final = 600


def from_status(
    status: int, headers: Mapping[str, str], body: bytes, *, now: datetime
) -> ProviderFault:
    """The fault for an answer whose status is not 200. Header names are lower-case."""
    text = body.decode("utf-8", errors="replace")
    detail, kind = _detail(text)
    return _classify(status, detail, kind, retry_after(headers, now=now))


def in_band(error: object) -> ProviderFault:
    """The fault for an error object inside a stream that began with 200."""
    detail, kind = _detail(json.dumps({"error": error}, ensure_ascii=False))
    code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
    status = _IN_BAND.get(kind) or _IN_BAND.get(str(code)) or _SERVER_ERROR
    if isinstance(code, int) and _CLIENT_ERROR <= code < _ERROR_STATUS_END:
        status = code
    return _classify(status, detail, kind, None)


def protocol(message: str, *, sample: str = "") -> FatalFault:
    """The fault for an answer that is not what the dialect says."""
    shown = f": {' '.join(sample.split())[:80]!r}" if sample else ""
    return FatalFault(
        f"the provider does not speak its protocol: {message}{shown}", code="protocol"
    )


def cut() -> RetryableFault:
    """The fault for a stream that ended without its end marker."""
    return RetryableFault(
        "the provider's stream ended in the middle of the answer", code="protocol"
    )


def scrubbed(fault: ProviderFault, secrets: tuple[str, ...]) -> ProviderFault:
    """The same fault with a message that is bounded and names no key."""
    message = scrub(fault.message, secrets)
    if isinstance(fault, RetryableFault):
        return RetryableFault(
            message, code=fault.code, status=fault.status, retry_after_s=fault.retry_after_s
        )
    return FatalFault(message, code=fault.code, status=fault.status)


def scrub(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Cut out the given keys and what looks like one; at most `MESSAGE_CHARS_MAX` characters."""
    for secret in secrets:
        if len(secret) >= _SECRET_CHARS_MIN:
            text = text.replace(secret, "[key]")
    text = _KEY_LIKE.sub("[key]", text)
    if len(text) > MESSAGE_CHARS_MAX:
        text = text[: MESSAGE_CHARS_MAX - 3] + "..."
    return text


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds the provider asks to wait (`retry-after-ms`; `Retry-After`, seconds or date)."""
    exact = _seconds(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None:
        return seconds
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _seconds(value: str | None) -> float | None:
    if value is None or not re.fullmatch(r"\s*\d{1,9}(?:\.\d{1,6})?\s*", value):
        return None
    return float(value)


def _classify(status: int, detail: str, kind: str, retry_after_s: float | None) -> ProviderFault:
    overflow = _CLIENT_ERROR <= status < _SERVER_ERROR and _OVERFLOW.search(detail)
    # Of a 429 only its kind tells: the words for too fast and for nothing left are the same.
    no_quota = "quota" in kind or (status in {400, 403} and _QUOTA.search(detail))
    if status in _RETRYABLE and not no_quota:
        code: str | None = _RETRYABLE[status]
    elif status >= _SERVER_ERROR:
        code = "server_error"
    else:
        code = None
    if code:
        message = f"{_headline(status, code)}{_tail(detail)}"
        return RetryableFault(message, code=code, status=status, retry_after_s=retry_after_s)
    if no_quota:
        code = "quota"
    elif overflow and status in {400, 413, 422}:
        code = "context_overflow"
    elif status < _CLIENT_ERROR:
        code = "redirect"
    else:
        code = _FATAL.get(status, "bad_request")
    return FatalFault(f"{_headline(status, code)}{_tail(detail)}", code=code, status=status)


def _headline(status: int, code: str) -> str:
    advice = _ADVICE.get(code)
    return f"provider error {status} ({code})" + (f": {advice}" if advice else "")


def _tail(detail: str) -> str:
    return f" - {detail}" if detail else ""


def _detail(text: str) -> tuple[str, str]:
    """The message and the kind in an error body; of an HTML page only that it was one."""
    if _HTML.match(text):
        return "(an HTML page instead of an API answer)", ""
    try:
        body: object = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text[: 4 * MESSAGE_CHARS_MAX].split()), ""
    found = body
    for _ in range(3):
        if not isinstance(found, dict):
            break
        fields = cast("dict[str, Any]", found)
        message = fields.get("message")
        if isinstance(message, str):
            return message, str(fields.get("type") or fields.get("code") or "")
        found = fields.get("error", fields.get("detail"))
    return (found if isinstance(found, str) else ""), ""
