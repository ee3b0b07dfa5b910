"""Which MCP servers there are: the files people already have, read as they are. Pure.

A project's `.mcp.json` and BrainPilot's `mcp_servers.json` have one shape: `mcpServers`, by name
either `command`, `args`, `env` or `url`, `headers`, and `type` and `timeout` (milliseconds).
`${NAME}` and `${NAME:-default}` are filled in from the variables given and from nowhere else. One
bad entry is a problem in words and never costs the others.

A file that came with a project was written by nobody we know: its servers are `trusted=False` and
need consent, which binds to `content`, the digest of what the file says, variables not filled in.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from brainpilot_rt.domain.values import first_problem

TransportKind: TypeAlias = Literal["stdio", "http", "sse"]

SERVERS_MAX: Final = 64
FILE_BYTES_MAX: Final = 1 << 20
_SUMMARY_CHARS_MAX: Final = 300
_KINDS: Final[Mapping[str, TransportKind]] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class McpLimits:
    """Bounds of one server; what is over one of them is refused and named."""

    tools_max: int = 128
    description_chars_max: int = 4_096
    schema_bytes_max: int = 64 * 1024
    schema_depth_max: int = 24
    message_bytes_max: int = 8 << 20
    """One message of the server: a result, a listing. A longer one ends the connection."""
    result_chars_max: int = 2_000_000
    calls_max: int = 16
    """Calls that run at the same time; more of them wait."""
    unasked_burst: int = 2_000
    """Messages nobody asked for (progress, logs, requests, garbage) that may come at once, ..."""
    unasked_per_s: float = 100.0
    """... and for ever. A server over both is disconnected."""
    relist_s: float = 1.0
    """Seconds in which any number of "my tools have changed" count as one."""
    connect_s: float = 60.0
    """Seconds a server has to start and to list its tools. A call has no such bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """One server. `env` and `headers` may hold secrets and are not shown."""

    name: str
    kind: TransportKind = "stdio"
    command: str = ""
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_s: float | None = None
    """Seconds one call may take; None: as long as it takes."""
    trusted: bool = True
    summary: str = ""
    """What it runs or where it is, as the file says it: what a person consents to."""
    uses: tuple[str, ...] = ()
    """Names of the variables that are filled in."""
    content: str = ""
    """Digest of the entry of the file; consent is given to this."""

    @property
    def fingerprint(self) -> str:
        """Equal when the same server would be started the same way."""
        what = [self.kind, self.command, self.args, sorted(self.env.items()), self.cwd]
        return _digest([*what, self.url, sorted(self.headers.items()), self.timeout_s])


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file says."""

    servers: tuple[ServerConfig, ...] = ()
    problems: tuple[str, ...] = ()


class _Entry(BaseModel):
    """What we read of an entry; other clients keep more in it."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    type: str | None = None
    command: str | None = None
    args: list[str] = Field(default_factory=list[str])
    env: dict[str, str] = Field(default_factory=dict[str, str])
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    disabled: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    servers: dict[str, Any] = Field(alias="mcpServers", default_factory=dict[str, Any])


_FILE: Final = TypeAdapter(_File)


def parse(
    content: bytes, *, source: str, variables: Mapping[str, str], trusted: bool = True
) -> Parsed:
    """Read a file of servers. `source`: what problems call it."""
    if len(content) > FILE_BYTES_MAX:
        return Parsed(problems=(f"{source}: longer than {FILE_BYTES_MAX:,} bytes",))
    try:
        entries = _FILE.validate_json(content).servers
    except ValidationError as invalid:
        return Parsed(problems=(f"{source}: {first_problem(invalid, 'entry')}",))
    servers: list[ServerConfig] = []
    problems: list[str] = []
    for name, raw in list(entries.items())[:SERVERS_MAX]:
        try:
            found = _server(name, raw, variables, trusted=trusted)
        except ValidationError as invalid:
            problems.append(f"{source}: server {name[:80]!r}: {first_problem(invalid, 'entry')}")
        except ValueError as wrong:
            problems.append(f"{source}: server {name[:80]!r}: {wrong}")
        else:
            servers += [found] if found else []
    if len(entries) > SERVERS_MAX:
        problems.append(f"{source}: {len(entries)} servers, only {SERVERS_MAX} are used")
    return Parsed(tuple(servers), tuple(problems))


def auth_headers(kind: str, token: str, header: str | None = None) -> dict[str, str]:
    """The headers that carry a token: `kind` is `bearer` or `api-key`. ValueError when it is not.

    For servers registered over HTTP, whose token is kept apart from the record.
    """
    match kind:
        case "bearer":
            headers = {header or "Authorization": f"Bearer {token}"}
        case "api-key":
            headers = {header or "X-API-Key": token}
        case _:
            raise ValueError(f"auth type {kind!r} is neither 'bearer' nor 'api-key'")
    _check_headers(headers)
    return headers


def _server(
    name: str, raw: Any, variables: Mapping[str, str], *, trusted: bool
) -> ServerConfig | None:
    """The server of an entry, None for a placeholder; ValueError says what is wrong with it."""
    if not name.strip() or not name.isprintable() or len(name) > 100:  # noqa: PLR2004 - a name, not a text
        raise ValueError("its name is blank, too long or not printable")
    entry = _Entry.model_validate(raw)
    kind = _kind(entry)
    if entry.disabled or kind is None:
        return None
    local = kind == "stdio"
    shown = " ".join([entry.command or "", *entry.args]) if local else entry.url or ""

    def filled(text: str | None) -> str:
        return _filled(text or "", variables)

    found = ServerConfig(
        name=name,
        kind=kind,
        command=filled(entry.command).strip() if local else "",
        args=tuple(filled(arg) for arg in entry.args) if local else (),
        env={key: filled(value) for key, value in entry.env.items()} if local else {},
        cwd=filled(entry.cwd) or None if local else None,
        url="" if local else filled(entry.url).strip(),
        headers={} if local else {key: filled(value) for key, value in entry.headers.items()},
        timeout_s=entry.timeout / 1000 if entry.timeout else None,
        trusted=trusted,
        summary=shown[:_SUMMARY_CHARS_MAX],
        uses=tuple(sorted({str(one[1]) for one in _VARIABLE.finditer(json.dumps(raw))})),
        content=_digest([name, raw]),
    )
    if local:
        if any("\0" in text for text in (found.command, *found.args, *found.env.values())):
            raise ValueError("there is a NUL character in it")
        return found if found.command else None
    _check_headers(found.headers)
    if not found.url:
        return None
    address = urlsplit(found.url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        raise ValueError("its url is not an http:// or https:// address")
    return found


def _kind(entry: _Entry) -> TransportKind | None:
    """How it is reached; None: nowhere yet, a placeholder."""
    command, url = (entry.command or "").strip(), (entry.url or "").strip()
    if command and url:
        raise ValueError("it has a command and a url; it can have one of them")
    if entry.type is None:
        return "http" if url else "stdio" if command else None
    kind = _KINDS.get(entry.type.lower())
    if kind is None:
        raise ValueError(f"its type {entry.type[:40]!r} is none of {', '.join(_KINDS)}")
    if url if kind == "stdio" else command:
        raise ValueError(f"its type is {entry.type!r}, which has no {'url' if url else 'command'}")
    return kind if command or url else None


def _filled(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = str(match[1]), cast("str | None", match[2])
        found = variables.get(name, default)
        if found is None:
            raise ValueError(f"variable {name} is not set")
        return found

    return _VARIABLE.sub(value, text)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"header {name[:40]!r} can not be sent")


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
