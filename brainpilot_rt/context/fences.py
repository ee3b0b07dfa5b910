"""Fences: whose words these are, around every text that is not ours. Pure.

What others wrote (a file, a letter, a remembered item) stands between a header and an end line, and
a line of theirs that looks like either is escaped. So nothing written inside a fence can end it.
"""

import re
from typing import Final

_FENCE: Final = re.compile(
    r"^([ \t]*)(?=\[(?:letter |source |memory |summary |end of (?:letter|source|memory|summary)))",
    re.MULTILINE,
)
_BREAKS: Final = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def escaped(text: str) -> str:
    """The text with a backslash before what looks like a fence of ours."""
    return _FENCE.sub(r"\1\\", text)


def tame(text: str) -> str:
    """As `escaped`, and every line separator is a line end: what reads as a line is one here."""
    return escaped(_BREAKS.sub("\n", text))


def fenced(kind: str, name: str, label: str, text: str) -> str:
    """`[kind NAME · label]`, the tame text, `[end of kind NAME]`.

    `kind` is `source`, `memory` or `summary`.
    """
    return f"[{kind} {name} · {label}]\n{tame(text)}\n[end of {kind} {name}]"


def fence_chars(kind: str, name: str, label: str) -> int:
    """Characters that `fenced` adds."""
    return len(fenced(kind, name, label, ""))
