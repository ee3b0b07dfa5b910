"""What would run, in words for whoever decides about it.

Nothing is cut, and what would hide (codes of the terminal, invisible or bidirectional characters)
is written out.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from brainpilot_rt.governance.sanitising import escaped

APPROVE: Final = "Approve"
DENY: Final = "Deny"


def shown(arguments: Mapping[str, Any]) -> list[str]:
    """One line per argument; the lines of a longer text follow, each after a bar."""
    found: list[str] = []
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        first, *more = escaped(text).split("\n")
        label = escaped(name).replace("\n", "\\n")
        found += [f"{label}: {first}"] if not more else [f"{label}:", f"  | {first}"]
        found += [f"  | {line}" for line in more]
    return found


def question(tool: str, arguments: Mapping[str, Any], reasons: tuple[str, ...]) -> str:
    """An approval as words, for a client that knows questions only."""
    why = [f"Why this is asked: {escaped('; '.join(reasons))}"] if reasons else []
    lines = "\n".join(["", *shown(arguments)]) if arguments else " without arguments"
    return "\n".join([f"May {escaped(tool)} run?{lines}", *why])


def answered(text: str) -> bool | None:
    """Whether an answer to that question is a yes; None: it is neither."""
    return {APPROVE.lower(): True, DENY.lower(): False}.get(text.strip().lower())
