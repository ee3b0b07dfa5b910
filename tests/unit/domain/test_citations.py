from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.citations import Citation, located, parse, write

LINES = ["The lamp was lit", "  at dusk, and  burned", "until (dawn) came."]


def cite(quote: str, start: int = 1, end: int = 3) -> Citation:
    return Citation(path="log.txt", start_line=start, end_line=end, quote=quote)


def test_a_quote_over_a_line_break_is_given_back_as_it_stands_in_the_file():
    found = located(cite("lamp was lit at dusk, and burned"), LINES)
    assert found is not None
    assert found.quote == "lamp was lit\n  at dusk, and  burned"
    assert found.quote in "\n".join(LINES)


def test_a_quote_is_text_and_no_pattern():
    assert located(cite("until (dawn) came."), LINES)
    assert not located(cite("until .dawn. came"), LINES)


def test_what_is_outside_the_cited_lines_does_not_hold():
    assert not located(cite("The lamp", 2, 3), LINES)
    assert not located(cite("came.", 3, 4), LINES)
    assert not located(cite("   "), LINES)


def test_a_quote_may_begin_and_end_inside_a_word():
    found = located(cite("awn) cam"), LINES)
    assert found is not None
    assert found.quote == "awn) cam"


def test_a_quote_made_to_be_nearly_everywhere_is_judged_at_once():
    lines = ["a " * 50] * 20_000
    assert located(cite("a " * 999 + "b", 1, 20_000), lines) is None


@given(st.text(" \t\u2028ab", max_size=40), st.text(" \nab", max_size=6))
def test_what_is_found_is_the_text_of_the_file_and_nothing_is_missed(text: str, quote: str):
    folded = " ".join(quote.split())
    found = located(cite(quote, 1, 1), [text])
    assert (found is not None) == (folded != "" and folded in " ".join(text.split()))
    if found is not None:
        assert found.quote in text
        assert " ".join(found.quote.split()) == folded


@given(st.lists(st.sampled_from(["oil", "a+b", "[x]", "灯", "it's"]), min_size=1, max_size=8))
def test_what_is_written_is_read_back(words: list[str]):
    citation = cite(" ".join(words))
    assert parse(f"So: {write(citation)}.") == [citation]
