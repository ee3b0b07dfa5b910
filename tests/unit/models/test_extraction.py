from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.domain.citations import located, parse
from brainpilot_rt.models.extraction import (
    compose,
    findings,
    missing,
    read_findings,
    write_findings,
)
from brainpilot_rt.models.sentences import parts, query, terms
from tests.unit.models.team import search_result


def _only(question: str, text: str) -> str:
    (finding, *_) = findings(question, search_result({"a.txt": text}))
    return finding.statement


def test_a_query_keeps_the_words_that_carry_meaning() -> None:
    assert query("What is the boiling point of water at 2,000 m?") == "boiling point water 2 000 m"
    assert query("水泵运行多少小时?") == "水泵运行 小时"
    assert query("what is it about?") == ""


def test_a_question_of_several_parts_is_taken_apart() -> None:
    assert parts("Who paid the fine, and what does the plate say?") == [
        "Who paid the fine",
        "what does the plate say",
    ]
    assert parts("Is salt and pepper stored?") == ["Is salt and pepper stored?"]


def test_every_part_of_a_question_gets_its_finding() -> None:
    files = {
        "a.txt": "The fine was paid by Anna.\n\nThe fine was high.\n\nThe fine was old.",
        "b.txt": "The plate says thank you.",
    }
    found = findings("Who paid the fine, and what does the plate say?", search_result(files))
    assert [each.path for each in found[:2]] == ["a.txt", "b.txt"]


def test_lines_of_overlapping_passages_are_put_in_order() -> None:
    text = "### 1. a.txt:2-3 (score 2.00)\n2| is open in\n3| May.\n\n"
    text += "### 2. a.txt:1-2 (score 1.00)\n1| The valve\n2| is open in"
    (finding,) = findings("Is the valve open?", text)
    assert finding.statement == "The valve is open in May."


def test_forms_of_a_word_share_a_stem() -> None:
    assert len(set(terms("measure measures measured measuring"))) == 1
    assert len(set(terms("battery batteries"))) == 1


def test_a_sentence_over_two_lines_is_cited_with_both() -> None:
    text = "Intro here. The bridge was\nclosed in May. It rained."
    (finding, *_) = findings("When was the bridge closed?", search_result({"a.txt": text}))
    assert finding.statement == "The bridge was closed in May."
    (citation,) = parse(finding.citation)
    assert (citation.start_line, citation.end_line) == (1, 2)
    assert any(citation.quote in line for line in text.splitlines())


def test_a_sentence_among_others_of_a_line_without_spaces_is_quoted_alone() -> None:
    text = "会议纪要\n会议由张经理主持。会议决定将新工厂建在苏州,预算为两亿元。散会。"
    question = "新工厂建在哪里?预算是多少?"
    (finding, *_) = findings(question, search_result({"a.txt": text}))
    (citation,) = parse(finding.citation)
    assert citation.quote == "会议决定将新工厂建在苏州,预算为两亿元。"
    assert missing(question, [finding]) == []


def test_a_word_or_two_are_no_quote_where_the_sentence_has_more() -> None:
    text = "It rained. The fine\nwas paid in court, in coin, by an agent."
    (finding, *_) = findings("What fine was it?", search_result({"a.txt": text}))
    (citation,) = parse(finding.citation)
    assert citation.quote == "was paid in court, in coin, by an agent."


def test_an_abbreviation_does_not_end_a_sentence() -> None:
    assert _only("Who found the comet?", "Dr. Lee found the comet. Nobody else.") == (
        "Dr. Lee found the comet."
    )


def test_lines_without_sentences_stand_for_themselves() -> None:
    rows = "\n".join(f"row {n} value {n * 7}" for n in range(30))
    assert _only("value of row 12", rows + "\nrow twelve colour green").startswith("row 12 ")


def test_a_heading_lends_its_words_to_the_lines_below() -> None:
    text = "# Pump\n\nIt draws 40 watts of power.\n\n# Lamp\n\nIt draws 40 watts of power, too.\n"
    assert _only("How much power does the pump draw?", text) == "It draws 40 watts of power."


def test_quotation_marks_never_enter_a_quote() -> None:
    text = 'He said "the valve is open" and left the \u201cold\u201d station.'
    (finding,) = findings("Who left the station?", search_result({"a.txt": text}))
    (citation,) = parse(finding.citation)
    assert citation.quote in text
    assert not set(citation.quote) & set('"\u201c\u201d')


def test_a_path_that_can_not_be_cited_is_left_out() -> None:
    assert findings("valve", search_result({'a"b.txt': "The valve is open."})) == []


def test_lines_in_an_unreadable_encoding_are_not_quoted() -> None:
    text = "The valve \ufffd\ufffd is open.\nThe valve is closed."
    assert [one.statement for one in findings("valve", search_result({"a": text}))] == [
        "The valve is closed."
    ]


def test_findings_survive_the_letter_between_agents() -> None:
    found = findings("valve open", search_result({"a.txt": "The valve is open.\n\nNo valve here."}))
    question, back = read_findings(write_findings("Is the valve\nopen?", found))
    assert question == "Is the valve open?"
    assert back == found


def test_cited_lines_of_another_author_are_understood() -> None:
    _, found = read_findings('Look: **it leaks** [b.md:2 "it leaks"] [c.md:4-5 "drips"]\nnothing')
    assert [(each.statement, each.path) for each in found] == [("Look: it leaks", "b.md")]
    assert len(parse(found[0].citation)) == 2


def test_an_answer_groups_the_rest_by_file_and_names_what_is_missing() -> None:
    files = {"a.txt": "The valve is open.\n\nThe valve is red.", "b.txt": "A valve leaks."}
    found = findings("Is the valve golden?", search_result(files))
    text = compose("Is the valve golden?", found)
    assert text.count("b.txt\n- A valve leaks.") == 1
    assert missing("Is the valve golden?", found) == ["golden"]


@given(st.text(), st.text())
def test_no_question_or_document_breaks_it_and_every_quote_holds(question: str, text: str) -> None:
    lines = text.splitlines() or [""]
    found = findings(question + " " + text[:20], search_result({"a.txt": text}))
    for finding in found:
        for citation in parse(finding.citation):
            assert located(citation, lines)
