"""Who may ask: the checks before any route, in one order, as pure decisions.

    sizes -> Host -> Origin and Sec-Fetch-Site -> token -> scope (by the route)

Host and Origin are checked on open routes too: they are what keeps a web page in the user's
browser away from a daemon on loopback (rebinding, cross-site requests). There are no CORS headers,
ever. The token comes as `Authorization: Bearer`, as `x-api-key` under `/v1`, in the path
(`/c/<token>/...`, for proxies that drop headers), or as `?token=` on streams alone, because a
browser's EventSource can send no header. In any other query a token is refused, so that it does
not end up in a history or a log.

An answer to a stranger is the same for every path, existing or not. Failed attempts are rationed;
the right token is always let in, so that nobody can lock the owner out.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainpilot_rt.governance.access import SCOPES
from brainpilot_rt.governance.access import Scope as Held
from brainpilot_rt.server.problems import problem

TARGET_BYTES_MAX: Final = 8 * 1024
HEADER_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 100
FAILURES_MAX: Final = 500
"""Failed attempts at once; then so many a second as below."""
FAILURES_PER_S: Final = 10.0
_CAPABILITY: Final = "/c/"
_WITHOUT_V1: Final = ("/chat/completions", "/models", "/responses")
"""What OpenAI's clients ask for when they are given an address without `/v1`."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ENCODED_SEPARATOR: Final = re.compile(rb"%2f|%5c|%00", re.IGNORECASE)
_NO_STORE: Final = (b"cache-control", b"no-store")
_PRIVATE: Final = (_NO_STORE, (b"referrer-policy", b"no-referrer"))
_PRIVATE_NAMES: Final = frozenset(name for name, _ in _PRIVATE)

HeaderList = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that goes no further. `reason` is a bounded label for the metrics."""

    status: int
    code: str
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What the checks compare with."""

    hosts: frozenset[str]
    token: Callable[[], str]
    bytes_max: int
    """Largest body of any route; each route has its own limit below that."""
    open_paths: re.Pattern[str]
    """Paths that may be read without a token."""
    stream_paths: re.Pattern[str]
    """Paths of streams, which may carry the token in their query."""
    clients: Callable[[], Mapping[str, Held]]
    """SHA-256 (hex) of further tokens -> what they are good for."""
    monotonic: Callable[[], float]

    def is_open(self, method: str, path: str) -> bool:
        """Whether this may be done without a token."""
        return method in {"GET", "HEAD"} and self.open_paths.fullmatch(path) is not None

    def is_stream(self, path: str) -> bool:
        """Whether this is a stream."""
        return self.stream_paths.fullmatch(path) is not None


def check_sizes(target_bytes: int, headers: HeaderList, bytes_max: int) -> Refusal | None:
    """Limits on what was read already, and on what is announced."""
    if target_bytes > TARGET_BYTES_MAX:
        return Refusal(414, "target_too_long", "the request target is too long", "size")
    total = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > HEADERS_MAX or total > HEADER_BYTES_MAX:
        return Refusal(431, "headers_too_large", "the request headers are too large", "size")
    lengths = _values(headers, b"content-length")
    if any(not length.isdigit() for length in lengths) or len(set(lengths)) > 1:
        return Refusal(400, "bad_length", "Content-Length is not a number", "size")
    if lengths and int(lengths[0][:20]) > bytes_max:
        return Refusal(413, "too_large", f"the body is larger than {bytes_max:,} bytes", "size")
    return None


def check_host(headers: HeaderList, hosts: frozenset[str]) -> Refusal | None:
    """Exactly one Host, exactly one of ours."""
    named = _values(headers, b"host")
    if len(named) == 1 and named[0].decode("latin-1") in hosts:
        return None
    return Refusal(421, "wrong_host", "this host is not served here", "host")


def check_origin(headers: HeaderList, hosts: frozenset[str]) -> Refusal | None:
    """A browser may ask only on behalf of our own pages."""
    origins = _values(headers, b"origin")
    sites = _values(headers, b"sec-fetch-site")
    foreign = [one for one in origins if not _is_ours(one.decode("latin-1"), hosts)]
    if len(origins) > 1 or foreign:
        return Refusal(403, "wrong_origin", "this origin may not ask", "origin")
    if any(site not in {b"same-origin", b"none"} for site in sites):
        return Refusal(403, "cross_site", "cross-site requests are refused", "origin")
    return None


def check_token(
    path: str, headers: HeaderList, query: bytes, in_path: str | None, rules: Rules
) -> Held | None:
    """What the token of the request is good for; None without a good one where one may be."""
    offered: list[bytes] = [] if in_path is None else [in_path.encode()]
    for value in _values(headers, b"authorization"):
        scheme, _, credentials = value.partition(b" ")
        if scheme.lower() == b"bearer":
            offered.append(credentials.strip())
    if path.startswith("/v1/"):
        offered += _values(headers, b"x-api-key")
    # Before a capability path stands a proxy that passes on what its own client gave it: with
    # BrainPilot's backend that is a token of its own, and none of our business.
    if in_path is None and rules.is_stream(path):
        offered += [token.encode() for token in tokens_in(query)]
    expected, clients = rules.token().encode(), rules.clients()
    # All comparisons are made, and each takes the same time whatever it compares.
    held = [_scope_of(one, expected, clients) for one in offered]
    good = [one for one in held if one is not None]
    if not good or len(good) < len(held):
        return None
    return SCOPES[min(map(SCOPES.index, good))]


def _scope_of(offered: bytes, expected: bytes, clients: Mapping[str, Held]) -> Held | None:
    if hmac.compare_digest(offered, expected):
        return "execute" if expected else None
    return clients.get(hashlib.sha256(offered).hexdigest()) if clients else None


def tokens_in(query: bytes) -> list[str]:
    """Values of `token` in a query string."""
    if not query:
        return []
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return [value for name, value in pairs if name.lower() == "token"]


def is_clean(raw_path: bytes) -> bool:
    """Whether a path is UTF-8 without encoded separators or NULs."""
    if b"%" not in raw_path and raw_path.isascii():
        return True
    if _ENCODED_SEPARATOR.search(raw_path):
        return False
    try:
        unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def split_capability(path: str) -> tuple[str | None, str]:
    """`/c/<token>/rest` as (token, `/rest`); (None, path) otherwise."""
    if not path.startswith(_CAPABILITY):
        return None, path
    token, _, rest = path[len(_CAPABILITY) :].partition("/")
    return token, f"/{rest}"


def canonical(path: str) -> str:
    """The path of the table: `/v1` where a client leaves it out, and once where it says it twice.

    Some clients have resources of both kinds, so that neither address suits them all.
    """
    while path.startswith("/v1/v1/"):
        path = path[len("/v1") :]
    return f"/v1{path}" if path in _WITHOUT_V1 else path


def judge(scope: Scope, rules: Rules) -> Refusal | Held:
    """All checks, in order, on a scope whose capability has been split off its path."""
    headers: HeaderList = scope["headers"]
    query: bytes = scope["query_string"]
    path: str = scope["path"]
    in_path: str | None = scope.get("brainpilot_rt.capability")
    refusal = (
        check_sizes(len(scope.get("raw_path") or b"") + len(query), headers, rules.bytes_max)
        or check_host(headers, rules.hosts)
        or check_origin(headers, rules.hosts)
    )
    if refusal is not None:
        return refusal
    is_open = in_path is None and rules.is_open(scope["method"], path)
    held: Held | None = "read" if is_open else check_token(path, headers, query, in_path, rules)
    if held is None:
        return Refusal(401, "unauthorized", "a token is needed", "token")
    if query and not rules.is_stream(path) and tokens_in(query):
        message = "a token is accepted in the query of a stream only"
        return Refusal(400, "token_in_query", message, "token_in_query")
    if not is_clean(scope.get("raw_path") or path.encode()):
        return Refusal(400, "bad_path", "the path holds an encoded slash, or is not UTF-8", "path")
    return held


def _is_ours(origin: str, hosts: frozenset[str]) -> bool:
    scheme, _, host = origin.partition("://")
    return scheme == "http" and host in hosts


def _values(headers: HeaderList, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


class Ration:
    """So many at once, and so many a second after that."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._left = float(FAILURES_MAX)
        self._at = monotonic()

    def take(self) -> bool:
        """Whether there is one more."""
        now = self._monotonic()
        self._left = min(FAILURES_MAX, self._left + (now - self._at) * FAILURES_PER_S)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Guard:
    """ASGI middleware: lets a request through, or answers it."""

    def __init__(self, app: ASGIApp, rules: Rules, on_refusal: Callable[[str], None]) -> None:
        self._app = app
        self._rules = rules
        self._on_refusal = on_refusal
        self._failures = Ration(rules.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge, then pass on with the headers every answer carries."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        token, path = split_capability(scope["path"])
        path = canonical(path)
        inner: dict[str, Any] = {**scope, "path": path, "brainpilot_rt.capability": token}
        headers = Headers(scope=inner)
        dressed = self._dress(send, headers, private=token is not None)
        refusal = judge(inner, self._rules)
        if not isinstance(refusal, Refusal):
            inner["brainpilot_rt.scope"] = refusal
            await self._app(inner, receive, dressed)
            return
        self._on_refusal(refusal.reason)
        extra, shown = None, path
        if refusal.reason == "token":
            extra, shown = {"www-authenticate": "Bearer"}, "/"  # the same for every path
            if not self._failures.take():
                refusal = Refusal(429, "too_many_attempts", "too many attempts", "token")
                extra = {"retry-after": "1"}
        answer = problem(shown, headers, refusal.status, refusal.code, refusal.message, extra=extra)
        await answer(inner, receive, dressed)

    @staticmethod
    def _dress(send: Send, headers: Headers, *, private: bool) -> Send:
        request_id = headers.get("x-request-id", "")
        echo = request_id if _REQUEST_ID.fullmatch(request_id) else None

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given: list[tuple[bytes, bytes]] = list(message["headers"])
                if private:
                    given = [one for one in given if one[0] not in _PRIVATE_NAMES]
                    given += _PRIVATE
                elif not any(name == b"cache-control" for name, _ in given):
                    given.append(_NO_STORE)
                given.append((b"x-content-type-options", b"nosniff"))
                if echo is not None:
                    given.append((b"x-request-id", echo.encode()))
                message = {**message, "headers": given}
            await send(message)

        return dressed
