"""Glob patterns."""

import pytest

from brainpilot_rt.domain.errors import BadRequest
from brainpilot_rt.workspace.patterns import matcher, name_matcher


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.py", "a.py", "d/a.py"),
        ("**/*.py", "a/b/c.py", "a/b/c.txt"),
        ("**/*.py", "c.py", "py"),
        ("a/**", "a/b/c", "b/a"),
        ("a/**/z", "a/z", "a/b"),
        ("{a,b}/*.{md,txt}", "b/x.txt", "c/x.txt"),
        ("[ab]?", "bx", "cx"),
        ("**/b/**/d", "a/b/c/c/d", "a/c/d"),
    ],
)
def test_a_pattern_matches_by_names(pattern: str, yes: str, no: str):
    matches = matcher(pattern)
    assert matches(yes.split("/"))
    assert not matches(no.split("/"))


def test_a_bare_name_matches_anywhere():
    assert name_matcher("*.md")(("a", "b.md"))
    assert not name_matcher("a/*.md")(("b", "a", "c.md"))


def test_hostile_patterns_end_soon():
    assert not matcher("**/" * 200 + "x")(("a",) * 64)
    assert not matcher("*a" * 100 + "b")(("a" * 255,))
    for pattern in ("{a,b}" * 20, "", "x" * 2000):
        with pytest.raises(BadRequest):
            matcher(pattern)
