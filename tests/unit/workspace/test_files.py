"""The workspace: every operation, every way out."""

import os
import threading
from pathlib import Path

import pytest

from brainpilot_rt.domain.errors import (
    BadRequest,
    CommandRejected,
    Conflict,
    Forbidden,
    NotFound,
    TooLarge,
)
from brainpilot_rt.workspace.files import Workspace, digest


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, outside: Path) -> Workspace:
    made = Workspace(tmp_path / "work")
    made.create()
    (made.root / "out").symlink_to(outside)
    (made.root / "link").symlink_to(outside / "secret")
    return made


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_and_listed(workspace: Workspace):
    assert str(workspace.write("docs/a.txt", b"hello")) == "/workspace/docs/a.txt"
    assert workspace.read_text("/workspace/docs/a.txt") == "hello"
    entries = workspace.list_folder("")
    assert [(one.name, one.type) for one in entries] == [
        ("docs", "folder"),
        ("link", "symlink"),
        ("out", "symlink"),
    ]
    entry = workspace.list_folder("docs")[0]
    assert (entry.size, entry.permissions) == (5, "600")
    assert workspace.stat("docs").type == "folder"


def test_only_a_missing_folder_lists_as_empty(workspace: Workspace):
    workspace.write("file", b"")
    assert workspace.list_folder("nowhere") == []
    with pytest.raises(BadRequest):
        workspace.list_folder("file")
    with pytest.raises(Forbidden):
        workspace.list_folder("out")


@pytest.mark.fault("S11", "S12")
@pytest.mark.parametrize("path", ["link", "out/secret", "out", "/workspace/out/secret"])
def test_links_are_never_followed(workspace: Workspace, outside: Path, path: str):
    with pytest.raises(Forbidden):
        workspace.read_bytes(path)
    if path != "out":
        with pytest.raises(CommandRejected):
            workspace.write(path, b"x")
    assert (outside / "secret").read_text() == "secret"


@pytest.mark.fault("S11")
def test_a_write_through_a_linked_folder_makes_nothing_outside(workspace: Workspace, outside: Path):
    with pytest.raises(Forbidden):
        workspace.write("out/new/file", b"x")
    assert names_in(outside) == ["secret"]


def test_errors_never_name_a_path_of_the_machine(workspace: Workspace, tmp_path: Path):
    for attempt in (
        lambda: workspace.read_bytes("no/such"),
        lambda: workspace.read_bytes("out/secret"),
        lambda: workspace.write("out/x", b""),
        lambda: workspace.stat("nothing"),
        lambda: workspace.list_folder("/data"),
        lambda: workspace.read_bytes("x" * 255),
    ):
        with pytest.raises(CommandRejected) as failure:
            attempt()
        assert str(tmp_path) not in str(failure.value)


def test_deleting_takes_links_and_folders_but_not_what_they_point_to(
    workspace: Workspace, outside: Path
):
    workspace.write("d/e/f", b"")
    (workspace.root / "d" / "up").symlink_to(outside)
    assert workspace.delete("d")
    assert workspace.delete("out")
    assert not workspace.delete("out")
    assert (outside / "secret").exists()


@pytest.mark.parametrize("path", ["/workspace", "", "/", "/workspace/", "."])
def test_the_root_is_never_deleted(workspace: Workspace, path: str):
    with pytest.raises(BadRequest):
        workspace.delete(path)
    assert workspace.root.is_dir()


def test_a_users_folder_is_worked_in_but_not_destroyed(tmp_path: Path):
    workspace = Workspace(tmp_path, owned=False)
    assert not workspace.destroy()
    assert tmp_path.is_dir()


def test_a_users_folder_that_is_gone_holds_nothing_until_it_is_back(tmp_path: Path):
    folder = tmp_path / "work"
    workspace = Workspace(folder, owned=False)
    assert workspace.list_folder("") == []
    with pytest.raises(NotFound):
        workspace.write("a.txt", b"text")
    assert not folder.exists()
    folder.mkdir()
    workspace.write("a.txt", b"text")
    assert workspace.read_text("a.txt") == "text"


def test_a_work_tree_of_ours_is_destroyed(workspace: Workspace):
    assert workspace.destroy()
    assert not workspace.root.exists()
    assert not workspace.destroy()


@pytest.mark.fault("S11", "S19")
def test_hidden_folders_do_not_exist_under_any_spelling(tmp_path: Path):
    data = tmp_path / ".bp-data"
    data.mkdir()
    (data / "token").write_text("t")
    workspace = Workspace(tmp_path, hidden=(data,), owned=False)
    assert workspace.list_folder("") == []
    for path in (".bp-data/token", ".BP-data/token", str(data / "token")):
        with pytest.raises(NotFound):
            workspace.read_bytes(path)
        with pytest.raises(NotFound):
            workspace.write(path, b"x")
    with pytest.raises(NotFound):
        workspace.delete(".bp-data")
    (data / "inner").mkdir()
    for folder in (data, data / "inner", Path("/")):
        with pytest.raises(BadRequest):
            Workspace(folder, hidden=(data,), owned=False)
    assert Workspace(data / "workspaces" / "s", hidden=(data,)).list_folder("") == []


def test_a_folder_holding_a_hidden_one_is_not_deleted(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    workspace = Workspace(tmp_path, hidden=(tmp_path / "a" / "b",), owned=False)
    with pytest.raises(Forbidden):
        workspace.delete("a")


def test_shared_is_read_only_and_absent_roots_are_said_to_be(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "x").write_text("x")
    workspace = Workspace(tmp_path / "w", shared=tmp_path / "shared", data=tmp_path / "data")
    assert workspace.read_text("/shared/x") == "x"
    for attempt in (
        lambda: workspace.write("/shared/y", b""),
        lambda: workspace.delete("/shared/x"),
    ):
        with pytest.raises(Forbidden):
            attempt()
    workspace.write("/data/a", b"a")
    assert (tmp_path / "data" / "a").read_bytes() == b"a"
    with pytest.raises(NotFound):
        Workspace(tmp_path / "w").read_bytes("/data/a")


def test_a_write_keeps_the_mode_and_leaves_no_other_file(workspace: Workspace):
    workspace.write("run.sh", b"1")
    (workspace.root / "run.sh").chmod(0o750)
    workspace.write("run.sh", b"2")
    assert workspace.stat("run.sh").permissions == "750"
    with pytest.raises(Conflict):
        workspace.write("run.sh", b"3", exclusive=True)
    assert names_in(workspace.root) == ["link", "out", "run.sh"]


def test_a_write_that_expects_other_content_is_a_conflict(workspace: Workspace):
    workspace.write("a", b"one")
    workspace.write("a", b"two", expected=digest(b"one"))
    with pytest.raises(Conflict, match="changed since"):
        workspace.write("a", b"three", expected=digest(b"one"))
    with pytest.raises(Conflict):
        workspace.write("none", b"", expected=digest(b""))
    assert workspace.read_bytes("a") == b"two"


def test_of_two_writers_that_read_the_same_one_wins(workspace: Workspace):
    workspace.write("n", b"0")
    wins = 0

    def add() -> None:
        nonlocal wins
        done = 0
        while done < 50:
            before = workspace.read_bytes("n")
            try:
                workspace.write("n", b"%d" % (int(before) + 1), expected=digest(before))
            except Conflict:
                continue
            done += 1
        wins += done

    threads = [threading.Thread(target=add) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert workspace.read_bytes("n") == b"100"


@pytest.mark.fault("H10", "S26")
def test_large_special_and_odd_files_are_refused(workspace: Workspace):
    workspace.write("big", b"x" * 100)
    with pytest.raises(TooLarge):
        workspace.read_bytes("big", 99)
    assert len(workspace.read_bytes("big", 100)) == 100
    os.mkfifo(workspace.root / "pipe")
    for path in ("pipe", "", "/workspace"):
        with pytest.raises(BadRequest):
            workspace.read_bytes(path)
    with pytest.raises(BadRequest):
        workspace.write("pipe", b"")
    with pytest.raises(BadRequest):
        workspace.write("big/below", b"")


def test_a_raw_file_is_read_in_parts(workspace: Workspace):
    workspace.write("a", b"0123456789")
    raw = workspace.open_raw("a")
    assert (os.pread(raw.fd, 3, 4), raw.size) == (b"456", 10)
    os.close(raw.fd)


def test_outputs_of_the_same_moment_get_different_names(workspace: Workspace):
    names = [workspace.spill("bash", "t", b"x") for _ in range(3)]
    assert names == [f"/workspace/.truncated/bash_t{end}.txt" for end in ("", "-1", "-2")]


def test_no_operation_leaves_a_descriptor_open(workspace: Workspace):
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    workspace.write("a/b", b"")
    for path in ("a", "out", "none", "a/b/c"):
        for operation in (workspace.read_bytes, workspace.list_folder, workspace.stat):
            try:
                operation(path)
            except CommandRejected:
                continue
    workspace.delete("a")
    assert len(list(descriptors.iterdir())) == before
