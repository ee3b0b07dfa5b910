"""Topics the owner does not want: phrases, and the phrases in which they are welcome. Pure."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from brainpilot_rt.governance.guardrails.hits import Check, Hints, Hit, lowered

PHRASE_CHARS_MAX = 120
"""A phrase and its exception around it stay within what a hit may depend on."""


@lru_cache(maxsize=8)
def topic_check(deny: tuple[str, ...], allow: tuple[str, ...]) -> Check:
    """The check for these phrases."""
    denied = _spelled(deny)
    allowed = _spelled(allow)
    denied_hints, allowed_hints = Hints(denied), Hints(allowed)
    every = Hints((*denied, *allowed))

    def find(text: str) -> Iterator[Hit]:
        lower = lowered(text)
        hits = [(at, at + len(word)) for at, word in denied_hints.places(lower)]
        free = [(at, at + len(word)) for at, word in allowed_hints.places(lower)] if hits else []
        free = [span for span in free if _stands_alone(lower, *span)]
        for start, end in hits:
            excused = any(one[0] <= start and end <= one[1] for one in free)
            if not excused and _stands_alone(lower, start, end):
                # What the owner wrote may be shown; what somebody said may not.
                yield Hit(start, end, "topic", 0.9, f"mentions {lower[start:end]!r}")

    def open_from(text: str) -> int:
        lower = lowered(text)
        # A phrase at the very end is whole, and the next letter may still make it another word.
        ending = [
            at
            for at, word in every.places(lower, max(0, len(lower) - 2 * PHRASE_CHARS_MAX))
            if at + len(word) == len(lower)
        ]
        return min([every.begun(lower), *ending])

    return Check("topic-restriction", find, open_from)


def _spelled(phrases: Sequence[str]) -> tuple[str, ...]:
    return tuple(lowered(" ".join(one.split())) for one in phrases if one.strip())


def _stands_alone(lower: str, start: int, end: int) -> bool:
    """Not a part of a longer word; scripts without blanks have none."""
    first, last = lower[start], lower[end - 1]
    before, after = lower[max(0, start - 1) : start], lower[end : end + 1]
    return not (_joins(first) and _joins(before)) and not (_joins(last) and _joins(after))


def _joins(one: str) -> bool:
    return one.isascii() and one.isalnum()
