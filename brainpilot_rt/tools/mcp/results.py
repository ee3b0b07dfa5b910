"""What came back of a call, in words a model can read. Pure.

Texts stay as they are. Anything else is told as JSON with its sizes; the bytes of pictures, sounds
and files are left out, for a model can do nothing with base64 and it would fill its context.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from brainpilot_rt.tools.registry import ToolOutput

_LEFT_OUT: Final = "its data is left out"


def rendered(result: Mapping[str, Any], chars_max: int) -> ToolOutput:
    """The output of a `tools/call` result (a JSON object)."""
    blocks = cast("list[Mapping[str, Any]]", result.get("content") or [])
    texts = [_text(block) for block in blocks]
    structured = result.get("structuredContent")
    # Servers repeat structured content as text for those who do not know it: once is enough.
    if structured is not None and not any(block.get("type") == "text" for block in blocks):
        texts.append(_json(structured))
    content = "\n".join(texts) or "The tool returned nothing."
    if len(content) > chars_max:
        cut = f"[... the result has {len(content):,} characters; the rest is left out]"
        content = f"{content[:chars_max]}\n{cut}"
    return ToolOutput(content, failed=result.get("isError") is True)


def _text(block: Mapping[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "resource":
            inner = cast("Mapping[str, Any]", block.get("resource") or {})
            about = _json({"type": "resource", **_without_data(inner)})
            text = inner.get("text")
            return f"{about}\n{text}" if isinstance(text, str) else about
        case _:
            return _json(_without_data(block))


def _without_data(block: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: block[key] for key in block.keys() - {"data", "blob", "text", "_meta", "icons"}}
    data = block.get("data", block.get("blob"))
    if isinstance(data, str):
        told |= {"bytes": len(data.rstrip("=")) * 3 // 4, "note": _LEFT_OUT}
    return dict(sorted(told.items(), key=lambda one: one[0] != "type"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
