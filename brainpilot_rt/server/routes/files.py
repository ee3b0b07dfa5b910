"""Routes about a session's files, and about files staged before there is a session.

The work tree does all path checking; its operations block and run on threads. A session need not
exist for its files to be asked for.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Final

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from brainpilot_rt.domain.errors import BadRequest, NotFound, TooLarge
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.server.bodies import Body, body_of, decode_base64, parse, parse_object
from brainpilot_rt.server.idempotency import json_response
from brainpilot_rt.server.ports import Backend
from brainpilot_rt.server.problems import problem
from brainpilot_rt.server.routes.sessions import session_of
from brainpilot_rt.workspace.files import RawFile, Workspace

RANGE_BYTES_MAX: Final = 8 * 1024 * 1024
JSON_UPLOAD_BYTES_MAX: Final = 20 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class UploadBody(Body):
    """POST /sessions/{id}/files: at most 20 MiB decoded; larger files go as octet-stream."""

    path: Annotated[str, Field(min_length=1)]
    content_base64: Annotated[str, Field(alias="contentBase64")]


class FileRoutes:
    """Handlers about files."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def _tree(self, session: SessionId) -> Workspace:
        with contextlib.suppress(NotFound):  # a session to come has its drafts already
            await self._backend.view(session)  # only a session in memory knows its work tree
        return self._backend.workspace(session)

    async def _asked(self, request: Request, default: str | None = None) -> tuple[Workspace, str]:
        path = request.query_params.get("path") or default
        if path is None:
            raise BadRequest("path required")
        return await self._tree(session_of(request)), path

    async def index(self, request: Request) -> Response:
        """GET /sessions/{id}/files: one level."""
        workspace, path = await self._asked(request, "/workspace")
        try:
            entries = await asyncio.to_thread(workspace.list_folder, path)
        except NotFound:
            entries = []  # a root that this daemon does not have, as a folder that is missing
        body = to_json([asdict(entry) for entry in entries])
        return Response(body, media_type="application/json")

    async def content(self, request: Request) -> Response:
        """GET /sessions/{id}/files/content: a text file."""
        workspace, path = await self._asked(request)
        data = await asyncio.to_thread(workspace.read_bytes, path)
        text = data.decode("utf-8", "replace")
        return json_response((200, {"path": path, "content": text, "size": len(data)}))

    async def raw(self, request: Request) -> Response:
        """GET /sessions/{id}/files/raw: the bytes, all or one range of them."""
        workspace, path = await self._asked(request)
        asked = request.headers.get("range")
        raw = await asyncio.to_thread(workspace.open_raw, path)
        headers = {
            "accept-ranges": "bytes",
            "content-disposition": "attachment",
            "content-security-policy": "sandbox; default-src 'none'",
        }
        part = (0, raw.size) if asked is None else byte_range(asked, raw.size)
        if part is None or request.method == "HEAD":
            os.close(raw.fd)
        if part is None:
            extra = {"content-range": f"bytes */{raw.size}"}
            where, message = request.scope["path"], "there is no such part of the file"
            return problem(where, request.headers, 416, "no_such_part", message, extra=extra)
        start, end = part
        if asked is not None:
            headers["content-range"] = f"bytes {start}-{end - 1}/{raw.size}"
        headers["content-length"] = str(end - start)
        status = 200 if asked is None else 206
        media_type = "application/octet-stream"
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        return RawResponse(raw, (start, end), status, headers)

    async def upload(self, request: Request) -> Response:
        """POST /sessions/{id}/files: JSON with base64, or the bytes themselves and `?path=`."""
        session = session_of(request)
        body = body_of(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/octet-stream":
            workspace, path = await self._asked(request)
        else:
            asked = parse(UploadBody, parse_object(body))
            if len(asked.content_base64) > JSON_UPLOAD_BYTES_MAX * 4 // 3 + 4:
                raise TooLarge(f"a file in JSON has at most {JSON_UPLOAD_BYTES_MAX:,} bytes")
            body = await decode_base64(asked.content_base64)
            workspace, path = await self._tree(session), asked.path
        written = await asyncio.to_thread(workspace.write, path, body)
        return json_response((201, {"path": written.short, "size": len(body)}))

    async def delete(self, request: Request) -> Response:
        """DELETE /sessions/{id}/files."""
        workspace, path = await self._asked(request)
        if await asyncio.to_thread(workspace.delete, path):
            return json_response((200, {"deleted": True}))
        message = "there is no such file"
        missing = {"error": message, "detail": message, "code": "not_found"}
        return json_response((404, {"deleted": False} | missing))


def byte_range(asked: str, size: int) -> tuple[int, int] | None:
    """A Range header as [start, end), at most 8 MiB of it; None: not satisfiable."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= end:
        return None
    return start, min(end, start + RANGE_BYTES_MAX)


class RawResponse(StreamingResponse):
    """A part of an open file; closes it in the end, however it comes."""

    def __init__(
        self, raw: RawFile, part: tuple[int, int], status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(_read(raw, *part), status, headers, "application/octet-stream")
        self._raw = raw

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._raw.fd)


async def _read(raw: RawFile, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        part = await asyncio.to_thread(os.pread, raw.fd, min(_READ_BYTES, end - start), start)
        if not part:
            return  # it was cut meanwhile; the missing length tells the client
        start += len(part)
        yield part
