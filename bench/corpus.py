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
        self._latin = [*_ENGLISH, *(self._word() for _ in range(_WORDS))]
        self._han = [
            "".join(chr(self._dice.choice(_HAN)) for _ in range(self._dice.choice((1, 2, 2, 2, 3))))
            for _ in range(_WORDS // 3)
        ]
        # Drawing from lines that were drawn before is several times as fast as drawing words.
        self._latin_lines = self._lines(self._latin, " ")
        self._han_lines = self._lines(self._han, "")
        self.questions: list[str] = []

    def write(self, root: Path, documents: int) -> None:
        """Write so many documents below a folder, a hundred in each of its folders."""
        for number, text in enumerate(self.texts(documents)):
            path = root / f"part-{number // 100:03}" / f"note-{number:05}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def texts(self, documents: int) -> Iterator[str]:
        """The documents; one question is kept of each tenth."""
        dice = self._dice
        for number in range(documents):
            latin = number % 8 != 7
            words, gap = (self._latin, " ") if latin else (self._han, "")
            topic = [gap + words[dice.randrange(300, len(words))] for _ in range(60)]
            drawn = dice.choices(self._latin_lines if latin else self._han_lines, k=DOCUMENT_LINES)
            lines = [line + dice.choice(topic) if at % 7 else "" for at, line in enumerate(drawn)]
            if number % 10 in {0, 7}:
                self.questions.append(f"{lines[dice.randrange(80) * 7 + 1]} {dice.choice(topic)}")
            yield "\n".join(lines)

    def _lines(self, words: list[str], gap: str) -> list[str]:
        weights = list(itertools.accumulate(1 / (at + 2.7) ** 1.07 for at in range(len(words))))
        return [
            gap.join(self._dice.choices(words, cum_weights=weights, k=self._dice.randint(2, 5)))
            for _ in range(50_000)
        ]

    def _word(self) -> str:
        count = self._dice.choice((1, 2, 2, 3))
        syllables = "".join(self._dice.choice(_SYLLABLES) for _ in range(count))
        return syllables + self._dice.choice("nrstl")
