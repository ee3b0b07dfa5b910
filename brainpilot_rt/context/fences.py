"""Fences: whose words these are, around every text that is not ours. Pure.

What others wrote (a file, a letter, a remembered item) stands between a header and an end line, and
a line of theirs that looks like either is escaped. So nothing written inside a fence can end it.
A model reads loosely, so what looks like one is taken loosely: in any case of letters, behind any
blanks and characters without width, after any line separator.
"""

import re
from typing import Final

_KINDS: Final = "letter|source|memory|summary|passages"
_FENCE: Final = re.compile(
    r"^((?:[^\S\n]|[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff])*)"
    rf"(?=[\[\uff3b]\s*(?:(?:{_KINDS})\s|end\s+of\s+(?:{_KINDS})))",
    re.MULTILINE | re.IGNORECASE,
)
_BREAKS: Final = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def tame(text: str) -> str:
    """The text with a backslash before what looks like a fence of ours.

    Every line separator is a line end: what reads as a line is one here.
    """
    return _FENCE.sub(r"\1\\", _BREAKS.sub("\n", text))


def fenced(kind: str, name: str, label: str, text: str) -> str:
    """`[kind NAME · label]`, the tame text, `[end of kind NAME]`.

    `kind` is `source`, `memory` or `summary`.
    """
    return f"[{kind} {name} · {label}]\n{tame(text)}\n[end of {kind} {name}]"


def fence_chars(kind: str, name: str, label: str) -> int:
    """Characters that `fenced` adds."""
    return len(fenced(kind, name, label, ""))
