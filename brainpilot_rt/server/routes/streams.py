"""Routes that follow: SSE of one session and of all, and the history of a session.

History and stream show the same frames. The history of a whole session is sent as it is read; of a
limited one the newest frames are kept until they are enough, and what there would be in total is
counted once and then only onwards.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.domain.events import Recorded
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.export import lines
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.server.cursors import Cursor, parse_all_cursor, parse_session_cursor
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.server.stream import HEADERS, Streams
from brainpilot_rt.server.tracks import encode
from brainpilot_rt.server.wires.brainpilot import history

_PAGE: Final = 200
_BATCH_BYTES: Final = 64 * 1024
_COUNTED_MAX: Final = 256
_LIMIT_DEFAULT: Final = 1000
_LIMIT_MAX: Final = 5000
_SEQ_DIGITS_MAX: Final = 18


def _after(request: Request) -> str:
    """The wanted cursor. A browser that reconnects repeats its URL: then the header is newer."""
    return request.headers.get("last-event-id") or request.query_params.get("after") or "0"


class StreamRoutes:
    """Handlers that follow the log."""

    def __init__(self, backend: Backend, streams: Streams) -> None:
        self._backend = backend
        self._streams = streams
        self._history = History(backend.log)

    async def session(self, request: Request) -> Response:
        """GET /sse/{id} and GET /sessions/{id}/events."""
        session = session_of(request)
        cursor = parse_session_cursor(_after(request))
        await self._backend.view(session)
        return self._open(request, session, cursor)

    async def everything(self, request: Request) -> Response:
        """GET /events."""
        return self._open(request, None, parse_all_cursor(_after(request)))

    def _open(self, request: Request, session: SessionId | None, cursor: Cursor) -> Response:
        self._streams.hub.admit()
        if request.method == "HEAD":
            response = Response()
            response.raw_headers = list(HEADERS)
            return response
        if session is None:
            return self._streams.of_all(cursor)
        return self._streams.of_session(session, cursor)

    async def history(self, request: Request) -> Response:
        """GET /sessions/{id}/history."""
        session = session_of(request)
        asked = request.query_params.get("limit", str(_LIMIT_DEFAULT))
        try:
            limit = int(asked[:20])
        except ValueError:
            raise BadRequest("limit is not a number") from None
        await self._backend.session(session)
        if limit <= 0:
            return StreamingResponse(self._history.whole(session), media_type="application/json")
        events, total = await self._history.newest(session, min(limit, _LIMIT_MAX))
        truncated = b"true" if total > len(events) else b"false"
        tail = b'],"total":%d,"truncated":%b}' % (total, truncated)
        body = b'{"events":[' + b",".join(events) + tail
        return Response(body, media_type="application/json")

    async def export(self, request: Request) -> Response:
        """GET /sessions/{id}/export: the events themselves, one JSON object per line."""
        session = session_of(request)
        asked = request.query_params.get("after", "0")
        if not asked.isascii() or not asked.isdigit() or len(asked) > _SEQ_DIGITS_MAX:
            raise BadRequest("after is not a sequence number", code="bad_cursor")
        await self._backend.session(session)
        body = _batches(lines(self._backend.log, session, after=int(asked)))
        return StreamingResponse(body, media_type="application/x-ndjson")


async def _batches(parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Join what comes into sends of a bounded size."""
    kept: list[bytes] = []
    size = 0
    async with aclosing(parts):
        async for part in parts:
            kept.append(part)
            size += len(part)
            if size >= _BATCH_BYTES:
                yield b"".join(kept)
                kept.clear()
                size = 0
    yield b"".join(kept)


def _frames(recorded: Recorded) -> list[bytes]:
    return [encode(frame) for frame in history(recorded)]


class History:
    """Frames of finished things, from the log, without holding up the loop."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._counted: OrderedDict[SessionId, tuple[int, int]] = OrderedDict()

    async def whole(self, session: SessionId) -> AsyncGenerator[bytes, None]:
        """The body of a history with everything in it, piece by piece."""
        head = await self._log.head(session)
        parts: list[bytes] = []
        size = total = after = 0
        yield b'{"events":['
        while after < head:
            page = await self._log.read(session, after=after, upto=head, limit=_PAGE)
            if not page:
                break
            after = page[-1].seq
            for recorded in page:
                for frame in _frames(recorded):
                    parts.append(frame if total == 0 else b"," + frame)
                    total += 1
                    size += len(frame)
                if size >= _BATCH_BYTES:
                    yield b"".join(parts)
                    parts.clear()
                    size = 0
                    await asyncio.sleep(0)
        yield b"".join(parts) + b'],"total":%d,"truncated":false}' % total

    async def newest(self, session: SessionId, limit: int) -> tuple[list[bytes], int]:
        """The newest `limit` frames, and how many there are."""
        head = await self._log.head(session)
        before = head + 1
        kept: deque[bytes] = deque()
        while before > 1 and len(kept) < limit:
            page = await self._log.read_back(session, before=before, limit=_PAGE)
            if not page:
                break
            before = page[0].seq
            for recorded in reversed(page):
                kept.extendleft(reversed(_frames(recorded)))
            await asyncio.sleep(0)
        total = len(kept) if before <= 1 else await self._count(session, head)
        return list(kept)[-limit:], total

    async def _count(self, session: SessionId, head: int) -> int:
        after, total = self._counted.pop(session, (0, 0))
        if after > head:
            after = total = 0  # the session was deleted and made again
        while after < head:
            page = await self._log.read(session, after=after, upto=head, limit=_PAGE)
            if not page:
                break
            after = page[-1].seq
            total += sum(len(history(recorded)) for recorded in page)
            await asyncio.sleep(0)
        self._counted[session] = (after, total)
        if len(self._counted) > _COUNTED_MAX:
            self._counted.popitem(last=False)
        return total
