"""Ranking in memory: the order of BM25, kept current, within its bound, for any query."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from brainpilot_rt.context import ranking
from brainpilot_rt.context.ranking import K1, B, Ranking
from brainpilot_rt.context.words import words


def indexed(*texts: str) -> Ranking:
    made = Ranking()
    for at, text in enumerate(texts):
        made.add(str(at), text)
    return made


def keys(found: list[tuple[str, float]]) -> list[str]:
    return [key for key, _ in found]


def naive(texts: dict[str, str], query: str) -> list[tuple[str, float]]:
    """BM25 as its definition says, with nothing left out."""
    counted = {key: Counter(words(text)) for key, text in texts.items()}
    mean = sum(one.total() for one in counted.values()) / max(1, len(counted))
    scored: list[tuple[str, float]] = []
    wanted = dict.fromkeys(words(query))
    rising = sorted(wanted, key=lambda word: sum(word in one for one in counted.values()))
    for key, one in counted.items():
        score = 0.0
        for word in rising:
            if word in one:
                df = sum(word in other for other in counted.values())
                idf = math.log(1 + (len(counted) - df + 0.5) / (df + 0.5))
                times = one[word]
                length = K1 * (1 - B + B * one.total() / mean)
                score += idf * times * (K1 + 1) / (times + length)
        if score:
            scored.append((key, score))
    return sorted(scored, key=lambda pair: -pair[1])


def test_the_text_with_the_rare_word_comes_first() -> None:
    found = indexed("the wing", "the flutter of the wing", "the tail").top("wing flutter", 3)
    assert keys(found) == ["1", "0"]


def test_equal_texts_come_in_the_order_they_were_added() -> None:
    assert keys(indexed("same words", "other", "same words").top("same", 5)) == ["0", "2"]


def test_a_removed_text_is_not_found_and_leaves_no_posting() -> None:
    made = indexed("alpha beta", "beta")
    made.remove("0")
    made.remove("0")
    assert len(made) == 1
    assert made.top("alpha", 5) == []
    assert keys(made.top("beta", 5)) == ["1"]


def test_a_replaced_text_is_found_by_its_new_words_only() -> None:
    made = indexed("alpha")
    made.add("0", "gamma")
    assert made.top("alpha", 1) == []
    assert keys(made.top("GAMMA", 1)) == ["0"]


def test_chinese_is_found_by_pairs_and_single_characters() -> None:
    made = indexed("机翼的颤振分析", "风洞", "水")
    assert keys(made.top("颤振", 3)) == ["0"]
    assert keys(made.top("水", 3)) == ["2"]


def test_hostile_queries_find_nothing_and_raise_nothing() -> None:
    made = indexed("text")
    for query in ("", "   ", '"*^ AND (', "\x00", "\ud800", "NEAR/2", "'; DROP", "a" * 1_000_000):
        assert made.top(query, 5) == []
    assert made.top("text", 0) == []
    assert Ranking().top("text", 5) == []


def test_common_words_cost_no_more_than_the_bound_and_the_newest_count() -> None:
    made = Ranking()
    for at in range(ranking.POSTINGS_MAX + 10):
        made.add(str(at), "common")
    made.add("rare", "common needle")
    assert keys(made.top("common needle", 1)) == ["rare"]
    assert "0" not in keys(made.top("common", ranking.POSTINGS_MAX + 20))


@given(
    st.lists(st.text("abcd 水风", max_size=12), max_size=12),
    st.text("abcd 水风", max_size=8),
    st.sets(st.integers(0, 11)),
)
def test_the_order_is_that_of_the_definition(
    texts: list[str], query: str, removed: set[int]
) -> None:
    made = indexed(*texts)
    for at in removed:
        made.remove(str(at))
    left = {str(at): text for at, text in enumerate(texts) if at not in removed}
    expected = naive(left, query)
    found = made.top(query, 100)
    assert {key: round(score, 9) for key, score in found} == {
        key: round(score, 9) for key, score in expected
    }
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
