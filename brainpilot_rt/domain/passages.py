"""Passages: pieces of a document that retrieval finds, with their lines so they can be cited."""

from collections.abc import Iterable

from brainpilot_rt.domain.values import Value


class Passage(Value):
    """Some whole lines of one file. Lines count from 1, both ends included.

    `path` is workspace-relative. `score` is larger for a better match and means nothing across two
    queries. Of a line too long for one passage, `text` is a part.
    """

    path: str
    start_line: int
    end_line: int
    text: str
    score: float


class Passages(list[Passage]):
    """What a search found, best first."""

    def __init__(self, found: Iterable[Passage] = (), notice: str = "") -> None:
        """`notice`: what may be missing and why, for who reads the result; mostly nothing."""
        super().__init__(found)
        self.notice = notice
