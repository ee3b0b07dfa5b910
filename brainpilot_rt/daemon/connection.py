"""One HTTP connection: uvicorn's protocol, with limits on what a stranger makes us keep or await.

uvicorn waits for ever for a head that does not end, keeps as many header bytes as come, adds the
trailers of a body to its headers, and drops the host of an absolute target. Each of these is closed
here. What is limited is asking; an answer may take as long as it takes (a stream has no end).

Every connection also lends its requests the means to abort it: a client that does not read would
else hold a stream that nobody can end politely.
"""

import asyncio
import importlib
import importlib.util
import resource
from typing import TYPE_CHECKING, Final, cast

from typing_extensions import override

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Http
else:  # at run time these stand before whichever protocol of uvicorn there is
    Http = asyncio.Protocol

HEAD_S: Final = 10.0
"""Seconds for a head, from the connection or from its first bytes."""
BODY_S: Final = 300.0
"""Seconds for a body: a gigabyte from this machine takes a few."""
LINGER_S: Final = 2.0
"""Seconds in which a body nobody wants any more is read and dropped: closing at once would reset
the connection, and the answer with it."""
IDLE_BYTES_MAX: Final = 256 * 1024
"""Bytes that may come without completing a head or adding to a body."""
CONNECTIONS_MAX: Final = 1024
DESCRIPTORS_KEPT: Final = 64
"""Of those the process may open: for the log, the mail, tools, models and the stop (A14)."""

_VERSIONS: Final = ("1.0", "1.1")
_ANSWER: Final = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BadRequestLine(Exception):
    """Not a path, no version we speak, or header lines after a body; uvicorn answers 400."""


class Bounded(Http):
    """A connection whose requests have to arrive in bounded time."""

    _deadline: asyncio.TimerHandle | None = None
    _unwanted: object = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": self.transport.abort}
        if len(self.connections) > _connections_max():
            self.transport.abort()
        else:
            self._wait(HEAD_S)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        before = self._stage()
        super().data_received(data)
        now = self._stage()
        if now != before:  # a head or a body has ended
            self._wait(BODY_S if now[1] else None)
        elif not now[1] and self._deadline is None:  # a head has begun
            self._wait(HEAD_S)
        elif now[1] and self.cycle.response_complete and self._unwanted is not self.cycle:
            self._unwanted = self.cycle
            self._wait(LINGER_S)

    def _stage(self) -> tuple[object, bool]:
        """The newest request, and whether its body is still coming."""
        return self.cycle, bool(self.cycle and self.cycle.more_body)

    def _wait(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        give_up = self.give_up
        self._deadline = (
            None
            if seconds is None or self.transport.is_closing()
            else self.loop.call_later(seconds, give_up, b"408 Request Timeout")
        )

    def give_up(self, status: bytes) -> None:
        """Close; say why unless an answer is being given."""
        request, its_body = self._stage()
        if request is None or (self.cycle.response_complete and not its_body):
            self.transport.write(_ANSWER % status)
        self.transport.close()


class Strict(Bounded):
    """One over httptools, which bounds no line and keeps no host of a target."""

    _idle_bytes = 0
    _in_head = True

    @override
    def data_received(self, data: bytes) -> None:
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._idle_bytes > IDLE_BYTES_MAX and not self.transport.is_closing():
            self.give_up(b"431 Request Header Fields Too Large")

    @override
    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            raise BadRequestLine
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        version = self.parser and self.parser.get_http_version()
        if not self.url.startswith(b"/") or version not in _VERSIONS:
            raise BadRequestLine
        self._in_head = False
        self._idle_bytes = 0
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)


def _connections_max() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(CONNECTIONS_MAX, max(soft - DESCRIPTORS_KEPT, 4))


def protocol() -> type[asyncio.Protocol]:
    """Over httptools where it is installed, over h11 elsewhere (D29)."""
    fast = importlib.util.find_spec("httptools") is not None
    name = "httptools_impl" if fast else "h11_impl"
    module = importlib.import_module(f"uvicorn.protocols.http.{name}")
    bases = (Strict, module.HttpToolsProtocol) if fast else (Bounded, module.H11Protocol)
    return cast("type[asyncio.Protocol]", type("Connection", bases, {}))
