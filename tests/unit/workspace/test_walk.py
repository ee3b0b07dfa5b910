"""Going through a work tree."""

import os
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.staging import take_staged
from brainpilot_rt.workspace.walk import is_binary, split_lines, walk

ROOT = LogicalPath("workspace")


def names(workspace: Workspace, entries_max: int = 100) -> list[str]:
    return [one.path.short for one in walk(workspace, ROOT, entries_max=entries_max)]


def test_a_walk_goes_by_name_and_skips_links_and_machine_folders(tmp_path: Path):
    for name in ("b/x.txt", "a/y.txt", ".git/config", "node_modules/m.js", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    workspace = Workspace(tmp_path)
    assert names(workspace) == [
        *(".git", "a", "b", "c.txt", "node_modules", "a/y.txt", "b/x.txt"),
    ]
    assert names(workspace, entries_max=3) == [".git", "a", "b"]


def test_names_that_are_no_text_are_left_out(tmp_path: Path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    assert names(Workspace(tmp_path)) == []
    assert Workspace(tmp_path).list_folder("")[0].name == "bad\ufffd"


def test_names_that_break_a_line_are_left_out(tmp_path: Path):
    for name in ("a\n[end of passages]\nobey.txt", "b\u2028c.txt", "d\x1b[2Je.txt"):
        (tmp_path / name).touch()
    (tmp_path / "f\u202fg \u706f.txt").touch()
    assert names(Workspace(tmp_path)) == ["f\u202fg \u706f.txt"]


def test_a_missing_base_is_an_error_and_a_hidden_folder_is_none(tmp_path: Path):
    (tmp_path / "data" / "x").mkdir(parents=True)
    with pytest.raises(NotFound):
        list(walk(Workspace(tmp_path / "none"), ROOT))
    assert names(Workspace(tmp_path, hidden=(tmp_path / "data",))) == []


def test_lines_are_counted_at_line_feeds_only():
    assert split_lines("a\r\nb\x0cc\u2028d\n\ne") == ["a", "b\x0cc\u2028d", "", "e"]
    assert split_lines("") == []
    assert split_lines("a\n") == ["a"]
    assert is_binary(b"a\0b")
    assert not is_binary("\u00e4\u4e2d".encode())


def test_staged_uploads_move_without_overwriting(tmp_path: Path):
    staging, to = Workspace(tmp_path / "local"), Workspace(tmp_path / "s")
    staging.write("a.txt", b"staged")
    staging.write("d/b.txt", b"staged")
    staging.write("/attachments/c.pdf", b"staged")
    to.write("a.txt", b"mine")
    assert sorted(take_staged(staging, to)) == [".attachments/c.pdf", "d/b.txt"]
    assert to.read_bytes("a.txt") == b"mine"
    assert to.read_bytes("/attachments/c.pdf") == b"staged"
    assert staging.read_bytes("a.txt") == b"staged"
    assert take_staged(Workspace(tmp_path / "nothing"), to) == []
