"""Ranking: which of many short texts fit a few words best (BM25), kept current text by text. Pure.

    score = sum over the words  idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * len / mean))
    idf   = ln(1 + (n - df + 0.5) / (df + 0.5))

A prompt is assembled for every turn of an agent, so a query over ten thousand items may cost about
a millisecond and no more. Rare words decide the order and have few postings, so they are looked up
first; when `POSTINGS_MAX` postings have been looked at, commoner words only correct the scores of
what was found already, and of a query that has nothing but common words the newest postings count.
"""

import heapq
import math
from collections import Counter
from itertools import islice
from typing import Final

from brainpilot_rt.context.words import words

K1: Final = 1.2
B: Final = 0.75
POSTINGS_MAX: Final = 2_000
"""Postings one query looks at, all its words together."""
QUERY_CHARS_MAX: Final = 4_000
QUERY_WORDS_MAX: Final = 64
"""Of a query; what is beyond is not looked at."""


class Ranking:
    """An inverted index of keyed texts in memory."""

    def __init__(self) -> None:
        self._postings: dict[str, dict[int, int]] = {}
        """Word -> number of a text -> how often it occurs there."""
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, tuple[str, tuple[str, ...]]] = {}
        """Number -> key, distinct words."""
        self._lengths: dict[int, int] = {}
        """Number -> length in words."""
        self._next = 0
        self._words = 0

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self._numbers)

    def add(self, key: str, text: str) -> None:
        """Index a text; one of a known key is replaced and counts as newest."""
        self.remove(key)
        counted = Counter(words(text))
        number = self._numbers[key] = self._next
        self._next += 1
        length = counted.total()
        self._texts[number] = (key, tuple(counted))
        self._lengths[number] = length
        self._words += length
        for word, times in counted.items():
            self._postings.setdefault(word, {})[number] = times

    def remove(self, key: str) -> None:
        """Drop a text; an unknown key changes nothing."""
        number = self._numbers.pop(key, None)
        if number is None:
            return
        _, distinct = self._texts.pop(number)
        self._words -= self._lengths.pop(number)
        for word in distinct:
            postings = self._postings[word]
            del postings[number]
            if not postings:
                del self._postings[word]

    def top(self, query: str, k: int) -> list[tuple[str, float]]:
        """The `k` best keys with their scores, best first; of equals the one added first.

        A text none of the query's words occurs in is not among them. No query is an error.
        """
        scores: dict[int, float] = {}
        room = POSTINGS_MAX
        for word in self._wanted(query):
            postings = self._postings[word]
            if len(postings) <= room:
                looked = postings
            elif scores:
                looked = {one: postings[one] for one in islice(scores, room) if one in postings}
            else:
                looked = dict(islice(reversed(postings.items()), room))
            self._score(scores, looked, len(postings))
            room -= max(1, len(looked))
            if room <= 0:
                break
        ranked = ((score, -number) for number, score in scores.items())
        best = heapq.nlargest(max(0, k), ranked)
        return [(self._texts[-number][0], score) for score, number in best]

    def _wanted(self, query: str) -> list[str]:
        """Known words of a query, the rarest first."""
        distinct = dict.fromkeys(words(query[:QUERY_CHARS_MAX]))
        known = [word for word in islice(distinct, QUERY_WORDS_MAX) if word in self._postings]
        return sorted(known, key=lambda word: len(self._postings[word]))

    def _score(self, scores: dict[int, float], looked: dict[int, int], known: int) -> None:
        """Add what one word gives. `known`: how many texts it occurs in."""
        rarity = math.log(1 + (len(self._texts) - known + 0.5) / (known + 0.5))
        gain = rarity * (K1 + 1)
        flat = K1 * (1 - B)
        per_word = K1 * B * len(self._texts) / self._words
        lengths, before = self._lengths, scores.get
        for number, times in looked.items():
            score = gain * times / (times + flat + per_word * lengths[number])
            scores[number] = before(number, 0.0) + score
