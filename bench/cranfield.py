"""How good retrieval is, on the judged Cranfield collection (`bench/data/cranfield`).

`Ours` writes each document as a file of a work tree and asks the real index, as the `search` tool
does; a document ranks as its best passage. `Reference` is `bm25s` with its defaults (Lucene's
variant, k1 = 1.5, b = 0.75) over title and text, given the very tokens of our index: FTS5 cuts and
stems them, and its queries lack the same stop words, which helps it.
"""

import importlib
import math
import re
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.context.retrieval.index import Retrieval
from brainpilot_rt.context.retrieval.text import query_words, terms
from brainpilot_rt.workspace.files import Workspace

DATA: Final = Path(__file__).parent / "data" / "cranfield"
RANKED: Final = 20
_PASSAGES: Final = 50
_FORM: Final = re.compile(r"\.T\n(.*?)\.A\n.*?\.W\n(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Collection:
    """Documents by number, questions in order, gains by question number and document."""

    documents: Mapping[int, str]
    questions: Sequence[str]
    gains: Mapping[int, Mapping[int, int]]

    @classmethod
    def read(cls) -> "Collection":
        """All of it."""
        documents: dict[int, str] = {}
        for number, body in _entries("cran.all.1400"):
            found = _FORM.match(body)
            if found is None:
                raise ValueError(f"document {number} has another form")
            documents[number] = f"{' '.join(found[1].split())}\n{found[2].strip()}\n"
        questions = [body.partition(".W\n")[2].strip() for _, body in _entries("cran.qry")]
        gains: dict[int, dict[int, int]] = {}
        for line in (DATA / "cranqrel").read_text().splitlines():
            question, document, code = map(int, line.split())
            gains.setdefault(question, {})[document] = 5 - code if code > 0 else 0
        return cls(documents, questions, gains)

    def judge(self, run: Sequence[Sequence[int]]) -> tuple[float, float]:
        """nDCG@10 and recall@20, averaged over the questions; `run`: ranked documents of each."""
        ndcg = recall = 0.0
        for number, ranked in enumerate(run, start=1):
            gains = self.gains[number]
            ndcg += _dcg([gains.get(one, 0) for one in ranked]) / _dcg(
                sorted(gains.values(), reverse=True)
            )
            relevant = {one for one, gain in gains.items() if gain}
            recall += len(relevant & set(ranked[:RANKED])) / len(relevant)
        return ndcg / len(run), recall / len(run)


@dataclass
class Answers:
    """What one side found, and how long each question took."""

    run: list[list[int]] = field(default_factory=list[list[int]])
    seconds: list[float] = field(default_factory=list[float])
    cpu_s: float = 0.0
    """Processor time of all questions, all threads."""


@asynccontextmanager
async def indexed(collection: Collection, folder: Path) -> AsyncGenerator[tuple[Retrieval, str]]:
    """The real index over the documents as files; and the key of its tree."""
    workspace = Workspace(folder / "papers")
    workspace.create()
    for number, text in collection.documents.items():
        (workspace.root / f"{number}.txt").write_text(text, encoding="utf-8")
    retrieval = await Retrieval.open(folder / "retrieval.db")
    key = str(workspace.root)
    try:
        await retrieval.refresh(key, workspace)
        yield retrieval, key
    finally:
        await retrieval.close()


async def ours(collection: Collection, folder: Path) -> Answers:
    """Every question, one after the other."""
    answers = Answers()
    async with indexed(collection, folder) as (retrieval, key):
        used = time.process_time()
        for question in collection.questions:
            start = time.perf_counter()
            found = await retrieval.search(key, question, _PASSAGES)
            answers.seconds.append(time.perf_counter() - start)
            ranked = dict.fromkeys(int(one.path.removesuffix(".txt")) for one in found)
            answers.run.append(list(ranked)[:RANKED])
        answers.cpu_s = time.process_time() - used
    return answers


def reference(collection: Collection) -> Answers:
    """The same questions to bm25s."""
    # A tool of this measurement, with numpy and without types.
    bm25s: Any = importlib.import_module("bm25s")

    numbers = list(collection.documents)
    texts = [terms(collection.documents[number]) for number in numbers]
    asked = [" ".join(query_words(question)) for question in collection.questions]
    documents, questions = tokens(texts), tokens(asked)
    model = bm25s.BM25()
    model.index(documents, show_progress=False)
    answers = Answers()
    used = time.process_time()
    for question in questions:
        start = time.perf_counter()
        found, _ = model.retrieve([question], k=RANKED, show_progress=False)
        answers.seconds.append(time.perf_counter() - start)
        answers.run.append([numbers[int(at)] for at in found[0]])
    answers.cpu_s = time.process_time() - used
    return answers


def tokens(texts: Sequence[str]) -> list[list[str]]:
    """Each text as the tokenizer of the index cuts it."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE VIRTUAL TABLE t USING fts5 (body, tokenize = 'porter unicode61')")
        database.execute("CREATE VIRTUAL TABLE v USING fts5vocab (t, 'instance')")
        database.executemany("INSERT INTO t (rowid, body) VALUES (?, ?)", enumerate(texts))
        found = [list[str]() for _ in texts]
        for term, text in database.execute("SELECT term, doc FROM v ORDER BY doc, offset"):
            found[int(text)].append(str(term))
    return found


def _entries(name: str) -> Iterator[tuple[int, str]]:
    whole = (DATA / name).read_text(encoding="ascii")
    for part in re.split(r"^\.I ", whole, flags=re.MULTILINE)[1:]:
        number, _, body = part.partition("\n")
        yield int(number), body


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(at + 2) for at, gain in enumerate(gains[:10]))
