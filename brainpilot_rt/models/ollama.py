"""Looking for a local Ollama at start: one small HTTP request over a plain socket.

It runs before anything needs httpx, whose import would cost more than the whole look. A refused
connection answers at once; a host that swallows packets is given up after `PROBE_S`.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import urlsplit

from brainpilot_rt.models.providers import Dialect, ProviderProfile

DEFAULT_HOST: Final = "127.0.0.1:11434"
PROBE_S: Final = 0.5
ANSWER_BYTES_MAX: Final = 1024 * 1024

_PORT: Final = 11434
_TLS_PORT: Final = 443


def base_url(host: str) -> str:
    """The address behind `OLLAMA_HOST`, which may lack scheme, host or port."""
    text = host.strip().rstrip("/") or DEFAULT_HOST
    if "://" not in text:
        text = f"http://{text}"
    parts = urlsplit(text)
    name = parts.hostname or "127.0.0.1"
    # A server that listens on every address is reached on this one.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104 - compared, not bound
    name = f"[{name}]" if ":" in name else name
    port = parts.port or (_TLS_PORT if parts.scheme == "https" else _PORT)
    return f"{parts.scheme}://{name}:{port}"


async def find(host: str) -> ProviderProfile | None:
    """The profile of the Ollama at `host`; None when none answers or it has no chat model."""
    try:
        url = base_url(host)
        async with asyncio.timeout(PROBE_S):
            models = _chat_models(await _get(url, "/api/tags"))
    except (OSError, TimeoutError, ValueError):
        return None
    if not models:
        return None
    return ProviderProfile(
        id="ollama",
        name="Ollama",
        dialect=Dialect.OPENAI_CHAT,
        base_url=f"{url}/v1",
        api_key="ollama",
        models=tuple(models),
        free=True,
        source="local Ollama",
    )


async def _get(url: str, path: str) -> bytes:
    """The body of a GET, at most `ANSWER_BYTES_MAX`."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, ssl=True if parts.scheme == "https" else None
    )
    try:
        head = f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        answer = bytearray()
        while len(answer) < ANSWER_BYTES_MAX and (chunk := await reader.read(65536)):
            answer += chunk
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return bytes(answer).partition(b"\r\n\r\n")[2]


def _chat_models(body: bytes) -> list[str]:
    """Names in an answer of `/api/tags`, those that only embed left out. ValueError: no JSON."""
    content: object = json.loads(body)
    listed: object = (
        cast("dict[str, Any]", content).get("models") if isinstance(content, dict) else None
    )
    entries = cast("list[object]", listed) if isinstance(listed, list) else []
    names = [
        cast("dict[str, Any]", entry).get("name") for entry in entries if isinstance(entry, dict)
    ]
    return [name for name in names if isinstance(name, str) and "embed" not in name]
