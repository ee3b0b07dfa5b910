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


@given(st.lists(st.sampled_from(["oil", "a+b", "[x]", "灯", "it's"]), min_size=1, max_size=8))
def test_what_is_written_is_read_back(words: list[str]):
    citation = cite(" ".join(words))
    assert parse(f"So: {write(citation)}.") == [citation]
