"""Personal data: e-mail addresses here, numbers in `numbers`. Pure."""

import re
import string
from collections.abc import Iterator
from typing import Final

from brainpilot_rt.governance.guardrails.hits import REACH, Check, Hit, run_at_end
from brainpilot_rt.governance.guardrails.numbers import CHARACTERS, LONGEST, numbers

WORD: Final = string.digits + string.ascii_letters + string.punctuation
"""What an address of any kind is made of."""

_LOCAL: Final = re.compile(r"(?<![\w.%+@-])[A-Za-z0-9_][A-Za-z0-9_.%+-]{0,63}\Z", re.ASCII)
_DOMAIN: Final = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9-]{0,39}\.){1,4}([A-Za-z]{2,24})(?![A-Za-z0-9_(-])"
)
_FILES: Final = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "py", "md"}
)
_NOBODY: Final = frozenset({"git", "hg", "svn", "noreply", "no-reply", "donotreply"})
_SHELL: Final = re.compile(r"(?:\b(?:ssh|scp|sftp|rsync|mosh)\b[^\n|;]{0,40}|://\S{0,70})\Z")


def find(text: str) -> Iterator[Hit]:
    """Personal data in a text."""
    yield from _emails(text)
    yield from numbers(text)


def open_from(text: str) -> int:
    """Where an address or a number may have been cut."""
    return min(run_at_end(text, CHARACTERS, LONGEST), run_at_end(text, WORD, REACH))


def _emails(text: str) -> Iterator[Hit]:
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL.search(text[max(0, at - 65) : at]) if domain else None
        if domain and local:
            start = at - len(local[0])
            program = _SHELL.search(text[max(0, start - 80) : start])
            thing = domain[1].lower() in _FILES or local[0].lower() in _NOBODY
            if not program and not thing:
                yield Hit(start, domain.end(), "email", 0.95, "an e-mail address")
        at = text.find("@", at + 1)


CHECK: Final = Check("pii", find, open_from)
