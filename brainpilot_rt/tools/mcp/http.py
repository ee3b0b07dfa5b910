"""A server behind an address: streamable HTTP, or the older HTTP with server-sent events.

The SDK brings the transports and their HTTP client (`httpx2`); here that client gets its headers
and its bounds. A redirect is followed within the origin only (the SDK sees to it), so credentials
go nowhere else; a compressed answer is refused, for its size would be known too late.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from brainpilot_rt.tools.mcp.config import ServerConfig
from brainpilot_rt.tools.mcp.connection import Connection

if TYPE_CHECKING:
    import httpx2

    from brainpilot_rt.tools.mcp.connection import Streams


@asynccontextmanager
async def http(
    config: ServerConfig, connection: Connection, *, message_bytes_max: int, connect_s: float
) -> "AsyncGenerator[Streams]":
    """Talk to the server of that address; nothing is sent before the SDK's first message."""
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    def client(*_: object, **__: object) -> "httpx2.AsyncClient":
        return _client(config, message_bytes_max, connect_s, connection.note)

    async with AsyncExitStack() as stack:
        if config.kind == "sse":
            transport = sse_client(config.url, httpx_client_factory=client)
        else:
            transport = streamable_http_client(
                config.url,
                http_client=await stack.enter_async_context(client()),
                max_sse_event_size=message_bytes_max,
            )
        yield await stack.enter_async_context(transport)


def _client(
    config: ServerConfig, bytes_max: int, connect_s: float, note: Callable[[str], None]
) -> "httpx2.AsyncClient":
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        """A body that fails when it is too long."""

        def __init__(self, inner: httpx2.AsyncByteStream) -> None:
            self._inner = inner

        @override
        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = bytes_max
            async for chunk in self._inner:
                left -= len(chunk)
                if left < 0:
                    raise httpx2.StreamError(f"the answer is longer than {bytes_max:,} bytes")
                yield chunk

        @override
        async def aclose(self) -> None:
            await self._inner.aclose()

    async def bound(response: httpx2.Response) -> None:
        if response.is_error:
            note(f"HTTP {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError("the answer is compressed", request=response.request)
        # The SDK bounds each event of a stream; a stream itself may go on for ever.
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = Bounded(response.stream)

    return httpx2.AsyncClient(
        headers={**config.headers, "accept-encoding": "identity"},
        # No bound on reading: a tool may take as long as it takes.
        timeout=httpx2.Timeout(None, connect=connect_s, pool=connect_s),
        event_hooks={"response": [bound]},
    )
