"""Cutting, normalising and asking: pure."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.context.retrieval.text import (
    PASSAGE_CHARS_MAX,
    QUERY_WORDS_MAX,
    expression,
    passages,
    query_words,
    terms,
    title,
)
from brainpilot_rt.workspace.walk import split_lines


def test_passages_are_whole_lines_that_cover_the_text():
    lines = [f"line {number} " + "x" * (number % 7 * 40) for number in range(300)]
    text = "\r\n".join(lines) + "\n"
    covered: set[int] = set()
    for start, end, body in passages(text):
        assert body == "\n".join(split_lines(text)[start - 1 : end])
        assert len(body) <= PASSAGE_CHARS_MAX
        covered.update(range(start, end + 1))
    assert covered == set(range(1, 301))


def test_a_line_too_long_becomes_several_passages_of_that_line():
    found = list(passages("short\n" + "y" * 5_000 + "\n\n"))
    assert [(start, end) for start, end, _ in found][-3:] == [(2, 2)] * 3
    assert "".join(body for start, _, body in found if start == 2) == "y" * 5_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("\n\n---\n# The sea\ntext", "# The sea"),
        ("   \u6d77  \n", "\u6d77"),
        ("x" * 999, "x" * 200),
        ("-\n" * 5_000 + "late", ""),
    ],
)
def test_the_title_is_the_first_line_that_says_something(text: str, said: str):
    assert title(text) == said


def test_runs_without_spaces_become_pairs_and_their_last_character():
    assert terms("ascii stays: As It Is") == "ascii stays: As It Is"
    assert (
        terms("GPT\u6a21\u578b\u5f88\u5927").split()
        == "GPT \u6a21\u578b \u578b\u5f88 \u5f88\u5927 \u5927".split()  # noqa: SIM905 - easier to read
    )
    assert terms("\uff21\uff22\uff23 \ufb01n \uff76\uff9e").split() == ["ABC", "fin", "\u30ac"]


def test_words_that_only_hold_a_question_together_are_dropped_unless_alone():
    assert query_words("What are the Gulls of THE sea?") == ['"gulls"', '"sea"']
    assert query_words("to be or not to be") == ['"to"', '"be"', '"or"', '"not"']
    assert query_words("\u6d77 the") == ['"\u6d77"*']
    assert query_words("the \u6d77\u9e25\u7fa4") == ['"\u6d77\u9e25"', '"\u9e25\u7fa4"']


def test_a_long_query_is_cut():
    assert len(query_words(" ".join(f"w{number}" for number in range(10_000)))) == QUERY_WORDS_MAX


def test_common_words_only_count_in_the_rank():
    assert expression(["a", "b", "c"], [3, 2, 1]) == "c OR b OR a"
    assert expression(["a", "b", "c"], [9_000, 10, 9_000]) == "(b) AND (b OR a OR c OR a OR c)"
    assert expression(["a", "b"], [9_000, 9_001]) == "(a) AND (a OR b OR b)"
    assert expression(["a"], [9_000]) == "a"


@given(st.text(), st.text())
def test_any_text_and_any_query_make_sense_to_the_database(text: str, query: str):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE w USING fts5 (body, tokenize = 'porter unicode61')")
    for _, _, piece in passages(text.encode("utf-8", "replace").decode()):
        database.execute("INSERT INTO w VALUES (?)", (terms(piece),))
    words = query_words(query)
    for counts in ([0] * len(words), [9_000] * len(words)):
        if words:
            database.execute("SELECT * FROM w WHERE w MATCH ?", (expression(words, counts),))
    database.close()


@given(st.text(alphabet="\u6d77\u9e25\u7fa4ab \u30ac\ud55c\n", min_size=1, max_size=60), st.data())
def test_what_stands_in_a_text_is_found_by_each_part_of_it(text: str, data: st.DataObject):
    start = data.draw(st.integers(0, len(text) - 1))
    query = text[start : data.draw(st.integers(start + 1, len(text)))]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE w USING fts5 (body, tokenize = 'porter unicode61')")
    database.execute("INSERT INTO w VALUES (?)", (terms(text),))
    whole = [word for word in query_words(query) if not word.strip('"').isascii()]
    for word in whole:
        assert database.execute("SELECT count(*) FROM w WHERE w MATCH ?", (word,)).fetchone()[0]
    database.close()
