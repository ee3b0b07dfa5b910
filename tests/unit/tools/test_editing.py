"""read, write, edit."""

import errno
import os
from functools import partial
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import (
    CommandRejected,
    Conflict,
    Forbidden,
    RuntimeFault,
    TooLarge,
)
from brainpilot_rt.testing.desk import Desk, Put, Use
from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.workspace import files

TOOLS = Registry(editing_tools())


@pytest.fixture
def use(desk: Desk) -> Use:
    return partial(desk.use, TOOLS)


async def test_lines_are_numbered_from_one(use: Use, put: Put):
    put("a.txt", "one\r\ntwo\n\nfour")
    assert (await use("read", path="a.txt")).content == "1| one\n2| two\n3| \n4| four"


async def test_a_part_is_shown_with_where_to_go_on(use: Use, put: Put):
    put("a.txt", "".join(f"l{number}\n" for number in range(1, 101)))
    shown = (await use("read", path="/workspace/a.txt", offset=10, limit=2)).content
    assert shown == "10| l10\n11| l11\n[lines 10-11 of 100; go on with offset=12]"
    assert (await use("read", path="a.txt", offset=100)).content == "100| l100"
    beyond = await use("read", path="a.txt", offset=101)
    assert (beyond.failed, beyond.content) == (True, "/workspace/a.txt has only 100 lines.")


async def test_empty_binary_and_endless_files_are_handled(use: Use, put: Put):
    put("empty", "")
    put("bin", b"\0\1\2")
    put("long", "x" * 300_000 + "\nlast")
    assert (await use("read", path="empty")).content == "/workspace/empty is empty."
    assert (await use("read", path="bin")).failed
    first, last = (await use("read", path="long")).content.split("\n")
    assert len(first) < 2_100
    assert "line of 300,000 bytes cut" in first
    assert last == "2| last"
    put("huge", ("y" * 1_000 + "\n") * 1_000)
    assert "go on with offset=" in (await use("read", path="huge")).content


async def test_writing_says_what_it_replaced(use: Use, desk: Desk):
    assert (await use("write", path="d/a", content="hé")).content.endswith("(new file).")
    assert (await use("write", path="d/a", content="")).content.endswith("(replaced 3 bytes).")
    assert (desk.root / "d" / "a").read_text() == ""


async def test_an_edit_changes_exactly_one_place(use: Use, put: Put):
    path = put("a.py", "x = 1\ny = 1\n")
    done = await use("edit", path="a.py", old_text="y = 1", new_text="y = 2")
    assert path.read_text() == "x = 1\ny = 2\n"
    assert "+y = 2" in done.content


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("= 1", "= 2", "occurs 2 times"),
        ("z", "q", "does not occur"),
        ("x = 0", "x = 1", "done already"),
        ("x = 1", "x = 1", "are the same"),
    ],
)
async def test_an_edit_that_is_not_clear_changes_nothing(
    use: Use, put: Put, old: str, new: str, told: str
):
    path = put("a.py", "x = 1\ny = 1\n")
    done = await use("edit", path="a.py", old_text=old, new_text=new)
    assert done.failed
    assert told in done.content
    assert path.read_text() == "x = 1\ny = 1\n"


@pytest.mark.fault("H14")
async def test_replace_all_line_ends_and_odd_bytes_are_kept(use: Use, put: Put):
    path = put("a.txt", b"a\r\nb\r\nb\r\n\xff\r\n")
    await use("edit", path="a.txt", old_text="a\nb", new_text="c\nd")
    assert path.read_bytes() == b"c\r\nd\r\nb\r\n\xff\r\n"
    await use("edit", path="a.txt", old_text="\r\n", new_text="\n", replace_all=True)
    assert path.read_bytes() == b"c\nd\nb\n\xff\n"


@pytest.mark.fault("H14", "H16")
@pytest.mark.fault("H14", "H16")
async def test_an_edit_of_a_file_changed_meanwhile_is_refused(
    use: Use, put: Put, desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    path = put("a.txt", "one")
    reading = files.Workspace.read_bytes

    def read_then_another_writes(
        self: files.Workspace, text: str, bytes_max: int = files.READ_BYTES_MAX
    ) -> bytes:
        data = reading(self, text, bytes_max)
        path.write_text("one and more")
        return data

    monkeypatch.setattr(files.Workspace, "read_bytes", read_then_another_writes)
    with pytest.raises(Conflict, match="changed since"):
        await use("edit", path="a.txt", old_text="one", new_text="two")
    assert path.read_text() == "one and more"


@pytest.mark.fault("H14", "S19")
async def test_git_and_links_are_not_written(use: Use, put: Put, desk: Desk, tmp_path: Path):
    put(".git/config", "[core]")
    (tmp_path / "secret").write_text("s")
    (desk.root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Forbidden):
        await use("write", path=".git/hooks/pre-commit", content="#!/bin/sh")
    with pytest.raises(Forbidden):
        await use("edit", path=".GIT/config", old_text="core", new_text="x")
    with pytest.raises(CommandRejected):
        await use("write", path="link", content="x")
    assert (tmp_path / "secret").read_text() == "s"


@pytest.mark.fault("H14")
async def test_an_edit_keeps_the_mode_and_a_file_or_folder_that_cannot_be_edited_says_why(
    use: Use, put: Put
):
    path = put("run.sh", "#!/bin/sh\necho 1\n")
    path.chmod(0o751)
    await use("edit", path="run.sh", old_text="echo 1", new_text="echo 2")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("#!/bin/sh\necho 2\n", 0o751)
    with put("huge.txt", "").open("r+b") as file:
        file.truncate(30 * 1024 * 1024)
    with pytest.raises(TooLarge, match="huge"):
        await use("edit", path="huge.txt", old_text="a", new_text="b")


@pytest.mark.fault("H14")
async def test_a_file_on_another_device_or_a_full_one_is_told_and_stays_as_it_was(
    use: Use, put: Put, monkeypatch: pytest.MonkeyPatch
):
    path = put("a.txt", "one")
    for number in (errno.EXDEV, errno.EBUSY, errno.EROFS, errno.ENOSPC, errno.EACCES):

        def fails(*_: object, why: int = number, **__: object) -> None:
            raise OSError(why, os.strerror(why))

        monkeypatch.setattr(os, "rename", fails)
        with pytest.raises(RuntimeFault, match=r"a\.txt"):
            await use("edit", path="a.txt", old_text="one", new_text="two")
        monkeypatch.undo()
        assert path.read_text() == "one"
        assert [one.name for one in path.parent.iterdir()] == ["a.txt"]
