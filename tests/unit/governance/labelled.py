"""The labelled lines, and how well the checks do on them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from brainpilot_rt.governance.guardrails.config import GuardrailConfig
from brainpilot_rt.governance.guardrails.pipeline import judge

FOLDER = Path(__file__).parent / "corpus"
PII = ("email", "phone", "ssn", "card", "iban", "national_id", "ip")
KINDS = (*PII, "secret", "injection")
_OF = {"secrets": "secret", "builtin": "injection"}


@dataclass(frozen=True)
class Line:
    labels: Counter[str]
    text: str


@dataclass
class Score:
    right: int = 0
    wrong: list[str] = field(default_factory=list[str])
    missed: list[str] = field(default_factory=list[str])

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + len(self.wrong))

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + len(self.missed))

    def __add__(self, other: "Score") -> "Score":
        return Score(self.right + other.right, self.wrong + other.wrong, self.missed + other.missed)


def lines(name: str) -> list[Line]:
    """Of the file with this name, or of all (`*`)."""
    read: list[Line] = []
    files = sorted(FOLDER.glob(f"{name}.tsv"))
    for row in "".join(one.read_text(encoding="utf-8") for one in files).splitlines():
        labels, text = row.split("\t", 1)
        said = Counter(one for one in labels.split(",") if one != "-")
        read.append(Line(said, text.replace("·", "").replace("\\n", "\n")))
    return read


def found(text: str) -> Counter[str]:
    """How often each kind is found; secrets and instructions count once for a text."""
    counts: Counter[str] = Counter()
    for one in judge(text, "tool_result", GuardrailConfig()).findings:
        kind = _OF.get(one.guardrail, one.label)
        counts[kind] = 1 if one.guardrail in _OF else counts[kind] + len(one.spans)
    return counts


def scores(corpus: list[Line]) -> dict[str, Score]:
    result = {kind: Score() for kind in KINDS}
    for line in corpus:
        got = found(line.text)
        for kind in KINDS:
            wanted, had, score = line.labels[kind], got[kind], result[kind]
            score.right += min(wanted, had)
            score.wrong += [line.text] * max(0, had - wanted)
            score.missed += [line.text] * max(0, wanted - had)
    return result
