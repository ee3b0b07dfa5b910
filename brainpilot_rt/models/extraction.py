"""What the offline model can do with text: ranking, and an answer made of quotations.

Everything is extraction: no sentence is invented, each one comes with a citation whose quote stands
verbatim in one line of the file. Pure functions of text, so that the same documents and the same
question always give the same answer.

Between agents the findings travel as letter text:
a `Question:` line, then one line per finding, a sentence followed by its citation.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from brainpilot_rt.domain.citations import CITATION, Citation, write
from brainpilot_rt.models.sentences import (
    Sentence,
    is_overview,
    parts,
    sentences,
    stem,
    terms,
    words,
)

FINDINGS_MAX: Final = 6
FINDINGS_PER_FILE_MAX: Final = 3
QUOTE_CHARS_MAX: Final = 110
SENTENCE_CHARS_SHORT: Final = 24
QUOTE_CHARS_MIN: Final = 2
QUOTE_CHARS_SHORT: Final = 12
"""A quote below this is taken only where no other part of the sentence can be quoted."""
CLOSE_ENOUGH: Final = 0.4
"""A finding is kept when its score is at least this share of the best one's."""
OTHER_PART_SHARE: Final = 0.35
"""What a term of another part of the question counts, against one of the part at hand."""
FRAGMENT_SHARE: Final = 0.6
"""What a heading, a date line or a question counts, against a sentence that states something."""
NEARBY_SHARE: Final = 0.4
"""What a term in the heading or the file name counts, against one in the sentence itself."""

NO_DOCUMENTS: Final = "There are no documents here: no text file has anything in it."

_STATEMENT: Final = re.compile(r"[.!\u3002\uff01:][\"'\u201d\u2019)\]*_]*$")
_UNQUOTABLE: Final = re.compile(r"[\"\u201c\u201d]|\s{2,}|[^\S ]")
_BULLET: Final = re.compile(r"^\s*(?:[-*+>]|\d+[.)])\s+")
_MARKUP: Final = re.compile(rf"{_BULLET.pattern}|\*\*|`")

# What an answer to such a question probably contains: a hint, worth less than a word of it.
_HINTS: Final = (
    (re.compile(r"\b(?:when|how (?:many|much|long|old|far|often)|what (?:year|date|time|age))\b"),
     re.compile(r"\d")),
    (re.compile(r"\bwhy\b|为什么"),
     re.compile(r"\b(?:because|since|due to|therefore|so that|caused|reason|in order to)\b|因为")),
    (re.compile(r"\bwho\b"), re.compile(r"\b[A-Z][a-z]+ [A-Z]")),
    (re.compile(r"\bhow\b"), re.compile(r"\b(?:by|using|through|with|first|then)\b")),
)  # fmt: skip
_HINT_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement of the documents with the citation that proves it, in its written form."""

    statement: str
    citation: str
    path: str


def findings(question: str, search_result: str) -> list[Finding]:
    """The sentences of a search result that answer best, those of every part of the question."""
    found = sentences(search_result)
    stems = [set(terms(sentence.text)) for sentence in found]
    spread = Counter(term for each in stems for term in each)
    rarity = {term: math.log(1 + len(found) / (1 + spread[term])) for term in terms(question)}
    ranked: list[list[Sentence]] = []
    for part in parts(question):
        asked = set(terms(part))
        weight = {
            term: value * (1.0 if term in asked else OTHER_PART_SHARE)
            for term, value in rarity.items()
        }
        scores = [_score(part, *each, weight) for each in zip(found, stems, strict=True)]
        order = sorted(range(len(found)), key=lambda position: -scores[position])
        best = scores[order[0]] if order else 0.0
        ranked.append(
            [found[n] for n in order if scores[n] > 0 and scores[n] >= CLOSE_ENOUGH * best]
        )
    turns = (sentence for row in zip_longest(*ranked) for sentence in row if sentence)
    return _choose(turns, set(rarity))


def openings(shown: Iterable[tuple[str, str]]) -> list[Finding]:
    """What each file begins with: its first statement, else its first words.

    Takes (path, text of the read tool).
    """
    found: list[Finding] = []
    for path, text in shown:
        own = sentences(f"### 1. {path}:1-1 (score 0)\n{text}")
        told = [one for one in own if _is_whole(one)]
        cited = (_cite(sentence, set()) for sentence in [*told, *own])
        found += [finding for finding in [next((one for one in cited if one), None)] if finding]
    return found


def missing(question: str, found: list[Finding]) -> list[str]:
    """The words of the question that no finding mentions, as the question writes them."""
    covered = {term for finding in found for term in terms(f"{finding.statement} {finding.path}")}
    asked = dict.fromkeys(words(question))
    return [word for word in asked if stem(word) not in covered]


def write_findings(question: str, found: list[Finding]) -> str:
    """Findings as letter text."""
    lines = [f"Question: {_one_line(question)}", ""]
    if not found:
        nothing = "No passage of the documents covers this question."
        return "\n".join([*lines, NO_DOCUMENTS if is_overview(question) else nothing])
    lines.append("Findings (offline text search, not an LLM), best first:")
    lines += [f"{n}. {each.statement} {each.citation}" for n, each in enumerate(found, 1)]
    return "\n".join(lines)


def read_findings(content: str) -> tuple[str, list[Finding]]:
    """The question and the cited statements of a letter, whoever wrote it."""
    question = ""
    found: list[Finding] = []
    for line in content.split("\n"):
        if line.startswith("Question:") and not question:
            question = line.removeprefix("Question:").strip()
            continue
        cited = list(CITATION.finditer(line))
        if cited:
            statement = _MARKUP.sub("", line[: cited[0].start()]).strip() or cited[0]["quote"]
            citations = " ".join(match[0] for match in cited)
            found.append(Finding(statement, citations, cited[0]["path"].strip()))
    return question, found


def compose(question: str, found: list[Finding]) -> str:
    """An answer made of findings: the best one, the others by file, and what was not found.

    Of what documents are about it tells how each begins.
    """
    if is_overview(question):
        begin = [f"{each.path}: {each.statement} {each.citation}" for each in found]
        return "\n".join(["The documents begin like this:", "", *(f"- {one}" for one in begin)])
    best, *others = found
    blocks = [f"{best.statement} {best.citation}"]
    if others:
        lines = ["Also in the documents:"]
        for path in dict.fromkeys(each.path for each in others):
            lines += ["", f"{path}"]
            lines += [f"- {each.statement} {each.citation}" for each in others if each.path == path]
        blocks.append("\n".join(lines))
    unseen = missing(question, found)
    if unseen:
        blocks.append(f"Not mentioned in what was found: {', '.join(unseen)}.")
    return "\n\n".join(blocks)


def _score(question: str, sentence: Sentence, stems: set[str], weight: dict[str, float]) -> float:
    own = sum(value for term, value in weight.items() if term in stems)
    if own == 0:
        return 0.0
    near = set(terms(f"{sentence.lines[0].heading} {sentence.path}")) - stems
    score = own + NEARBY_SHARE * sum(value for term, value in weight.items() if term in near)
    asked = question.lower()
    score += sum(
        _HINT_WEIGHT for kind, sign in _HINTS if kind.search(asked) and sign.search(sentence.text)
    )
    return score * (1.0 if _is_whole(sentence) else FRAGMENT_SHARE)


def _is_whole(sentence: Sentence) -> bool:
    """Whether it states something, as headings, date lines and questions do not."""
    return len(sentence.text) >= SENTENCE_CHARS_SHORT and bool(_STATEMENT.search(sentence.text))


def _choose(ranked: Iterator[Sentence], wanted: set[str]) -> list[Finding]:
    chosen: dict[str, Finding] = {}
    per_file: Counter[str] = Counter()
    for sentence in ranked:
        if len(chosen) == FINDINGS_MAX:
            break
        if per_file[sentence.path] < FINDINGS_PER_FILE_MAX:
            finding = _cite(sentence, wanted)
            if finding and finding.statement not in chosen:
                chosen[finding.statement] = finding
                per_file[sentence.path] += 1
    return list(chosen.values())


def _cite(sentence: Sentence, wanted: set[str]) -> Finding | None:
    """Quote the part of one line that covers most; None when nothing in it can be quoted."""
    pieces: list[tuple[bool, int, int, str]] = []
    for line in sentence.lines:
        for part in _UNQUOTABLE.split(_BULLET.sub("", line.text)):
            kept = _own(part.strip(), sentence.text)
            if len(kept) >= QUOTE_CHARS_MIN:
                tells = len(kept) >= QUOTE_CHARS_SHORT
                pieces.append((tells, len(wanted & set(terms(kept))), len(kept), kept))
    if not pieces:
        return None
    quote = _cut(max(pieces)[-1])
    citation = Citation(
        path=sentence.path,
        start_line=sentence.lines[0].number,
        end_line=sentence.lines[-1].number,
        quote=quote,
    )
    # A bracket with a path in it inside the statement would read as a citation of its own.
    statement = CITATION.sub("", _MARKUP.sub("", sentence.text)).strip()
    return Finding(statement, write(citation), sentence.path)


def _own(part: str, sentence: str) -> str:
    """What of a part of a line belongs to the sentence: all, the sentence itself, or one end."""
    if part in sentence:
        return part
    if sentence in part:
        return sentence
    for count in range(min(len(part), len(sentence)), 0, -1):
        if sentence.startswith(part[-count:]):
            return part[-count:].strip()
        if sentence.endswith(part[:count]):
            return part[:count].strip()
    return ""


def _cut(quote: str) -> str:
    if len(quote) <= QUOTE_CHARS_MAX:
        return quote
    short = quote[:QUOTE_CHARS_MAX]
    return short.rsplit(" ", 1)[0] if " " in short else short


def _one_line(text: str) -> str:
    return " ".join(text.split())
