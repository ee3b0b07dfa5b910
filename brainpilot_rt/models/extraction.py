"""What the offline model can do with text: words, sentences, ranking, and an answer made of quotes.

Everything is extraction: no sentence is invented, each one comes with a citation whose quote stands
verbatim in one line of the file. Pure functions of text, so that the same documents and the same
question always give the same answer.

The passages come as the text of the `search` tool: blocks headed `### <n>. <path>:<start>-<end>
(score <x.xx>)`, lines written `<lineno>| text`. Between agents the findings travel as letter text:
a `Question:` line, then one line per finding, a sentence followed by its citation.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.citations import CITATION, Citation, write

FINDINGS_MAX: Final = 6
FINDINGS_PER_FILE_MAX: Final = 3
QUOTE_CHARS_MAX: Final = 110
SENTENCE_CHARS_MAX: Final = 320
SENTENCE_LINES_MAX: Final = 5
SENTENCE_CHARS_SHORT: Final = 24
QUOTE_CHARS_MIN: Final = 2
STEM_CHARS_MIN: Final = 3
CLOSE_ENOUGH: Final = 0.4
"""A finding is kept when its score is at least this share of the best one's."""
NEARBY_SHARE: Final = 0.4
"""What a term in the heading or the file name counts, against one in the sentence itself."""

_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\S+",
        """
        a about above after again all also am an and answer any are as at be because been before
        being between both but by can could describe did do does doing document documents down
        during each explain few file files find for from further get give had has have having he
        her here hers him his how i if in into is it its itself just kindly know let list look
        me more most my no nor not now of off on once only or other our out over overview own
        please question read say says said same she should show so some such summarise summarize
        summary tell text than that the their them then there these they this those through to
        too under until up us very was we were what whats when where which while who whom whose
        why will with would you your
        """,
    )
)
_CJK: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_CJK_STOP: Final = re.compile(
    "[的了是在吗呢吧和与及或有什么哪些怎么如何请问我你他她它们这那]|为什么|多少"
)
_TOKEN: Final = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+(?:[.'\u2019-][^\W_{_CJK}]+)*")
_HEADER: Final = re.compile(r"^### \d+\. (?P<path>.+):(?P<start>\d+)-\d+ \(score -?[\d.]+\)$")
_LINE: Final = re.compile(r"^\s*(?P<number>\d+)\|(?: (?P<text>.*))?$")
_BREAK: Final = re.compile(r"^\s*(?:[-*+>|]|\d+[.)]\s|```|[A-Za-z][A-Za-z -]{1,24}:\s)")
_HEADING: Final = re.compile(r"^\s*#{1,6}\s+(?P<title>.+?)\s*#*$")
_SENTENCE: Final = re.compile(r"\S.*?(?:[.!?]+[\"'\u201d\u2019)\]]*(?=\s)|[。！？]+|\Z)", re.DOTALL)  # noqa: RUF001 - full-width marks end Chinese and Japanese sentences
_ABBREVIATION: Final = re.compile(
    r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Fig|Figs|vs|cf|etc|approx|e\.g|i\.e))\.$"
)
_UNQUOTABLE: Final = re.compile(r"[\"\u201c\u201d]|\s{2,}|[^\S ]")
_UNCITABLE_PATH: Final = re.compile(r"[\[\]\":\n]")
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
class Line:
    """One line of a document that a search showed, with the heading it stands under."""

    path: str
    number: int
    text: str
    heading: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, the lines it runs over, and what stands near it."""

    path: str
    lines: tuple[Line, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A statement of the documents with the citation that proves it, in its written form."""

    statement: str
    citation: str
    path: str


def terms(text: str) -> list[str]:
    """The words that carry meaning, lower-case and stemmed, in order, without repeats."""
    return list(dict.fromkeys(_stem(word) for word in _words(text)))


def query(question: str) -> str:
    """What to type into a search for this question; empty when no word carries meaning."""
    seen: dict[str, None] = {}
    for token in _TOKEN.findall(question):
        if re.match(f"[{_CJK}]", token):
            seen.update(dict.fromkeys(run for run in _CJK_STOP.split(token) if run))
        elif token.lower() not in _STOP_WORDS:
            seen[token.lower()] = None
    return " ".join(list(seen)[:24])


def findings(question: str, search_result: str) -> list[Finding]:
    """The sentences of a search result that cover the question best, best first."""
    wanted = terms(question)
    sentences = list(_sentences(_lines(search_result)))
    stems = [set(terms(sentence.text)) for sentence in sentences]
    spread = Counter(stem for each in stems for stem in each)
    weight = {term: math.log(1 + len(sentences) / (1 + spread[term])) for term in wanted}
    scored: list[tuple[float, int]] = []
    for position, sentence in enumerate(sentences):
        score = _score(question, sentence, stems[position], weight)
        if score > 0:
            scored.append((score, position))
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    return _choose([(score, sentences[position]) for score, position in scored], set(wanted))


def missing(question: str, found: list[Finding]) -> list[str]:
    """The words of the question that no finding mentions, as the question writes them."""
    covered = {stem for finding in found for stem in terms(f"{finding.statement} {finding.path}")}
    words = dict.fromkeys(_words(question))
    return [word for word in words if _stem(word) not in covered]


def write_findings(question: str, found: list[Finding]) -> str:
    """Findings as letter text."""
    lines = [f"Question: {_one_line(question)}", ""]
    if not found:
        return "\n".join([*lines, "No passage of the documents covers this question."])
    lines.append("Findings (offline text search, not an LLM), best first:")
    lines += [f"{n}. {each.statement} {each.citation}" for n, each in enumerate(found, 1)]
    return "\n".join(lines)


def read_findings(content: str) -> tuple[str, list[Finding]]:
    """The question and the cited statements of a letter, whoever wrote it."""
    question = ""
    found: list[Finding] = []
    for line in content.splitlines():
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
    """An answer made of findings: the best one, the others by file, and what was not found."""
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


def _words(text: str) -> Iterator[str]:
    """Lower-case words without stop words; of Chinese, Japanese and Korean the pairs of signs."""
    for token in _TOKEN.findall(text):
        if re.match(f"[{_CJK}]", token):
            for run in _CJK_STOP.split(token):
                yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)) if run)
        elif (word := token.lower().replace("\u2019", "'").removesuffix("'s")) not in _STOP_WORDS:
            yield word


def _stem(word: str) -> str:
    """Cut the commonest English endings, so that `measures` meets `measured`."""
    for ending in ("ingly", "ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s"):
        if (
            word.endswith(ending)
            and len(word) - len(ending) >= STEM_CHARS_MIN
            and not word.endswith("ss")
        ):
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > STEM_CHARS_MIN and word[-1] in "eiy" else word


def _lines(search_result: str) -> Iterator[Line]:
    """The lines of all passages in order; a line that two passages share comes once."""
    path, heading = "", ""
    seen: set[tuple[str, int]] = set()
    for raw in search_result.splitlines():
        if header := _HEADER.match(raw):
            path, heading = header["path"], ""
        elif path and (match := _LINE.match(raw)) and not _UNCITABLE_PATH.search(path):
            text, number = match["text"] or "", int(match["number"])
            title = _HEADING.match(text)
            heading = title["title"] if title else heading
            if (path, number) not in seen:
                seen.add((path, number))
                yield Line(path, number, "" if title else text, heading)


def _sentences(lines: Iterator[Line]) -> Iterator[Sentence]:
    block: list[Line] = []
    for line in lines:
        follows = block and block[-1].path == line.path and block[-1].number + 1 == line.number
        if block and (not follows or not line.text.strip() or _BREAK.match(line.text)):
            yield from _split(block)
            block = []
        if line.text.strip():
            block.append(line)
    if block:
        yield from _split(block)


def _split(block: list[Line]) -> Iterator[Sentence]:
    """Cut a paragraph into sentences; what has no sentences in it (lists, logs) into its lines."""
    text = "\n".join(line.text for line in block)
    starts = [0]
    for line in block:
        starts.append(starts[-1] + len(line.text) + 1)
    begin: int | None = None
    for match in _SENTENCE.finditer(text):
        begin = match.start() if begin is None else begin
        if _ABBREVIATION.search(match[0]) and match.end() < len(text):
            continue
        touched = tuple(
            line
            for line, low, high in zip(block, starts, starts[1:], strict=False)
            if low < match.end() and high > begin + 1
        )
        whole = " ".join(text[begin : match.end()].split())
        if len(whole) > SENTENCE_CHARS_MAX or len(touched) > SENTENCE_LINES_MAX:
            for line in touched:
                yield Sentence(line.path, (line,), " ".join(line.text.split()))
        elif touched:
            yield Sentence(block[0].path, touched, whole)
        begin = None


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
    return score * (
        0.6 if len(sentence.text) < SENTENCE_CHARS_SHORT or sentence.text.endswith("?") else 1.0
    )


def _choose(scored: list[tuple[float, Sentence]], wanted: set[str]) -> list[Finding]:
    chosen: dict[str, Finding] = {}
    per_file: Counter[str] = Counter()
    for score, sentence in scored:
        if score < CLOSE_ENOUGH * scored[0][0] or len(chosen) == FINDINGS_MAX:
            break
        if per_file[sentence.path] < FINDINGS_PER_FILE_MAX:
            finding = _cite(sentence, wanted)
            if finding and finding.statement not in chosen:
                chosen[finding.statement] = finding
                per_file[sentence.path] += 1
    return list(chosen.values())


def _cite(sentence: Sentence, wanted: set[str]) -> Finding | None:
    """Quote the part of one line that covers most; None when nothing in it can be quoted."""
    pieces: list[tuple[int, int, str]] = []
    for line in sentence.lines:
        for part in _UNQUOTABLE.split(_BULLET.sub("", line.text)):
            # Of the outer lines only what belongs to this sentence may be quoted.
            kept = part.strip() if part.strip() in sentence.text else _overlap(part, sentence.text)
            if len(kept) >= QUOTE_CHARS_MIN:
                pieces.append((len(wanted & set(terms(kept))), len(kept), kept))
    if not pieces:
        return None
    quote = _cut(max(pieces)[2])
    citation = Citation(
        path=sentence.path,
        start_line=sentence.lines[0].number,
        end_line=sentence.lines[-1].number,
        quote=quote,
    )
    # A bracket with a path in it inside the statement would read as a citation of its own.
    statement = CITATION.sub("", _MARKUP.sub("", sentence.text)).strip()
    return Finding(statement, write(citation), sentence.path)


def _overlap(part: str, sentence: str) -> str:
    """The part of a line that the sentence starts or ends with."""
    words = part.split(" ")
    for count in range(len(words) - 1, 0, -1):
        tail, head = " ".join(words[-count:]).strip(), " ".join(words[:count]).strip()
        if tail and sentence.startswith(tail):
            return tail
        if head and sentence.endswith(head):
            return head
    return ""


def _cut(quote: str) -> str:
    if len(quote) <= QUOTE_CHARS_MAX:
        return quote
    short = quote[:QUOTE_CHARS_MAX]
    return short.rsplit(" ", 1)[0] if " " in short else short


def _one_line(text: str) -> str:
    return " ".join(text.split())
