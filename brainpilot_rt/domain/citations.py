"""Citations: how an agent points at the lines it relies on, and how they are read back.

Form in any text:  [path/to/file.txt:12-14 "words that occur in these lines"]
The quote is compared with white space folded, so that a quote may run over a line break.
`parse` finds them, `located` finds their quotes in the lines they point at. All of it is pure.
"""

import re
from typing import Final

from brainpilot_rt.domain.values import Value

CITATION: Final = re.compile(
    r"\[(?P<path>[^\[\]\n\":]{1,400}):(?P<start>\d{1,9})(?:-(?P<end>\d{1,9}))?"
    r"\s+[\"\u201c](?P<quote>[^\"\u201c\u201d]{1,2000})[\"\u201d]\]"
)

_WORD: Final = re.compile(r"\S+")


class Citation(Value):
    """One checkable pointer. Lines count from 1, both ends included.

    `path` is relative to the workspace.
    """

    path: str
    start_line: int
    end_line: int
    quote: str


def parse(text: str) -> list[Citation]:
    """All citations in `text`, in order, without repeats."""
    found: dict[Citation, None] = {}
    for match in CITATION.finditer(text):
        start = int(match["start"])
        end = int(match["end"] or start)
        if 1 <= start <= end:
            path = match["path"].strip().removeprefix("/workspace/").removeprefix("./")
            quote = " ".join(match["quote"].split())
            found[Citation(path=path, start_line=start, end_line=end, quote=quote)] = None
    return list(found)


def write(citation: Citation) -> str:
    """The textual form that `parse` reads. Quote characters inside the quote become apostrophes."""
    quote = re.sub(r"[\"\u201c\u201d]", "'", citation.quote)
    return f'[{citation.path}:{citation.start_line}-{citation.end_line} "{quote}"]'


def located(citation: Citation, lines: list[str]) -> Citation | None:
    """The citation with its quote as it stands in the cited lines; None when it is not in them.

    White space is compared folded, because a quote may run over a line break; what comes back is
    the very text of the file (lines joined by a line feed).
    """
    quote = " ".join(citation.quote.split())
    if citation.end_line > len(lines) or not quote:
        return None
    span = "\n".join(lines[citation.start_line - 1 : citation.end_line])
    folded = " ".join(
        span.split()
    )  # searched as text: a pattern can take minutes on a hostile file
    at = folded.find(quote)
    if at < 0:
        return None
    starts = [word.start() for word in _WORD.finditer(span)]
    begin, end = (_unfolded(folded, starts, one) for one in (at, at + len(quote) - 1))
    return citation.model_copy(update={"quote": span[begin : end + 1]})


def _unfolded(folded: str, starts: list[int], at: int) -> int:
    """Where a character of the folded text stands in the text whose words begin at `starts`."""
    return starts[folded.count(" ", 0, at)] + at - (folded.rfind(" ", 0, at) + 1)
