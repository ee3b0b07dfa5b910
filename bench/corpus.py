"""A work tree of synthetic text that counts like real text, and questions about it.

Words follow Zipf's law (with Mandelbrot's correction), English function words first; every document
has a topic of rarer words; one in eight is Chinese. The same seed gives the same tree.
"""

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DOCUMENT_LINES: Final = 564
"""Lines of a document: twenty passages."""
PASSAGES: Final = 20
_ENGLISH: Final = re.findall(
    r"\w+",
    """the of and to in a is that for it as was with be by on not he his but at are this have from
    or had an they which one were all her she there would their we him been has when who will no
    more
    if out so said what up its about than into them can only other time new some could these two
    may first then do any like my now over such our man me even most made after also did many off
    before must well back through years where much your way down should because long each just
    state people those""",
)
_SYLLABLES: Final = [
    begin + vowel
    for begin in "b c d f g h k l m n p r s t v w st tr pl br gr".split()  # noqa: SIM905 - easier to read
    for vowel in "a e i o u ea ou ai".split()  # noqa: SIM905 - as above
]
_WORDS: Final = 60_000
_HAN: Final = range(0x4E00, 0x4E00 + 2_500)


class Corpus:
    """Documents and the questions that were taken from them."""

    def __init__(self, seed: int = 7) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - the same text each time
        rare = [self._word(number) for number in range(_WORDS)]
        self._latin = [*_ENGLISH, *rare]
        self._han = [
            "".join(chr(self._dice.choice(_HAN)) for _ in range(self._dice.choice((1, 2, 2, 2, 3))))
            for _ in range(20_000)
        ]
        self._weights = list(
            itertools.accumulate(1 / (rank + 2.7) ** 1.07 for rank in range(len(self._latin)))
        )
        self.questions: list[str] = []

    def write(self, root: Path, documents: int) -> None:
        """Write so many documents below a folder, a hundred in each of its folders."""
        for number, text in enumerate(self.texts(documents)):
            path = root / f"part-{number // 100:03}" / f"note-{number:05}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def texts(self, documents: int) -> Iterator[str]:
        """The documents; one question is kept of each tenth."""
        for number in range(documents):
            words, gap = (self._han, "") if number % 8 == 7 else (self._latin, " ")
            topic = [words[self._dice.randrange(300, len(words))] for _ in range(60)]
            lines = self._lines(words, gap, topic)
            if number % 10 in {0, 7}:
                line = self._dice.choice([one for one in lines if one])
                self.questions.append(f"{line} {self._dice.choice(topic)}")
            yield "\n".join(lines)

    def _lines(self, words: list[str], gap: str, topic: list[str]) -> list[str]:
        lines: list[str] = []
        weights = self._weights[: len(words)]
        while len(lines) < DOCUMENT_LINES:
            count = self._dice.randint(3, 6)
            line = self._dice.choices(words, cum_weights=weights, k=count)
            line[self._dice.randrange(count)] = self._dice.choice(topic)
            lines.append(gap.join(line) if len(lines) % 7 else "")
        return lines

    def _word(self, number: int) -> str:
        own = random.Random(number)  # noqa: S311 - the same text each time
        count = 2 if number < _WORDS / 20 else 3
        return "".join(own.choice(_SYLLABLES) for _ in range(count)) + own.choice(
            ["n", "r", "s", "t", "l"]
        )
