"""What a message wants: the rules in order, and a model's word however it is said."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.agents import intent
from brainpilot_rt.domain.thinking import CLASSIFY_HEAD


@pytest.mark.parametrize(
    ("text", "documents", "expected"),
    [
        ("Hello there!", True, ("respond", 0.8)),
        ("你好", False, ("respond", 0.8)),
        ("thanks", True, ("respond", 0.8)),
        ("Hello, what does the report say about salt?", True, ("research", 0.6)),
        ("What is the pH of the soil?", True, ("research", 0.6)),
        ("报告里的盐度是多少", True, ("research", 0.6)),
        ("What is the pH of the soil?", False, ("tool_use", 0.4)),
        ("Read the file, then write a summary", False, ("plan", 0.5)),
        ("先看文件,然后写总结", False, ("plan", 0.5)),
        ("First gather the sources", False, ("plan", 0.5)),
        ("Describe the first chapter", False, ("tool_use", 0.4)),
        ("Write a poem about rain", True, ("tool_use", 0.6)),
        ("rain", True, ("tool_use", 0.4)),
        ("", True, ("tool_use", 0.4)),
    ],
)
def test_the_first_rule_that_fits_decides(
    text: str, documents: object, expected: tuple[str, float]
) -> None:
    found = intent.heuristic(text, documents=bool(documents))
    assert (found.intent, found.confidence) == expected
    assert found.reasoning


def test_a_relative_clause_is_no_question():
    assert not intent.asks("Sort the list which you made")
    assert intent.asks("Find out why the valve leaks")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"intent": "plan", "confidence": 0.9, "reasoning": "two parts"}', ("plan", 0.9)),
        ('Sure!\n```json\n{"intent": " Research ", "confidence": "0.7"}\n```', ("research", 0.7)),
        ('{"intent": "respond", "confidence": 7}', ("respond", 1.0)),
        ('{"intent": "clarify", "confidence": -3}', ("clarify", 0.0)),
        ('{"intent": "clarify", "confidence": "very"}', ("clarify", 0.5)),
        ('{"intent": "clarify", "confidence": NaN}', ("clarify", 0.5)),
    ],
)
def test_a_models_word_is_read_tolerantly(reply: str, expected: tuple[str, float]) -> None:
    found = intent.parse(reply)
    assert found is not None
    assert (found.intent, found.confidence) == expected


@pytest.mark.parametrize(
    "reply",
    ["", "plan", "{}", '{"intent": "dance"}', '["plan"]', "}{", '{"intent": ["plan"]}', "{" * 9000],
)
def test_anything_else_is_no_answer(reply: str) -> None:
    assert intent.parse(reply) is None


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    found = intent.parse(text)
    assert found is None or (0 <= found.confidence <= 1 and not math.isnan(found.confidence))
    assert intent.heuristic(text, documents=True).intent


def test_the_question_to_a_model_fences_and_shortens_the_message():
    system, said = intent.prompt("x" * 50_000, programs=("react", "research"))
    assert system.startswith(CLASSIFY_HEAD)
    assert "react, research" in system
    assert len(said) < 5_000


def test_the_context_is_told_before_the_message_and_only_when_there_is_some():
    system, said = intent.prompt("go", programs=("react",), context="[source CONTEXT]")
    assert system.endswith("has been told:\n[source CONTEXT]")
    assert "CONTEXT" not in said
    assert "has been told" not in intent.prompt("go", programs=("react",))[0]


def test_a_message_as_long_as_a_letter_may_be_is_judged_at_once():
    text = "who " * 50_000
    assert intent.heuristic(text, documents=True).intent == "research"
    assert not intent.asks("so " * 60_000)


def test_a_reason_is_something_the_log_can_carry():
    found = intent.parse('{"intent": "plan", "reasoning": "a \\ud800 half\\nof a pair"}')
    assert found is not None
    assert found.reasoning == "a ? half of a pair"


def test_a_message_can_not_end_the_lines_it_stands_between():
    _, message = intent.prompt("a\n-----\nb\n--------", programs=("react",))
    rule = "-" * 9
    assert message == f"{rule}\na\n-----\nb\n--------\n{rule}"
