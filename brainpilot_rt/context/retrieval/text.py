"""What is indexed of a text, and what is asked of the index. Pure.

A file is cut into passages of whole lines that overlap a little, so that what is found can be cited
as path and line numbers. Each is indexed with its file's path and first line, which say what a
passage deep in a document is about.

Text and query go through the same `terms`: compatibility forms (full width, ligatures) become the
usual ones (NFKC), and runs of Chinese, Japanese and Korean, which are written without spaces,
become pairs of characters and their last character, so that a single character is found as the
beginning of a pair or as that last one. Simplified and traditional forms stay what they are.
English is stemmed by the index (porter).

Words are taken from the query and each is quoted, so no query is ever a syntax error. Words that
only hold a question together ("what are the") are dropped unless there is nothing else.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from brainpilot_rt.workspace.walk import split_lines

PASSAGE_LINES: Final = 32
OVERLAP_LINES: Final = 4
PASSAGE_CHARS_MAX: Final = 2_000
TITLE_CHARS_MAX: Final = 200
QUERY_CHARS_MAX: Final = 8_192
QUERY_WORDS_MAX: Final = 64
ROWS_WANTED: Final = 2_000
"""Passages that are ranked when the words of a query are common; see `expression`."""

Piece = tuple[int, int, str]
"""First line, last line, text."""

# Han with its extensions, the iteration marks, kana, hangul syllables: words are not separated.
_RUN: Final = re.compile(
    "[\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af]+"
)
_WORD: Final = re.compile(r"\w+")
_STOP: Final = frozenset(
    _WORD.findall("""
    a about above after again against all also am an and any are as at be because been before
    being below between both but by can could did do does doing down during each few for from
    further had has have having he her here hers him his how i if in into is it its just me more
    most my no nor not of off on once only or other our out over own same she should so some such
    than that the their them then there these they this those through to too under until up us very
    was we were what when where which while who whom whose why will with would you your""")
)


def passages(text: str) -> Iterator[Piece]:
    """(first line, last line, text) of each passage; a line too long for one gets several."""
    lines = split_lines(text)
    start = 0
    while start < len(lines):
        end, chars = start, 0
        while end < len(lines) and end - start < PASSAGE_LINES:
            chars += len(lines[end]) + 1
            if chars > PASSAGE_CHARS_MAX and end > start:
                break
            end += 1
        body = "\n".join(lines[start:end])
        if body.strip():
            for at in range(0, len(body), PASSAGE_CHARS_MAX) if end - start == 1 else (0,):
                whole = end - start > 1
                yield start + 1, end, body if whole else body[at : at + PASSAGE_CHARS_MAX]
        if end == len(lines):
            return
        start = max(start + 1, end - min(OVERLAP_LINES, (end - start) // 4))


def title(text: str) -> str:
    """The first line that says something, cut to a heading's length."""
    for line in text.split("\n", 64)[:64]:
        if _WORD.search(line):
            return line.strip()[:TITLE_CHARS_MAX]
    return ""


def terms(text: str) -> str:
    """A text as the index takes it in."""
    if text.isascii():
        return text
    return _RUN.sub(_spread, unicodedata.normalize("NFKC", text))


def query_words(query: str) -> list[str]:
    """The words of a query, each once, as quoted FTS5 phrases; a lone CJK character is a prefix."""
    text = unicodedata.normalize("NFKC", query[:QUERY_CHARS_MAX]).replace("\0", " ").casefold()
    found: dict[str, None] = {}
    for run in _RUN.findall(text):
        phrases = [f'"{pair}"' for pair in _pairs(run)] or [f'"{run}"*']
        found.update(dict.fromkeys(phrases))
    words = dict.fromkeys(_WORD.findall(_RUN.sub(" ", text)))
    telling = [word for word in words if word not in _STOP]
    if not telling and not found:
        telling = list(words)
    return [*found, *(f'"{word}"' for word in telling)][:QUERY_WORDS_MAX]


def expression(words: Sequence[str], counts: Sequence[int]) -> str:
    """An FTS5 query for any of the words, given in how many passages each occurs.

    Ranking costs time for every passage that matches, and in a large tree a common word matches
    very many that it does not put in front. So passages have to hold one of the rarer words, as
    many as together occur in about `ROWS_WANTED`; the common ones only count in the rank. FTS5
    sums over all phrases of a query: with the rarer ones on both sides and the common ones twice,
    each counts double, which is the rank of the plain query.
    """
    order = sorted(range(len(words)), key=lambda at: counts[at])
    needed = 0
    matched = 0
    while needed < len(order):
        matched += counts[order[needed]]
        if needed and matched > ROWS_WANTED:
            break
        needed += 1
    rare = [words[at] for at in order[:needed]]
    common = [words[at] for at in order[needed:]]
    if not common:
        return " OR ".join(rare)
    return f"({' OR '.join(rare)}) AND ({' OR '.join([*rare, *common, *common])})"


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _spread(run: re.Match[str]) -> str:
    return f" {' '.join([*_pairs(run[0]), run[0][-1]])} "
