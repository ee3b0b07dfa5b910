"""What a check says about a text, and what every check promises.

Whether a hit begins at a place is decided by at most `LOOK_BACK` characters before it and `REACH`
after its beginning, secrets in a vendor's format excepted (`redaction` says how far those go).
Therefore a text that streams has the hits that it has in one piece.
"""

import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

LOOK_BACK: Final = 160
REACH: Final = 256

_WORD_CHARS: Final = bytes(
    code if chr(code) in string.ascii_lowercase + string.digits + "_" else 32 for code in range(256)
)
_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class Hit(NamedTuple):
    """One place of a text. The reason never holds the text itself."""

    start: int
    end: int
    label: str
    confidence: float
    """0 to 1."""
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of look at a text."""

    id: str
    find: Callable[[str], Iterable[Hit]]
    """All hits; they may overlap and come in any order."""
    open_from: Callable[[str], int]
    """Where the first hit may begin that what follows the text could still make or change."""


class Hints:
    """Plain words, one of which stands where a costly expression is worth a try.

    `whole`: only where they are words of their own, not parts of longer ones. The text is then
    taken apart once, and only those are searched for whose longest word occurs in it.
    """

    def __init__(self, words: Iterable[str], *, whole: bool = False) -> None:
        self._words = tuple(dict.fromkeys(words))
        self._begun = {word[:n] for word in self._words for n in range(1, len(word))}
        self._longest = max(map(len, self._words), default=0)
        self._whole = whole
        self._by_key: dict[bytes, list[str]] = {}
        for word in self._words if whole else ():
            parts = _parts(word)
            # The last one may be the beginning of a longer word.
            key = max(parts[:-1] or parts, key=len, default=b"")
            self._by_key.setdefault(key, []).append(word)

    def places(self, lower: str, start: int = 0) -> Iterator[tuple[int, str]]:
        """Where they stand in a text in lower case, from `start` on."""
        for word in self._likely(lower):
            at = lower.find(word, start)
            while at >= 0:
                if not self._whole or not _is_part(lower, at, word):
                    yield at, word
                at = lower.find(word, at + 1)

    def _likely(self, lower: str) -> Iterable[str]:
        if not self._whole:
            return self._words
        present = self._by_key.keys() & {b"", *_parts(lower)}
        return [word for key in present for word in self._by_key[key]]

    def begun(self, lower: str) -> int:
        """Where the longest word begins that the end of the text may have cut; or its length."""
        ends = len(lower)
        for length in range(min(self._longest - 1, ends), 0, -1):
            if lower[ends - length :] in self._begun:
                return ends - length
        return ends


def _parts(lower: str) -> list[bytes]:
    """The words in ASCII."""
    return lower.encode("utf-8", "replace").translate(_WORD_CHARS).split()


def _is_part(lower: str, at: int, word: str) -> bool:
    """Whether it goes on to the left, or as a single word to the right."""
    end = at + len(word)
    before, after = lower[max(0, at - 1) : at], lower[end : end + 1]
    first, last = _joins(word[0]) and _joins(before), _joins(word[-1]) and _joins(after)
    return first or (last and " " not in word)


def _joins(one: str) -> bool:
    return one.isascii() and (one.isalnum() or one == "_")


def lowered(text: str) -> str:
    """In lower case, every character at its place."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.translate(_LOWER)


def run_at_end(text: str, characters: str, longest: int) -> int:
    """Where the last characters begin that are all of these kinds; at most `longest` back."""
    return max(len(text.rstrip(characters)), len(text) - longest)


def merged(hits: Iterable[tuple[int, Hit]]) -> list[Hit]:
    """Not overlapping, ascending. Each comes with a rank; the lower one names an overlap."""
    done: list[tuple[int, Hit]] = []
    for rank, hit in sorted(hits, key=lambda one: (one[1].start, -one[1].end, one[0])):
        if done and hit.start < done[-1][1].end:
            other_rank, other = done.pop()
            first = hit if rank < other_rank else other
            end = max(hit.end, other.end)
            done.append((min(rank, other_rank), first._replace(start=other.start, end=end)))
        else:
            done.append((rank, hit))
    return [hit for _, hit in done]
