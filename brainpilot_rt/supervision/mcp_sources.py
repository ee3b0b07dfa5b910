"""Where MCP servers are named: the user's file, what was registered over HTTP, a work tree's file.

A work tree's file came with a project. What it says is shown before it is started, its variables
included, and no variable of ours or of a model's provider is filled in for it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.domain.errors import CommandRejected, NotFound
from brainpilot_rt.tools.mcp.config import (
    FILE_BYTES_MAX,
    Parsed,
    ServerConfig,
    auth_headers,
    parse,
)
from brainpilot_rt.workspace.files import Workspace

TREE_FILE: Final = ".mcp.json"
_FILES: Final = (("bp_template", "mcp_servers.json"), (".bp", "mcp_servers.json"))
_OURS: Final = re.compile(r"(?:BP|ANTHROPIC|OPENAI|OLLAMA)_.*")
_SECRET: Final = re.compile(
    r"key|token|secret|passw|credential|authorization|cookie|(?:^|[_-])auth$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class OwnFile:
    """The user's file as it was found. `mark`: another one means that it has to be read again."""

    mark: tuple[str, int, int, int] | None
    path: Path | None


def own_file(data_dir: Path) -> OwnFile:
    """The user's file: the first of two places that has one."""
    for parts in _FILES:
        path = data_dir.joinpath(*parts)
        try:
            found = path.stat()
        except OSError:
            continue
        return OwnFile((parts[0], found.st_mtime_ns, found.st_ino, found.st_size), path)
    return OwnFile(None, None)


def read_own(found: OwnFile, variables: Mapping[str, str]) -> Parsed:
    """What it says. Blocks."""
    if found.path is None:
        return Parsed()
    name = found.path.name
    try:
        with found.path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        return Parsed(problems=(f"{name} can not be read: {error.strerror}",))
    return parse(content, source=name, variables=variables)


def read_tree(tree: Workspace, variables: Mapping[str, str]) -> Parsed:
    """What the file of a work tree says; nothing when there is none. Blocks."""
    try:
        content = tree.read_bytes(f"/workspace/{TREE_FILE}", FILE_BYTES_MAX)
    except NotFound:
        return Parsed()
    except CommandRejected as refused:
        return Parsed(problems=(f"{TREE_FILE} was not read: {refused.message}",))
    theirs = {key: value for key, value in variables.items() if not _OURS.fullmatch(key)}
    return parse(content, source=TREE_FILE, variables=theirs, trusted=False)


def of_record(name: str, body: Mapping[str, Any], token: str | None) -> Parsed:
    """A server that was registered over HTTP. `token`: from the vault."""
    entry = {"type": body["transport"], "url": body["url"]}
    said = json.dumps({"mcpServers": {name: entry}}).encode()
    found = parse(said, source="registered", variables={})
    auth: Mapping[str, Any] | None = body.get("auth")
    if auth is None or token is None:
        return found
    try:
        headers = auth_headers(auth["type"], token, auth.get("headerName"))
    except ValueError as wrong:
        return Parsed(problems=(f"server {name!r}: {wrong}",))
    return Parsed(tuple(replace(one, headers=headers) for one in found.servers), found.problems)


def secrets_of(configs: Iterable[ServerConfig]) -> dict[str, str]:
    """What of these is secret: value -> what it is. Learnt before anything is started."""
    found: dict[str, str] = {}
    for config in configs:
        for key, value in {**config.env, **config.headers}.items():
            if _SECRET.search(key) and value.strip():  # also without the word `Bearer` before it
                found |= dict.fromkeys((value, value.split()[-1]), f"mcp-{_word(config.name)}")
    return found


def tree_id(root: Path) -> str:
    """What tells servers of one work tree from those of another, where both are listed."""
    return hashlib.sha256(str(root).encode()).hexdigest()[:8]


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
