"""Glob patterns over logical paths: `*`, `?`, `[...]` within a name, `**` over names, `{a,b}`.

A path is matched name by name, keeping the set of places in the pattern where it may be: the time
is bounded by the product of both lengths, whatever a model writes.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

from brainpilot_rt.domain.errors import BadRequest

PATTERN_CHARS_MAX: Final = 1000
_ALTERNATIVES_MAX: Final = 64
_BRACES: Final = re.compile(r"\{([^{}]*,[^{}]*)\}")


def name_matcher(pattern: str) -> Callable[[Sequence[str]], bool]:
    """Match the last name, or, when the pattern has a slash, the path below any folder."""
    return matcher(pattern if "/" in pattern else f"**/{pattern}")


def matcher(pattern: str) -> Callable[[Sequence[str]], bool]:
    """A function telling whether path components match; BadRequest for an unreasonable pattern."""
    if not pattern or len(pattern) > PATTERN_CHARS_MAX:
        raise BadRequest(f"a pattern has 1 to {PATTERN_CHARS_MAX} characters")
    alternatives = [
        tuple(part for part in one.split("/") if part not in {"", "."})
        for one in _expanded(pattern.replace("\\", "/"))
    ]
    return lambda parts: any(_matches(parts, one) for one in alternatives)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    places = _skipped({0}, pattern)
    for part in parts:
        following: set[int] = set()
        for place in places:
            if place == len(pattern):
                continue
            if pattern[place] == "**":
                following.add(place)
            elif fnmatch.fnmatchcase(part, pattern[place]):
                following.add(place + 1)
        places = _skipped(following, pattern)
    return len(pattern) in places


def _skipped(places: set[int], pattern: Sequence[str]) -> set[int]:
    reached = set(places)
    for start in places:
        place = start
        while place < len(pattern) and pattern[place] == "**":
            place += 1
            reached.add(place)
    return reached


def _expanded(pattern: str) -> list[str]:
    done: list[str] = []
    pending = [pattern]
    while pending:
        if len(done) + len(pending) > _ALTERNATIVES_MAX:
            raise BadRequest(f"a pattern has at most {_ALTERNATIVES_MAX} alternatives")
        one = pending.pop()
        found = _BRACES.search(one)
        if found is None:
            done.append(one)
            continue
        pending += [
            one[: found.start()] + choice + one[found.end() :] for choice in found[1].split(",")
        ]
    return done
