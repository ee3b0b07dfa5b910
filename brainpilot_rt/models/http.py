"""The one module that touches httpx: a POST whose answer is streamed, and what can go wrong.

httpx is heavy (over 100 ms) and is imported by the first `warm()` or `post()`, on a thread. There
is no read timeout: silence is not death (D6); only connecting has a deadline. Redirects are not
followed, since the key would travel along. Proxies and `SSL_CERT_FILE` of the environment count,
except that a loopback address is always called directly. Connections are kept alive and closed as
soon as a caller leaves a stream early.
"""

import asyncio
import importlib
import ipaddress
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from brainpilot_rt.domain.errors import FatalFault, ProviderFault, RetryableFault

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S: Final = 10.0
SHARE_MAX: Final = 32
"""Requests that share a client. httpx looks through all connections of a client, and through all
requests that wait for one, whenever a request begins or ends: a thousand with one client leave the
loop no time for anything else. There are as many clients as it takes: waiting for a connection
would look like a stall."""
KEEP_ALIVE_S: Final = 60.0
ERROR_BODY_BYTES_MAX: Final = 64 * 1024


@dataclass(slots=True, eq=False)
class _Shared:
    """A client, and how many requests it has now."""

    client: "httpx.AsyncClient"
    requests: int = 0


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The head of an answer and its body as it comes. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    async def start_of_body(self) -> bytes:
        """The body up to `ERROR_BODY_BYTES_MAX`: enough to say what went wrong."""
        body = b""
        async for chunk in self.chunks:
            body += chunk
            if len(body) >= ERROR_BODY_BYTES_MAX:
                break
        return body[:ERROR_BODY_BYTES_MAX]


class Http:
    """The process's HTTP clients, made when first needed."""

    def __init__(self, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._clients: defaultdict[bool, list[_Shared]] = defaultdict(list)
        self._certificates: ssl.SSLContext | None = None
        self._making = asyncio.Lock()

    async def warm(self) -> None:
        """Import httpx on a thread, so that no turn pays for it and the loop stays free."""
        await asyncio.to_thread(importlib.import_module, "httpx")

    async def close(self) -> None:
        """Close all connections."""
        shared = [one for each in self._clients.values() for one in each]
        self._clients.clear()
        for one in shared:
            await one.client.aclose()

    @asynccontextmanager
    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncGenerator[HttpReply, None]:
        """Send and give the reply while it streams. Raises `ProviderFault` only."""
        shared = await self._shared(url)
        try:
            async with shared.client.stream(
                "POST", url, headers=dict(headers), content=body
            ) as response:
                yield HttpReply(
                    status=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    chunks=_chunks(response, url),
                )
        except Exception as error:
            fault = _fault(error, url)
            if fault is None:
                raise
            raise fault from None
        finally:
            shared.requests -= 1

    async def _shared(self, url: str) -> _Shared:
        local = is_loopback(url)
        async with self._making:
            clients = self._clients[local]
            found = next((one for one in clients if one.requests < SHARE_MAX), None)
            if found is None:
                # On a thread: the import, and loading the certificates.
                found = _Shared(await asyncio.to_thread(self._make, local))
                clients.append(found)
            found.requests += 1
            return found

    def _make(self, local: bool) -> "httpx.AsyncClient":  # noqa: FBT001 - private, named at its call
        import httpx

        if self._certificates is None:
            self._certificates = httpx.create_ssl_context()
        return httpx.AsyncClient(
            verify=self._certificates,
            timeout=httpx.Timeout(None, connect=self._connect_timeout_s),
            limits=httpx.Limits(
                max_connections=SHARE_MAX,
                max_keepalive_connections=SHARE_MAX,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            follow_redirects=False,
            trust_env=not local,
            headers={"user-agent": "brainpilot-rt", "accept-encoding": "identity"},
        )


async def _chunks(response: "httpx.Response", url: str) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except Exception as error:
        fault = _fault(error, url)
        if fault is None:
            raise
        raise fault from None


def is_loopback(url: str) -> bool:
    """Whether the address is this machine, going by its text."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fault(error: Exception, url: str) -> ProviderFault | None:
    """Our fault for an error of httpx; None when the error is not one of its."""
    import httpx

    where = urlsplit(url).netloc.rpartition("@")[2]
    said = f" ({error})" if str(error) else ""
    match error:
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return FatalFault(f"not an HTTP address: {where or 'empty'}{said}", code="bad_request")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError() | ssl.SSLError():
            return RetryableFault(f"can not connect to {where}{said}", code="connection")
        case httpx.TransportError():
            return RetryableFault(f"the connection to {where} broke{said}", code="stream_cut")
        case httpx.HTTPError():
            return FatalFault(f"{where} sent an unreadable answer{said}", code="protocol")
        case _:
            return None
