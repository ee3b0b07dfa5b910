"""What a check says about a text, and what every check promises.

Whether a hit begins at a place is decided by at most `LOOK_BACK` characters before it and `REACH`
after its beginning, secrets in a vendor's format excepted (`redaction` says how far those go).
Therefore a text that streams has the hits that it has in one piece.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

LOOK_BACK: Final = 160
REACH: Final = 256

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
    """Plain words, one of which stands where a costly expression is worth a try."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = tuple(dict.fromkeys(words))
        self._begun = {word[:n] for word in self._words for n in range(1, len(word))}
        self._longest = max(map(len, self._words), default=0)

    def places(self, lower: str, start: int = 0) -> Iterable[tuple[int, str]]:
        """Where they stand in a text in lower case, from `start` on."""
        for word in self._words:
            at = lower.find(word, start)
            while at >= 0:
                yield at, word
                at = lower.find(word, at + 1)

    def begun(self, lower: str) -> int:
        """Where the longest word begins that the end of the text may have cut; or its length."""
        ends = len(lower)
        for length in range(min(self._longest - 1, ends), 0, -1):
            if lower[ends - length :] in self._begun:
                return ends - length
        return ends


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
