"""How well the checks do on labelled lines: what they find and how much of it is wrong."""

import sys

import pytest

from tests.unit.governance.labelled import KINDS, PII, Score, lines, scores

LEAST = {
    **dict.fromkeys((*PII, "pii", "secret"), (0.94, 0.94)),
    "pii": (0.99, 0.99),
    "injection": (0.98, 0.9),
}
"""Precision and recall on the lines that stood beside the rules when they were written."""
UNSEEN = {"pii": (0.9, 0.9), "secret": (0.95, 0.75), "injection": (0.9, 0.5)}
"""On the lines that came after: this is what to expect of texts nobody has seen."""
ALL = {"pii": (0.97, 0.97), "secret": (0.95, 0.9), "injection": (0.95, 0.8)}


def table(corpus: str) -> dict[str, Score]:
    found = scores(lines(corpus))
    found["pii"] = sum((found[one] for one in PII), Score())
    rows = [f"\n{corpus:12} {'marked':>6} {'precision':>10} {'recall':>7}"]
    for kind, score in found.items():
        count = score.right + len(score.missed)
        rows.append(f"{kind:12} {count:>6} {score.precision:>10.3f} {score.recall:>7.3f}")
    sys.stdout.write("\n".join(rows) + "\n")
    return found


def test_the_corpus_has_lines_for_and_against_every_kind() -> None:
    every = [*lines("known"), *lines("held_out")]
    assert len(every) >= 500
    assert sum(1 for line in every if not line.labels) > len(every) / 3
    assert all(sum(line.labels[kind] for line in every) > 6 for kind in KINDS)
    assert sum(not line.text.isascii() for line in every) > 50


@pytest.mark.parametrize(("corpus", "least"), [("known", LEAST), ("held_out", UNSEEN), ("*", ALL)])
def test_precision_and_recall_are_what_the_documentation_says(
    corpus: str, least: dict[str, tuple[float, float]]
) -> None:
    found = table(corpus)
    for kind, (precision, recall) in least.items():
        assert found[kind].precision >= precision, (kind, found[kind].wrong)
        assert found[kind].recall >= recall, (kind, found[kind].missed)
