"""Retrieval is judged: not below bm25s on the Cranfield collection.

The figures are deterministic.
"""

from pathlib import Path

import pytest

from bench.cranfield import Collection, ours, reference

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


async def test_judged_questions_are_answered_no_worse_than_by_the_reference(tmp_path: Path):
    collection = Collection.read()
    assert (len(collection.documents), len(collection.questions)) == (1_400, 225)
    assert len(collection.gains) == 225
    answers = await ours(collection, tmp_path)
    ndcg, recall = collection.judge(answers.run)
    reference_ndcg, reference_recall = collection.judge(reference(collection).run)
    assert ndcg >= reference_ndcg > 0.37
    assert recall >= reference_recall > 0.52


def test_an_ideal_ranking_is_judged_one_and_an_empty_one_zero():
    collection = Collection.read()
    ideal = [
        sorted(collection.gains[number], key=lambda one: -collection.gains[number][one])
        for number in range(1, 226)
    ]
    ndcg, recall = collection.judge(ideal)
    assert ndcg == pytest.approx(1.0)
    assert 0.98 < recall <= 1
    assert collection.judge([[] for _ in ideal]) == (0.0, 0.0)
