"""A bridge from httpx to an ASGI app that really streams.

`httpx.ASGITransport` collects the whole body before it answers, so a stream that never ends never
begins. Here the app runs in a task of its own and each body message is handed over as it is sent;
the app waits while the reader does not read, as it would on a socket, and is told of a disconnect
when the response is closed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, TypeAlias

import httpx
from typing_extensions import override

from brainpilot_rt.aiokit.tasks import TaskSet

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class _Exchange:
    """One request and its answer, between the app's task and the reader's."""

    def __init__(self, body: bytes) -> None:
        self.started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._body: bytes | None = body
        self._waiting: bytes | None = None
        self._changed = asyncio.Event()
        self.ended = False
        self.gone = asyncio.Event()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def receive(self) -> Message:
        """The ASGI side: the body once, then nothing until the client is gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """The ASGI side: one message, taken by the reader before the next."""
        if message["type"] == "http.response.start":
            self.started.set_result(message)
            return
        while self._waiting is not None and not self.gone.is_set():
            await self._changed.wait()
        if self.gone.is_set():
            return
        if message.get("body"):
            self._waiting = bytes(message["body"])
        self.ended = not message.get("more_body", False)
        self._tell()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The reader's side: the body as it comes."""
        while True:
            if self._waiting is not None:
                body, self._waiting = self._waiting, None
                self._tell()
                yield body
            elif self.ended:
                return
            else:
                await self._changed.wait()

    def finish(self, failure: BaseException | None) -> None:
        """The app has returned or died."""
        self.ended = True
        if not self.started.done():
            self.started.set_exception(failure or RuntimeError("the app sent no response"))
        self._tell()

    def leave(self) -> None:
        """The reader goes away."""
        self.gone.set()
        self._tell()


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._exchange.chunks():
            yield chunk

    @override
    async def aclose(self) -> None:
        self._exchange.leave()


class BridgeTransport(httpx.AsyncBaseTransport):
    """Runs requests on an ASGI app in this loop; close it, or the client that has it."""

    def __init__(self, app: Any, *, state: dict[str, Any] | None = None) -> None:
        self._app: App = app
        self._state = state or {}
        self._tasks = TaskSet(on_crash=lambda _name, _error: None)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(await request.aread())
        scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 50000),
            "server": (request.url.host, request.url.port or 80),
            "state": dict(self._state),
        }

        async def serve() -> None:
            failure: BaseException | None = None
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except BaseException as error:
                failure = error
                raise
            finally:
                exchange.finish(failure)

        self._tasks.spawn(serve(), name=f"{request.method} {request.url.path}")
        start = await exchange.started
        return httpx.Response(start["status"], headers=start["headers"], stream=_Body(exchange))

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    @override
    async def aclose(self) -> None:
        await self._tasks.close(5.0)


def client(app: Any, *, base_url: str = "http://127.0.0.1:8081", **more: Any) -> httpx.AsyncClient:
    """An httpx client whose requests run on the app."""
    return httpx.AsyncClient(transport=BridgeTransport(app), base_url=base_url, **more)
