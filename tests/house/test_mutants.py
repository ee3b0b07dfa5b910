"""Seeded bugs still apply: the line each one changes stands exactly once in its file."""

import pytest

from proof.mutants import MUTANTS, Mutant
from proof.shown import ROOT
from proof.stage import all_stages

STAGES = all_stages()
NAMES = [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_the_place_of_the_bug_is_still_there(mutant: Mutant) -> None:
    for edit in mutant.edits:
        text = (ROOT / edit.path).read_text(encoding="utf-8")
        assert text.count(edit.old) == 1
        assert edit.old != edit.new


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_what_shall_find_it_exists(mutant: Mutant) -> None:
    for detector in mutant.detectors:
        if detector.startswith("tests/"):
            assert (ROOT / detector.split()[0].partition("::")[0]).exists()
        else:
            assert detector in STAGES


def test_there_are_at_least_twelve_of_them_all_different() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 12
