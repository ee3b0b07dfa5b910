"""ls, glob, find, grep."""

import asyncio
import os
from functools import partial

import pytest

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.testing.desk import Desk, Put, Use
from brainpilot_rt.tools.finding import finding_tools
from brainpilot_rt.tools.registry import Registry

TOOLS = Registry(finding_tools())


@pytest.fixture
def use(desk: Desk, put: Put) -> Use:
    for name in ("docs/a.md", "docs/sub/b.md", "c.txt"):
        put(name, f"text of {name}\n")

    return partial(desk.use, TOOLS)


async def test_a_folder_is_listed_with_folders_first(use: Use, desk: Desk):
    (desk.root / "l").symlink_to("/")
    shown = (await use("ls")).content
    assert shown == "docs/\nc.txt  14 bytes\nl (symbolic link, not followed)"
    assert "does not exist" in (await use("ls", path="none")).content
    assert (await use("ls", limit=1)).content == "docs/\n[2 more; narrow the search or raise limit]"


async def test_glob_gives_the_newest_first(use: Use, desk: Desk):
    os.utime(desk.root / "docs" / "sub" / "b.md", (2e9, 2e9))
    os.utime(desk.root / "docs" / "a.md", (1e9, 1e9))
    assert (await use("glob", pattern="**/*.md")).content == "docs/sub/b.md\ndocs/a.md"
    assert (await use("glob", pattern="*.md", path="docs")).content == "docs/a.md"
    assert (await use("glob", pattern="*.rs")).content == "Nothing matches."


async def test_find_knows_files_from_folders(use: Use):
    assert (await use("find", pattern="*b*")).content == "docs/sub/\ndocs/sub/b.md"
    assert (await use("find", pattern="*b*", type="folder")).content == "docs/sub/"
    with pytest.raises(NotFound):
        await use("find", pattern="*", path="none")


async def test_grep_finds_a_plain_string_on_a_thread(use: Use):
    assert (await use("grep", pattern="of c")).content == "c.txt:1: text of c.txt"
    assert (await use("grep", pattern="zzz")).content == "No lines match."
    with pytest.raises(BadRequest):
        await use("grep", pattern="(")


@pytest.mark.realtime
async def test_grep_with_repeats_runs_apart(use: Use):
    shown = (await use("grep", pattern="text .*b", path="docs")).content
    assert shown == "docs/sub/b.md:1: text of docs/sub/b.md"
    with pytest.raises(NotFound):
        await use("grep", pattern="x+", path="none")


@pytest.mark.realtime
async def test_an_expression_that_never_ends_can_be_stopped_and_stops_nobody(use: Use, put: Put):
    put("evil.txt", "a" * 60 + "b\n")
    async with asyncio.TaskGroup() as group:
        work = group.create_task(use("grep", pattern="(a+)+$"))
        await asyncio.sleep(0.3)
        assert not work.done()
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()
