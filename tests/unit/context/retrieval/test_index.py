"""Retrieval over real files and a real database."""

import asyncio
import contextlib
import shutil
import sqlite3
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from typing_extensions import override

from brainpilot_rt.context.retrieval.index import Retrieval
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.settings import SearchSettings
from brainpilot_rt.workspace.files import Workspace

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]

PATIENT = SearchSettings(wait_s=60, rest=0)
LIGHTHOUSE = "The lighthouse keeper counted seventeen gulls."


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Retrieval]:
    opened = await Retrieval.open(tmp_path / "index.db", PATIENT)
    yield opened
    await opened.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "work")
    made.write("docs/sea.txt", f"first\n\n{LIGHTHOUSE}\n".encode())
    made.write("docs/land.md", "\n".join(f"field {n} of wheat" for n in range(100)).encode())
    return made


async def test_a_question_finds_the_lines_that_answer_it(index: Retrieval, workspace: Workspace):
    assert await index.refresh("k", workspace) == 2
    found = await index.search("k", "How many gulls did the lighthouse keepers count?", 3)
    assert (found[0].path, found[0].start_line, found[0].end_line) == ("docs/sea.txt", 1, 3)
    assert LIGHTHOUSE in found[0].text
    assert found[0].score > 0
    assert len(await index.search("k", "wheat", 4)) == 4


async def test_only_what_changed_is_read_again(index: Retrieval, workspace: Workspace):
    await index.refresh("k", workspace)
    assert await index.refresh("k", workspace) == 0
    workspace.write("docs/sea.txt", b"nothing but whales\n")
    workspace.delete("docs/land.md")
    assert await index.refresh("k", workspace) == 1
    assert await index.search("k", "gulls", 3) == []
    assert await index.search("k", "wheat", 3) == []
    assert len(await index.search("k", "whale", 3)) == 1


async def test_trees_do_not_see_each_other(index: Retrieval, workspace: Workspace, tmp_path: Path):
    other = Workspace(tmp_path / "other")
    other.write("a.txt", b"gulls elsewhere\n")
    await index.refresh("k", workspace)
    await index.refresh("o", other)
    assert [one.path for one in await index.search("o", "gulls", 9)] == ["a.txt"]
    assert await index.search("unknown", "gulls", 9) == []
    await index.forget("k")
    assert await index.search("k", "gulls", 9) == []
    assert len(await index.search("o", "gulls", 9)) == 1
    await index.refresh("k", workspace)
    assert len(await index.search("k", "gulls", 9)) == 1


async def test_what_else_is_indexed_does_not_change_the_ranks(
    index: Retrieval, workspace: Workspace, tmp_path: Path
):
    await index.refresh("k", workspace)
    before = await index.search("k", "wheat field of gulls", 9)
    other = Workspace(tmp_path / "other")
    for number in range(20):
        other.write(f"{number}.txt", b"gulls, gulls and more gulls\n")
    await index.refresh("o", other)
    assert await index.search("k", "wheat field of gulls", 9) == before


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("研究者は新しい方法を提案した", "新しい方法"),
        ("연구자는 새로운 방법을 제안했다", "새로운 방법"),
        ("灯塔看守人数了十七只海鸥", "海鸥"),
        ("灯塔看守人数了十七只海鸥", "鸥"),
        ("灯塔看守人数了十七只海鸥", "灯"),
        ("灯塔看守人数了十七只海鸥", "有多少海鸥\uff1f"),
        ("用GPT模型训练", "gpt"),
        ("用GPT模型训练", "GPT模型"),
        ("型号\uff21\uff22\uff23\uff0d\uff11", "abc 1"),
        ("version of ABC", "\uff21\uff22\uff23"),
        ("ｶﾞｽ灯", "ガス灯"),
        ("ﬁnding", "finding"),
        ("한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
        ("𠮷野家", "𠮷野"),
        ("人々", "人々"),
        ("Überraschung", "uberraschung"),
    ],
)
async def test_every_script_and_form_is_found(
    index: Retrieval, workspace: Workspace, text: str, query: str
):
    workspace.write("one.txt", f"{text}\n".encode())
    await index.refresh("k", workspace)
    assert (await index.search("k", query, 3))[0].path == "one.txt"


async def test_simplified_and_traditional_forms_stay_what_they_are(
    index: Retrieval, workspace: Workspace
):
    workspace.write("zh.txt", "汉语\n".encode())
    await index.refresh("k", workspace)
    assert await index.search("k", "漢語", 3) == []
    assert len(await index.search("k", "汉语", 3)) == 1


@pytest.mark.parametrize(
    "query",
    [
        *('"', "a AND", "NEAR(", "*", "\u00b2", "tree : t1", "'; DROP TABLE words; --", "\0"),
        *("-x", "col:a", "^a", "{a}:b", "(((", "OR", "NOT a", "", "   ", "\ufb00", "\ud800"),
        *("a" * 10_000, "x " * 5_000, "\U0001f642", "\u0301", "a\u0301", "x" * 1_000_000),
        *("\u6d77" * 500_000, "?!... --- ((()))", "\ud800gulls\udfff", "a\0b", "body : gulls*"),
    ],
)
async def test_no_query_is_an_error(index: Retrieval, workspace: Workspace, query: str):
    await index.refresh("k", workspace)
    assert isinstance(await index.search("k", query, 3), list)


async def test_binary_huge_linked_and_hidden_files_are_left_out(
    index: Retrieval, tmp_path: Path, workspace: Workspace
):
    workspace.write("bin", b"gulls\0gulls")
    workspace.write(".agents/skills/birds/SKILL.md", b"gulls\n")
    workspace.write("big", b"gulls " * 1_000_000)
    (workspace.root / "link").symlink_to(workspace.root / "docs" / "sea.txt")
    hiding = Workspace(workspace.root, hidden=(workspace.root / "docs",))
    await index.refresh("k", workspace)
    await index.refresh("h", hiding)
    assert [one.path for one in await index.search("k", "gulls", 9)] == ["docs/sea.txt"]
    assert await index.search("h", "gulls", 9) == []
    assert await index.refresh("k", workspace) == 0


async def test_a_damaged_index_is_made_anew(tmp_path: Path, workspace: Workspace):
    path = tmp_path / "index.db"
    path.write_bytes(b"this is no database" * 100)
    index = await Retrieval.open(path)
    await index.refresh("k", workspace)
    assert await index.search("k", "gulls", 3)
    await index.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    index = await Retrieval.open(path)
    with contextlib.suppress(Unavailable):  # where the damage is met first depends on the pages
        await index.search("k", "gulls", 3)
    await index.refresh("k", workspace)
    assert await index.search("k", "gulls", 3)
    await index.close()


def modes(folder: Path, names: str) -> dict[str, int]:
    return {one.name: one.stat().st_mode & 0o777 for one in folder.glob(names)}


async def test_nobody_else_may_read_the_index(tmp_path: Path, workspace: Workspace):
    path = tmp_path / "index.db"
    index = await Retrieval.open(path)
    await index.refresh("k", workspace)
    assert modes(tmp_path, "index.db*") == {"index.db": 0o600} | dict.fromkeys(
        ("index.db-shm", "index.db-wal"), 0o600
    )
    await index.close()


async def test_an_index_of_another_version_is_made_anew(tmp_path: Path, workspace: Workspace):
    path = tmp_path / "index.db"
    old = sqlite3.connect(path)
    old.executescript("CREATE TABLE files (x); PRAGMA user_version = 99;")
    old.close()
    index = await Retrieval.open(path)
    assert await index.refresh("k", workspace) == 2
    await index.close()


async def test_a_refresh_cut_short_leaves_a_usable_index(index: Retrieval, tmp_path: Path):
    workspace = Workspace(tmp_path / "many")
    for number in range(200):
        workspace.write(f"{number}.txt", f"document {number}\n".encode())
    async with asyncio.TaskGroup() as group:
        work = group.create_task(index.refresh("k", workspace))
        await asyncio.sleep(0.02)
        work.cancel()
        await asyncio.wait([work])
    await index.refresh("k", workspace)
    assert len(await index.search("k", "document", 500)) == 200


async def test_refreshes_and_searches_may_overlap(index: Retrieval, workspace: Workspace):
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(index.refresh("k", workspace))
            group.create_task(index.search("k", "gulls", 3))
    assert len(await index.search("k", "gulls", 9)) == 1


# --- freshness ----------------------------------------------------------------------------


class Gate:
    """Redacts nothing, and stops every reading of a file until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.reached = threading.Event()

    def __call__(self, text: str) -> str:
        self.reached.set()
        assert self.opened.wait(30)
        return text


@contextlib.asynccontextmanager
async def gated(path: Path, settings: SearchSettings, gate: Gate) -> AsyncGenerator[Retrieval]:
    """An index that reads nothing until the gate opens."""
    index = await Retrieval.open(path, settings, gate)
    gate.opened.clear()
    try:
        yield index
    finally:
        gate.opened.set()
        await index.close()


async def found(index: Retrieval, workspace: Workspace, query: str) -> list[str]:
    return [one.path for one in await index.search_fresh("s", workspace, query, 50)]


async def test_a_search_sees_the_tree_as_it_is(index: Retrieval, workspace: Workspace):
    assert await found(index, workspace, "gulls") == ["docs/sea.txt"]
    (workspace.root / "docs").rename(workspace.root / "moved")
    (workspace.root / "new.txt").write_text("twelve gulls, no lighthouse\n")
    assert await found(index, workspace, "gulls") == ["new.txt", "moved/sea.txt"]
    (workspace.root / "new.txt").write_text("whales\n")
    workspace.delete("moved")
    assert await found(index, workspace, "gulls") == []
    assert await found(index, workspace, "whale") == ["new.txt"]
    shutil.rmtree(workspace.root)
    assert await found(index, workspace, "whale") == []
    workspace.write("again.txt", b"a whale\n")
    assert await found(index, workspace, "whale") == ["again.txt"]


async def test_a_search_does_not_wait_for_a_large_tree_and_says_so(
    tmp_path: Path, workspace: Workspace
):
    workspace.written.clear()
    gate = Gate()
    async with gated(tmp_path / "i.db", SearchSettings(wait_s=0.5, rest=0), gate) as index:
        early = await index.search_fresh("s", workspace, "gulls", 9)
        assert early == []
        assert "0 of 2 new or changed files" in early.notice
        assert index.gauges()["search_files_waiting"] == 2
        assert index.gauges()["search_trees_indexing"] == 1
        gate.opened.set()
        await index.refresh(str(workspace.root), workspace)
        late = await index.search_fresh("s", workspace, "gulls", 9)
        assert len(late) == 1
        assert index.gauges()["search_files_waiting"] == 0


async def test_what_a_tool_wrote_is_found_although_the_tree_is_still_being_indexed(
    tmp_path: Path, workspace: Workspace
):
    class Slow(Gate):
        @override
        def __call__(self, text: str) -> str:
            return text if "note" in text else super().__call__(text)

    workspace.written.clear()
    gate = Slow()
    async with gated(tmp_path / "i.db", SearchSettings(wait_s=0.0, rest=0), gate) as index:
        assert await found(index, workspace, "gulls") == []
        workspace.write("notes/mine.txt", b"a note on gulls\n")
        workspace.write(".truncated/x.txt", b"a note on gulls\n")
        workspace.write("/workspace/docs/other.txt", b"note: no birds\n")
        assert await found(index, workspace, "gulls") == ["notes/mine.txt"]
        workspace.delete("notes")
        assert await found(index, workspace, "gulls") == []
        gate.opened.set()
        key = str(workspace.root)
        await index.refresh(key, workspace)
        assert [one.path for one in await index.search(key, "note", 9)] == ["docs/other.txt"]
        assert [one.path for one in await index.search(key, "gulls", 9)] == ["docs/sea.txt"]


async def test_limits_are_said_and_counted(tmp_path: Path, workspace: Workspace):
    workspace.write("zzz.txt", b"gulls at the end\n")
    for limits in (
        SearchSettings(wait_s=60, files_max=2),
        SearchSettings(wait_s=60, tree_bytes_max=50),
    ):
        index = await Retrieval.open(tmp_path / f"{limits.files_max}.db", limits)
        answer = await index.search_fresh("s", workspace, "gulls", 9)
        assert "beyond the limits" in answer.notice
        assert index.gauges()["search_files_left_out"] >= 1
        await index.close()


async def test_a_round_that_fails_is_said_and_what_is_there_is_found(
    tmp_path: Path, workspace: Workspace
):
    broken = False

    def read(text: str) -> str:
        if broken:
            raise OSError("the disk is gone")
        return text

    index = await Retrieval.open(tmp_path / "i.db", PATIENT, read)
    assert await found(index, workspace, "gulls") == ["docs/sea.txt"]
    broken = True
    (workspace.root / "new.txt").write_text("gulls\n")
    answer = await index.search_fresh("s", workspace, "gulls", 9)
    assert [one.path for one in answer] == ["docs/sea.txt"]
    assert "the disk is gone" in answer.notice
    broken = False
    assert len(await found(index, workspace, "gulls")) == 2
    await index.close()


async def test_many_searches_while_the_tree_is_indexed(tmp_path: Path):
    workspace = Workspace(tmp_path / "work")
    for number in range(300):
        workspace.write(f"{number}.txt", f"document {number} of gulls\n".encode())
    index = await Retrieval.open(tmp_path / "i.db")
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(index.search_fresh("s", workspace, f"document {number}", 50))
            for number in range(40)
        ]
    assert all(isinstance(one.result(), list) for one in asked)
    await index.refresh(str(workspace.root), workspace)
    assert len(await index.search(str(workspace.root), "gulls", 500)) == 300
    await index.close()


# --- what is gone, and what is broken off -------------------------------------------------


async def test_a_tree_whose_folder_is_gone_is_forgotten(tmp_path: Path, workspace: Workspace):
    path = tmp_path / "i.db"
    index = await Retrieval.open(path, PATIENT)
    assert await found(index, workspace, "gulls") == ["docs/sea.txt"]
    shutil.rmtree(workspace.root)
    await index.sweep_soon()
    await index.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        for table in ("trees", "files", "passages"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert "words_1" not in {
            row[0] for row in database.execute("SELECT name FROM sqlite_master")
        }


async def test_files_gone_and_changed_leave_no_trace_in_the_ranks(tmp_path: Path):
    """A passage taken out wrongly would still count in how rare a word is."""
    workspace = Workspace(tmp_path / "work")
    index = await Retrieval.open(tmp_path / "old.db")
    for number in range(40):
        workspace.write(f"{number}.md", f"# Über 海鸥 {number}\n\ngulls {'sea ' * number}".encode())
    await index.refresh("k", workspace)
    for number in range(0, 40, 3):
        workspace.write(f"{number}.md", f"land {number}\n海 und Meer".encode())
    for number in range(0, 40, 4):
        workspace.delete(f"{number}.md")
    await index.refresh("k", workspace)
    fresh = await Retrieval.open(tmp_path / "new.db")
    await fresh.refresh("k", workspace)
    for query in ("gulls", "sea", "海鸥", "land 7", "über meer"):
        assert await index.search("k", query, 99) == await fresh.search("k", query, 99)
    await index.close()
    await fresh.close()


KILLED = """
import asyncio, os, sys
from pathlib import Path
from brainpilot_rt.context.retrieval.index import Retrieval
from brainpilot_rt.workspace.files import Workspace

left = int(sys.argv[3])

def read(text):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return text

async def main():
    index = await Retrieval.open(Path(sys.argv[1]), redact=read)
    workspace = Workspace(Path(sys.argv[2]))
    await index.refresh(str(workspace.root), workspace)

asyncio.run(main())
"""


async def test_after_a_kill_indexing_goes_on_and_no_passage_is_there_twice(tmp_path: Path):
    workspace = Workspace(tmp_path / "work")
    for number in range(200):
        workspace.write(f"{number:03}.txt", b"one of the documents\n" * 40)
    path = tmp_path / "i.db"
    for files in (50, 40):  # the second one is killed further on
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, str(path), str(workspace.root), str(files)
        )
        assert await process.wait() == 9
    index = await Retrieval.open(path)
    read = await index.refresh(str(workspace.root), workspace)
    assert 0 < read < 200
    await index.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        count = "SELECT count(*), count(DISTINCT file || ' ' || start_line) FROM passages"
        assert database.execute(count).fetchone() == (400, 400)
        hits = "SELECT count(*) FROM words_1 WHERE words_1 MATCH 'documents'"
        assert database.execute(hits).fetchone() == (400,)


async def test_in_a_large_tree_common_words_are_ranked_but_do_not_choose(
    index: Retrieval, tmp_path: Path
):
    workspace = Workspace(tmp_path / "large")
    lines = [f"flow of line {number}" for number in range(75_000)]
    lines[30_000] = "the seagull and its flow"
    lines[60_000] = "a seagull flow flow flow"
    (workspace.root).mkdir()
    (workspace.root / "a.txt").write_text("\n".join(lines))
    await index.refresh("k", workspace)
    found = await index.search("k", "flow of the seagull", 2)
    assert all("seagull" in one.text for one in found)
    assert found[0].start_line <= 60_001 <= found[0].end_line
    plain = await index.search("k", "seagull", 50)
    assert len(plain) == len(await index.search("k", "flow of the seagull", 50))
    assert len(await index.search("k", "flow", 5)) == 5
    assert len(await index.search("k", "line flow", 5)) == 5


async def test_a_tree_that_changes_while_it_is_indexed_ends_up_as_it_is(
    tmp_path: Path, workspace: Workspace
):
    workspace.written.clear()
    for number in range(100):
        (workspace.root / f"{number:03}.txt").write_text(f"gulls {number}\n")
    gate = Gate()
    async with gated(tmp_path / "i.db", SearchSettings(wait_s=0.0, rest=0), gate) as index:
        key = str(workspace.root)
        assert await found(index, workspace, "gulls") == []
        assert await asyncio.to_thread(gate.reached.wait, 20)  # the walk is over, nothing is read
        for number in range(40, 80):
            (workspace.root / f"{number:03}.txt").unlink()
        (workspace.root / "000.txt").write_text("whales instead\n")
        (workspace.root / "later.txt").write_text("gulls again\n")
        gate.opened.set()
        await index.refresh(key, workspace)
        names = {f"{number:03}.txt" for number in [*range(1, 40), *range(80, 100)]}
        answer = [one.path for one in await index.search(key, "gulls", 500)]
        assert set(answer) == names | {"docs/sea.txt", "later.txt"}
        assert len(answer) == len(set(answer))
        assert [one.path for one in await index.search(key, "whales", 500)] == ["000.txt"]
