"""Reference files: always listed, read in full only when the message asks about them."""

import pytest

from brainpilot_rt.context.references import Reference, reference, reference_source

WING = """---
description: How a wing flutters, and what damps it
tags: [aeroelastic, mass balance]
---
Flutter is a dance of two modes.
"""


def test_front_matter_gives_description_and_tags():
    assert reference("wing.md", "reference/wing.md", WING) == Reference(
        name="wing.md",
        path="reference/wing.md",
        description="How a wing flutters, and what damps it",
        tags=("aeroelastic", "mass balance"),
        body="Flutter is a dance of two modes.",
    )
    assert reference("a.md", "a.md", "---\ntags: one, two\n---\nb").tags == ("one", "two")


@pytest.mark.parametrize("text", ["plain", "---\n[not: a: map\n---\nx", "---\n- a\n---\nx", ""])
def test_front_matter_that_is_none_counts_as_text(text: str):
    made = reference("a.md", "a.md", text)
    assert (made.description, made.tags, made.body) == ("", (), text.strip())


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("What does wing.md say?", True),
        ("Is it aeroelastic?", True),
        ("tell me how a thing flutters", True),
        ("what is it and how", False),
        ("How are you?", False),
        ("", False),
    ],
)
def test_the_content_is_shown_only_when_the_message_asks_about_it(query: str, read: bool):  # noqa: FBT001 - a row of a table
    made = reference_source([reference("wing.md", "reference/wing.md", WING)], query)
    listed = "How a wing flutters, and what damps it (tags: aeroelastic, mass balance)"
    assert [piece.text for piece in made.listed] == [f"- reference/wing.md: {listed}"]
    assert bool(made.pieces) is read


def test_the_best_three_are_read():
    many = [reference(f"wing-{n}.md", "", f"---\ntags: [t{n}]\n---\nbody {n}") for n in range(6)]
    made = reference_source(many, "wing t4")
    assert len(made.pieces) == 3
    assert made.pieces[0].text == "wing-4.md:\nbody 4"
