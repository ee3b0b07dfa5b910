"""Retrieval over real files and a real database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brainpilot_rt.context.retrieval.index import Retrieval
from brainpilot_rt.context.retrieval.text import PASSAGE_CHARS_MAX, passages
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.walk import split_lines

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]

LIGHTHOUSE = "The lighthouse keeper counted seventeen gulls."


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Retrieval]:
    opened = await Retrieval.open(tmp_path / "index.db")
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


async def test_scripts_without_spaces_are_found(index: Retrieval, workspace: Workspace):
    workspace.write("ja.txt", "研究者は新しい方法を提案した\n".encode())
    workspace.write("ko.txt", "연구자는 새로운 방법을 제안했다\n".encode())
    workspace.write("zh.txt", "灯塔看守人数了十七只海鸥\n".encode())
    await index.refresh("k", workspace)
    for query, path in (("新しい方法", "ja.txt"), ("새로운 방법", "ko.txt"), ("海鸥", "zh.txt")):
        assert (await index.search("k", query, 3))[0].path == path


@pytest.mark.parametrize(
    "query",
    [
        *('"', "a AND", "NEAR(", "*", "\u00b2", "tree : t1", "'; DROP TABLE words; --", "\0"),
        *("-x", "col:a", "^a", "{a}:b", "(((", "OR", "NOT a", "", "   ", "\ufb00", "\ud800"),
        *("a" * 10_000, "x " * 5_000, "\U0001f642", "\u0301", "a\u0301"),
    ],
)
async def test_no_query_is_an_error(index: Retrieval, workspace: Workspace, query: str):
    await index.refresh("k", workspace)
    assert isinstance(await index.search("k", query, 3), list)


async def test_binary_huge_linked_and_hidden_files_are_left_out(
    index: Retrieval, tmp_path: Path, workspace: Workspace
):
    workspace.write("bin", b"gulls\0gulls")
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


async def test_an_index_of_another_version_is_made_anew(tmp_path: Path, workspace: Workspace):
    import sqlite3

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
