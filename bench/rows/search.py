"""Retrieval: how good it is, and how fast with 100,000 passages.

The peer of quality is bm25s; the floor of speed is the plain use of FTS5: the passages in one table
in one connection, any word of the question.
"""

import asyncio
import itertools
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench import cranfield
from bench.corpus import PASSAGES, Corpus
from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.context.retrieval.index import Retrieval
from brainpilot_rt.context.retrieval.text import passages, query_words
from brainpilot_rt.workspace.files import Workspace

DOCUMENTS = 5_000
TOP = 8
TICK_S = 0.001
PAUSE_S = 0.05
PLAIN = "SELECT rowid FROM p WHERE p MATCH ? ORDER BY bm25(p) LIMIT ?"
ANY = """SELECT rowid, bm25(words_1, 0.5, 1.0) AS rank FROM words_1 WHERE words_1 MATCH ?
ORDER BY rank LIMIT ?"""
FOUND = """SELECT files.path, start_line FROM passages JOIN files ON files.id = file
WHERE passages.id = ?"""


def judged(collection: cranfield.Collection, answers: cranfield.Answers) -> Sample:
    """Its figures."""
    ndcg, recall = collection.judge(answers.run)
    extra = {"ndcg10": ndcg, "recall20": recall}
    return Sample(answers.seconds, sum(answers.seconds), answers.cpu_s, extra=extra)


def peer(place: Place) -> Sample:
    """bm25s over the same tokens."""
    del place
    collection = cranfield.Collection.read()
    return judged(collection, cranfield.reference(collection))


def quality(place: Place) -> Sample:
    """Ours: files, index, search."""
    collection = cranfield.Collection.read()
    return judged(collection, place.run(cranfield.ours(collection, place.folder)))


def floor(place: Place) -> Sample:
    """FTS5 as one writes it down at first."""
    corpus = Corpus()
    pieces = [
        text
        for document in corpus.texts(place.ops(DOCUMENTS, 50))
        for _, _, text in passages(document)
    ]
    meter = Meter()
    with closing(sqlite3.connect(place.folder / "plain.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE VIRTUAL TABLE p USING fts5 (body, tokenize = 'porter unicode61')")
        start = time.perf_counter()
        for at in range(0, len(pieces), 500):
            database.execute("BEGIN")
            database.executemany(
                "INSERT INTO p VALUES (?)", [(piece,) for piece in pieces[at : at + 500]]
            )
            database.execute("COMMIT")
        took = time.perf_counter() - start
        with meter as sample:
            for question in corpus.questions:
                words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question))
                start = time.perf_counter()
                database.execute(PLAIN, (words, TOP)).fetchall()
                sample.latencies.append(time.perf_counter() - start)
    sizes(meter.sample, len(pieces), took, place.folder)
    return meter.sample


def ours(place: Place) -> Sample:
    """The index of a work tree, asked while it is made and after."""
    corpus = Corpus()
    workspace = Workspace(place.folder / "work")
    documents = place.ops(DOCUMENTS, 50)
    corpus.write(workspace.root, documents)
    key = str(workspace.root)
    meter = Meter()

    async def main() -> list[list[tuple[str, int]]]:
        retrieval = await Retrieval.open(place.folder / "retrieval.db")
        took = await indexing(retrieval, workspace, corpus.questions, meter.sample)
        sizes(meter.sample, documents * PASSAGES, took, place.folder)
        start = time.perf_counter()
        await retrieval.refresh(key, workspace)
        meter.sample.extra["unchanged_ms"] = (time.perf_counter() - start) * 1e3
        answers: list[list[tuple[str, int]]] = []
        with meter as sample:
            for question in corpus.questions:
                start = time.perf_counter()
                found = await retrieval.search(key, question, TOP)
                sample.latencies.append(time.perf_counter() - start)
                answers.append([(one.path, one.start_line) for one in found])
        await retrieval.close()
        return answers

    answers = place.run(main())
    meter.sample.extra["same_as_any_word"] = agreement(place.folder, corpus.questions, answers)
    return meter.sample


async def indexing(
    retrieval: Retrieval, workspace: Workspace, questions: Sequence[str], sample: Sample
) -> float:
    """Make the index while somebody asks and a ticker watches the loop; seconds."""
    key = str(workspace.root)
    meanwhile: list[float] = []
    lags: list[float] = []

    async def ask() -> None:
        for question in itertools.cycle(questions):
            start = time.perf_counter()
            await retrieval.search(key, question, TOP)
            meanwhile.append(time.perf_counter() - start)
            await asyncio.sleep(PAUSE_S)

    async def tick() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(TICK_S)
            lags.append(time.perf_counter() - start - TICK_S)

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(ask()), loop.create_task(tick())]
    start = time.perf_counter()
    await retrieval.refresh(key, workspace)
    took = time.perf_counter() - start
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    tail(sample, "asked_meanwhile", meanwhile)
    tail(sample, "loop_lag", lags)
    return took


def sizes(sample: Sample, count: int, seconds: float, folder: Path) -> None:
    """What making the index took."""
    sample.extra["index_s"] = seconds
    sample.extra["passages_per_s"] = count / seconds
    size = sum(one.stat().st_size for one in folder.glob("*.db*"))
    sample.extra["database_mb"] = size / 2**20


def tail(sample: Sample, name: str, seconds: list[float]) -> None:
    """Median, 99th percentile and the longest, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    sample.extra[f"{name}_p50_ms"] = ordered[len(ordered) // 2] * 1e3
    sample.extra[f"{name}_p99_ms"] = ordered[int(len(ordered) * 0.99)] * 1e3
    sample.extra[f"{name}_max_ms"] = ordered[-1] * 1e3


def agreement(
    folder: Path, questions: Sequence[str], answers: Sequence[Sequence[tuple[str, int]]]
) -> float:
    """Which part of the answers ranking every passage with any of the words gives too."""
    same = total = 0
    with closing(sqlite3.connect(folder / "retrieval.db")) as database:
        for question, answer in zip(questions, answers, strict=True):
            words = " OR ".join(query_words(question))
            ranked = database.execute(ANY, (words, TOP)).fetchall()
            every = {tuple(database.execute(FOUND, (row[0],)).fetchone()) for row in ranked}
            same += len(every & set(answer))
            total += len(every)
    return same / max(1, total)


ROWS = (
    Row(
        "R1",
        "retrieval on Cranfield: graded nDCG@10 and recall@20; time of a question",
        {"bm25s": peer, "ours": quality},
        (
            Target("ndcg10", "ours", 1.0, over="bm25s", at_least=True),
            Target("recall20", "ours", 1.0, over="bm25s", at_least=True),
        ),
    ),
    Row(
        "R2",
        "100,000 passages of 5,000 files: a question of a few words, and making the index",
        {"plain fts5": floor, "ours": ours},
        (
            Target("p50_us", "ours", 5_000.0),
            Target("p99_us", "ours", 1.0, over="plain fts5"),
            Target("same_as_any_word", "ours", 0.95, at_least=True),
        ),
    ),
)
