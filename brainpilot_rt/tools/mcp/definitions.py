"""What a server says of its tools, made fit for a model and pinned. Pure.

A definition is text by a stranger that a model will read: it is bounded, freed of characters nobody
can see, and its digest (name, description, schema, annotations, as they came) is what an approval
binds to. A tool whose definition changes has another digest.

A name is `mcp__<server>__<tool>`. Where a provider would not take that, or where two could come to
the same, it ends in a digest of the real names instead; so no server can take a name of another's.

Hints become an effect class: what is read-only or idempotent may be called again after a crash.
They are the word of the server; a tool said to be read-only and destructive is not believed.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from brainpilot_rt.domain.tools import Effect, ToolSpec
from brainpilot_rt.tools.mcp.config import McpLimits

_NAME_CHARS_MAX: Final = 64
_SAFE_SERVER: Final = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*")
"""Without a double underscore and without one at its ends: where the server ends is plain."""
_SAFE_TOOL: Final = re.compile(r"[A-Za-z0-9_-]+")
_NOISE: Final = frozenset({"$schema", "$id", "$comment", "title"})
_DATA: Final = frozenset({"default", "const", "enum", "examples"})
"""Keywords whose values are data, not schemas."""
_COMBINED: Final = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else"})
"""Providers take none of these at the root of a schema; the server still checks them."""
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties"})
"""Keywords whose keys are names, not keywords."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What the server says of a tool; None: nothing."""

    title: str | None = None
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One tool of one server."""

    server: str
    tool: str
    """Its name at the server."""
    spec: ToolSpec
    digest: str
    """The pin: another one means that the tool is not the one that was looked at."""
    hints: Hints = Hints()


def define(
    server: str, listed: Iterable[Mapping[str, Any]], limits: McpLimits
) -> tuple[tuple[Definition, ...], tuple[str, ...]]:
    """The tools of a `tools/list` (JSON objects), and what was left out of it, in words."""
    found: dict[str, Definition] = {}
    notes: list[str] = []
    for raw in listed:
        name = str(raw.get("name", ""))
        if len(found) >= limits.tools_max:
            notes.append(f"it has more than {limits.tools_max} tools; the others are left out")
            break
        if name in found:
            notes.append(f"tool {name[:80]!r} is listed twice; the first counts")
            continue
        try:
            found[name] = _definition(server, name, raw, limits)
        except ValueError as wrong:
            notes.append(f"tool {name[:80]!r} is left out: {wrong}")
    return tuple(found.values()), tuple(notes)


def tool_name(server: str, tool: str) -> str:
    """The name a model calls it by: at most 64 characters of those that every provider takes."""
    name = f"mcp__{server}__{tool}"
    plain = _SAFE_SERVER.fullmatch(server) and _SAFE_TOOL.fullmatch(tool)
    if plain and len(name) <= _NAME_CHARS_MAX:
        return name
    mark = hashlib.sha256(json.dumps([server, tool]).encode()).hexdigest()[:10]
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return f"{safe[: _NAME_CHARS_MAX - len(mark) - 1]}_{mark}"


def _definition(server: str, name: str, raw: Mapping[str, Any], limits: McpLimits) -> Definition:
    schema = raw.get("inputSchema")
    if not name or not isinstance(schema, dict):
        raise ValueError("it has no name or no schema")
    schema = cast("dict[str, Any]", schema)
    if _depth(schema) > limits.schema_depth_max:
        raise ValueError(f"its schema is deeper than {limits.schema_depth_max} levels")
    if len(json.dumps(schema)) > limits.schema_bytes_max:
        raise ValueError(f"its schema is larger than {limits.schema_bytes_max:,} bytes")
    given = raw.get("annotations")
    annotations = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    about = str(raw.get("description") or "")
    hints = Hints(
        title=str(raw.get("title") or annotations.get("title") or "")[:200] or None,
        read_only=_flag(annotations, "readOnlyHint"),
        destructive=_flag(annotations, "destructiveHint"),
        idempotent=_flag(annotations, "idempotentHint"),
        open_world=_flag(annotations, "openWorldHint"),
    )
    description = _visible(about).strip() or hints.title or f"{name} of the MCP server {server}"
    if len(description) > limits.description_chars_max:
        description = f"{description[: limits.description_chars_max]} [cut]"
    spec = ToolSpec(
        name=tool_name(server, name),
        description=description,
        parameters=_cleaned(schema),
        effect=_effect(hints),
    )
    pinned = json.dumps([name, about, schema, annotations], sort_keys=True)
    digest = hashlib.sha256(pinned.encode("utf-8", "surrogatepass")).hexdigest()
    return Definition(server=server, tool=name, spec=spec, digest=digest, hints=hints)


def _effect(hints: Hints) -> Effect:
    if hints.read_only and not hints.destructive:
        return Effect.PURE
    return Effect.IDEMPOTENT if hints.idempotent else Effect.IRREVERSIBLE


def _cleaned(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as an object that providers take."""
    root = {key: value for key, value in _reduced(schema).items() if key not in _COMBINED}
    properties, required = root.pop("properties", None), root.pop("required", None)
    root |= {"type": "object", "properties": properties if isinstance(properties, dict) else {}}
    if isinstance(required, list):
        root["required"] = [one for one in cast("list[Any]", required) if isinstance(one, str)]
    return root


def _reduced(node: Any, *, names: bool = False) -> Any:
    """Without what costs tokens and says nothing. `names`: the keys of `node` are names."""
    if isinstance(node, str):
        return _visible(node)
    if isinstance(node, list):
        return [_reduced(one) for one in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    return {
        key: value
        if key in _DATA and not names
        else _reduced(value, names=key in _NAMED and not names)
        for key, value in cast("dict[str, Any]", node).items()
        if names or key not in _NOISE
    }


def _depth(node: Any) -> int:
    """How deep lists and objects are nested; without recursion, whatever it is."""
    deepest, level = 0, [node]
    while level := [one for one in level if isinstance(one, dict | list)]:
        deepest += 1
        level = [
            child
            for one in cast("list[dict[str, Any] | list[Any]]", level)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return deepest


def _visible(text: str) -> str:
    """Without control, format and unassigned characters: instructions hide in those."""
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one)[0] != "C")


def _flag(annotations: Mapping[str, Any], name: str) -> bool | None:
    value = annotations.get(name)
    return value if isinstance(value, bool) else None
