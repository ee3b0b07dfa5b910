"""Words and sentences: what the offline model sees in a question and in the text of a search.

The passages come as the text of the `search` tool: blocks headed `### <n>. <path>:<start>-<end>
(score <x.xx>)`, lines written `<lineno>| text`. Several results may follow each other; the lines of
one file are put back into their order, so that a sentence over two passages is whole. English words
are stemmed, Chinese, Japanese and Korean read as pairs of signs. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SENTENCE_CHARS_MAX: Final = 320
SENTENCE_LINES_MAX: Final = 5
STEM_CHARS_MIN: Final = 3
QUERY_WORDS_MAX: Final = 24
PARTS_MAX: Final = 3

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
    "为什么|为何|多少|多久|多长|几个|几年|几月|哪里|哪儿|哪个|哪位|哪年|哪天|何时|何处|何人"
    "|[的了是在吗呢吧和与及或有什么哪些怎么如何请问我你他她它们这那谁]"
)
_WHOLE: Final = re.compile(
    r"\b(?:documents?|files?|folder|notes?|texts?|here|workspace|this|about|contents?|overview"
    r"|summar\w+)\b|文件|文档|资料|内容|总结|概述|概括|介绍",
    re.IGNORECASE,
)
_WHOLE_CJK: Final = re.compile(
    "文件夹|文件|文档|资料|内容|主要|大意|要点|总结|概述|概括|介绍|关于|一下|里面|[讲说写里中都下]"
)
_WHOLE_WORDS: Final = frozenset(
    re.findall(
        r"\S+",
        "brief briefly content contents folder idea ideas key main note notes point points short "
        "subject subjects theme themes topic topics workspace",
    )
)
_TOKEN: Final = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+(?:[.'\u2019-][^\W_{_CJK}]+)*")
_HEADER: Final = re.compile(r"^### \d+\. (?P<path>.+):(?P<start>\d+)-\d+ \(score -?[\d.]+\)$")
_LINE: Final = re.compile(r"^\s*(?P<number>\d+)\|(?: (?P<text>.*))?$")
_BREAK: Final = re.compile(r"^\s*(?:[-*+>|]|\d+[.)]\s|```|[A-Za-z][A-Za-z -]{1,24}:\s)")
_HEADING: Final = re.compile(r"^\s*#{1,6}\s+(?P<title>.+?)\s*#*$")
_SENTENCE: Final = re.compile(
    r"\S.*?(?:[.!?]+[\"'\u201d\u2019)\]*_]*(?=\s)|[\u3002\uff01\uff1f]+|\Z)", re.DOTALL
)
_ABBREVIATION: Final = re.compile(
    r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|Prof|St|No|Nos|Fig|Figs|vs|cf|etc|approx|e\.g|i\.e))\.$"
)
_UNCITABLE_PATH: Final = re.compile(r"[\[\]\":\n]")
_PART: Final = re.compile(
    r"[?;\uff1f\uff1b]+\s*|,\s*(?:and|but|or)\s+"
    r"|\s+and\s+(?=(?:who|whose|what|why|how|when|where|which)\b)",
    re.IGNORECASE,
)


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


def terms(text: str) -> list[str]:
    """The words that carry meaning, lower-case and stemmed, in order, without repeats."""
    return list(dict.fromkeys(stem(word) for word in words(text)))


def query(question: str) -> str:
    """What to type into a search for this question; empty when no word carries meaning."""
    seen: dict[str, None] = {}
    for token in _TOKEN.findall(question):
        if re.match(f"[{_CJK}]", token):
            seen.update(dict.fromkeys(run for run in _CJK_STOP.split(token) if run))
        elif token.lower() not in _STOP_WORDS:
            seen[token.lower()] = None
    return " ".join(list(seen)[:QUERY_WORDS_MAX])


def is_overview(question: str) -> bool:
    """Whether this asks what the documents are about, and names nothing in them."""
    rest = words(_WHOLE_CJK.sub(" ", question))
    return bool(_WHOLE.search(question)) and _WHOLE_WORDS.issuperset(rest)


def parts(question: str) -> list[str]:
    """The questions in a question, at most `PARTS_MAX`; the whole when there is only one."""
    found = [part for part in _PART.split(question) if terms(part)]
    return found[:PARTS_MAX] if len(found) > 1 else [question]


def sentences(search_result: str) -> list[Sentence]:
    """The sentences of all passages, file by file in the order in which files were found."""
    files: dict[str, dict[int, str]] = {}
    path = ""
    for raw in search_result.split("\n"):
        if header := _HEADER.match(raw):
            path = header["path"]
        elif "\ufffd" in raw:
            continue  # not the text of the file: it is in another encoding
        elif path and (match := _LINE.match(raw)) and not _UNCITABLE_PATH.search(path):
            files.setdefault(path, {})[int(match["number"])] = match["text"] or ""
    return [
        sentence
        for path, lines in files.items()
        for block in _blocks(path, lines)
        for sentence in _split(block)
    ]


def words(text: str) -> Iterator[str]:
    """Lower-case words without stop words; of Chinese, Japanese and Korean the pairs of signs."""
    for token in _TOKEN.findall(text):
        if re.match(f"[{_CJK}]", token):
            for run in _CJK_STOP.split(token):
                yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)) if run)
        elif (word := token.lower().replace("\u2019", "'").removesuffix("'s")) not in _STOP_WORDS:
            yield word


def stem(word: str) -> str:
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


def _blocks(path: str, lines: dict[int, str]) -> Iterator[list[Line]]:
    """Runs of lines that may share a sentence, each line with the heading it stands under."""
    block: list[Line] = []
    heading, last = "", 0
    for number in sorted(lines):
        text = lines[number]
        title = _HEADING.match(text)
        follows = number == last + 1
        if block and (not follows or title or not text.strip() or _BREAK.match(text)):
            yield block
            block = []
        heading = title["title"] if title else heading if follows else ""
        last = number
        if text.strip() and not title:
            block.append(Line(path, number, text, heading))
    if block:
        yield block


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
