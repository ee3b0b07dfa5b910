"""Every fault of the catalogue is shown by something, or says why it does not apply."""

from proof.catalogue import EXEMPT, FAULTS
from proof.shown import shown_by_stages, shown_by_tests
from proof.stage import all_stages

STAGES = all_stages()


def test_every_row_is_shown_or_says_in_a_line_why_it_does_not_apply() -> None:
    shown = {*shown_by_tests(), *shown_by_stages(STAGES)}
    assert set(FAULTS) - shown - set(EXEMPT) == set()


def test_what_is_shown_or_exempt_is_a_row_and_never_both() -> None:
    shown = {*shown_by_tests(), *shown_by_stages(STAGES)}
    assert shown - set(FAULTS) == set()
    assert set(EXEMPT) & shown == set()
