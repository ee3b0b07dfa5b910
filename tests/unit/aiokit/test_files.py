import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints, files
from brainpilot_rt.aiokit.files import (
    DirHandle,
    UnsafeFile,
    ensure_private_dir,
    list_names,
    read_safely,
    remove,
    rename_noreplace,
    replace_atomic,
    sync_dir,
    write_new,
)

WRITE_STEPS = [
    "files.create.after",
    "files.write.before",
    "files.write.after",
    "files.fsync.before",
    "files.fsync.after",
]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    failpoints.reset()
    yield
    failpoints.reset()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[DirHandle]:
    with DirHandle.open(tmp_path) as handle:
        yield handle


@pytest.fixture(params=["native", "fallback"])
def rename_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fallback":
        monkeypatch.setattr(files, "_rename_call", lambda: None)
    return str(request.param)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_files_and_directories_are_private_under_an_open_umask(tmp_path: Path) -> None:
    ensure_private_dir(tmp_path / "a" / "b")
    with DirHandle.open(tmp_path / "c", create=True) as c, c.child("d", create=True) as d:
        write_new(d, "new", b"x", sync=False)
        replace_atomic(d, "token", b"x")
    made = ["a", "a/b", "c", "c/d", "c/d/new", "c/d/token"]
    assert [oct(_mode(tmp_path / one)) for one in made] == ["0o700"] * 4 + ["0o600"] * 2


def test_files_and_directories_are_usable_under_a_closed_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        with DirHandle.open(tmp_path / "c", create=True) as c:
            write_new(c, "new", b"x", sync=False)
    finally:
        os.umask(before)
    assert (_mode(tmp_path / "c"), _mode(tmp_path / "c" / "new")) == (0o700, 0o600)


def test_a_new_file_never_replaces_an_old_one(box: DirHandle) -> None:
    write_new(box, "a", b"first", sync=True)
    with pytest.raises(FileExistsError):
        write_new(box, "a", b"second", sync=True)
    assert read_safely(box, "a", 100) == b"first"


def test_a_new_file_is_not_written_through_a_link(box: DirHandle, tmp_path: Path) -> None:
    (box.path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(box, "a", b"x", sync=False)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.fault("A9")
def test_short_writes_are_continued_to_the_last_byte(
    box: DirHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_write = os.write

    def short_write(fd: int, data: memoryview) -> int:
        return whole_write(fd, data[:3])

    monkeypatch.setattr(os, "write", short_write)
    write_new(box, "a", b"0123456789" * 10, sync=True)
    assert (box.path / "a").read_bytes() == b"0123456789" * 10


@pytest.mark.parametrize("step", WRITE_STEPS)
@pytest.mark.fault("A10", "A12")
def test_a_file_that_could_not_be_written_whole_does_not_exist(box: DirHandle, step: str) -> None:
    failpoints.configure(f"{step}=raise:ENOSPC")
    with pytest.raises(OSError, match="failpoint") as raised:
        write_new(box, "a", b"x" * 100, sync=True)
    assert raised.value.errno == errno.ENOSPC
    assert list_names(box) == []


@pytest.mark.fault("A12")
def test_a_failed_fsync_is_not_tried_again(box: DirHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def failing(fd: int) -> None:
        asked.append(fd)
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="disk"):
        write_new(box, "a", b"x", sync=True)
    assert (len(asked), list_names(box)) == (1, [])


@pytest.mark.fault("A9", "A10")
def test_a_real_file_size_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from brainpilot_rt.aiokit.files import DirHandle, list_names, write_new
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
with DirHandle.open(Path(sys.argv[1])) as box:
    try:
        write_new(box, "a", b"x" * 20000, sync=True)
    except OSError as error:
        print(error.errno, list_names(box))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert ended.stdout == f"{errno.EFBIG} []\n"


@pytest.mark.parametrize("step", [*WRITE_STEPS, "files.rename.before", "files.rename.after"])
@pytest.mark.fault("A3", "A4", "A5", "A6")
def test_a_letter_delivered_by_a_killed_writer_is_whole_or_absent(
    tmp_path: Path, step: str
) -> None:
    program = """
import sys
from pathlib import Path
from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.aiokit.files import DirHandle, rename_noreplace, sync_dir, write_new
failpoints.configure(sys.argv[2] + "=kill")
with DirHandle.open(Path(sys.argv[1])) as box:
    with box.child("tmp", create=True) as tmp, box.child("new", create=True) as new:
        write_new(tmp, "a", b"whole", sync=True)
        rename_noreplace(tmp, "a", new, "a")
        sync_dir(new)
"""
    ended = subprocess.run([sys.executable, "-c", program, tmp_path, step], check=False)
    assert ended.returncode == -signal.SIGKILL
    delivered = [one.read_bytes() for one in (tmp_path / "new").iterdir()]
    assert delivered == ([b"whole"] if step == "files.rename.after" else [])


def test_a_rename_never_overwrites(box: DirHandle, rename_way: str) -> None:
    write_new(box, "a", b"mine", sync=False)
    write_new(box, "b", rename_way.encode(), sync=False)
    with pytest.raises(FileExistsError):
        rename_noreplace(box, "a", box, "b")
    with pytest.raises(FileExistsError):
        rename_noreplace(box, "a", box, "a")
    assert read_safely(box, "a", 100) == b"mine"
    assert read_safely(box, "b", 100) == rename_way.encode()


def test_a_rename_moves_between_directories(box: DirHandle, rename_way: str) -> None:
    with box.child("tmp", create=True) as tmp, box.child("new", create=True) as new:
        write_new(tmp, "a", rename_way.encode(), sync=False)
        rename_noreplace(tmp, "a", new, "b")
        assert (list_names(tmp), read_safely(new, "b", 100)) == ([], rename_way.encode())


@pytest.mark.usefixtures("rename_way")
def test_renaming_what_is_not_there_says_so(box: DirHandle) -> None:
    with pytest.raises(FileNotFoundError):
        rename_noreplace(box, "a", box, "b")


@pytest.mark.usefixtures("rename_way")
@pytest.mark.fault("A8", "A18")
def test_a_delivery_cut_between_link_and_unlink_is_finished_by_the_next_one(
    box: DirHandle,
) -> None:
    write_new(box, "a", b"x", sync=False)
    (box.path / "b").hardlink_to(box.path / "a")
    rename_noreplace(box, "a", box, "b")
    assert (list_names(box), read_safely(box, "b", 100)) == (["b"], b"x")


@pytest.mark.usefixtures("rename_way")
def test_of_many_that_rename_to_one_name_exactly_one_succeeds(box: DirHandle) -> None:
    for number in range(16):
        write_new(box, f"from-{number}", str(number).encode(), sync=False)

    def claim(number: int) -> bool:
        try:
            rename_noreplace(box, f"from-{number}", box, "to")
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(16))) == 1
    assert len(list_names(box)) == 16


def test_replacing_gives_the_new_content_and_leaves_no_other_name(box: DirHandle) -> None:
    replace_atomic(box, "token", b"one")
    replace_atomic(box, "token", b"two", mode=0o640)
    assert (list_names(box), read_safely(box, "token", 100)) == (["token"], b"two")
    assert _mode(box.path / "token") == 0o640


@pytest.mark.parametrize("step", [*WRITE_STEPS, "files.replace.before"])
def test_a_failed_replacement_keeps_the_old_content(box: DirHandle, step: str) -> None:
    replace_atomic(box, "token", b"one")
    failpoints.configure(f"{step}=raise:EIO")
    with pytest.raises(OSError, match="failpoint"):
        replace_atomic(box, "token", b"two")
    assert (list_names(box), read_safely(box, "token", 100)) == (["token"], b"one")


def test_replacing_a_link_replaces_the_link_and_not_its_target(
    box: DirHandle, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    (box.path / "token").symlink_to(target)
    replace_atomic(box, "token", b"two")
    assert (target.read_bytes(), read_safely(box, "token", 10)) == (b"kept", b"two")


def test_a_file_up_to_the_limit_is_read_whole(box: DirHandle) -> None:
    write_new(box, "a", b"x" * 100, sync=False)
    write_new(box, "empty", b"", sync=False)
    assert read_safely(box, "a", 100) == b"x" * 100
    assert read_safely(box, "empty", 0) == b""


def _plant(path: Path, kind: str) -> None:
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "link to a file":
            (path.parent / "target").write_bytes(b"x")
            path.symlink_to(path.parent / "target")
        case "dangling link":
            path.symlink_to(path.parent / "nowhere")
        case "link to itself":
            path.symlink_to(path)
        case "directory":
            path.mkdir()
        case "hard link":
            (path.parent / "target").write_bytes(b"x")
            path.hardlink_to(path.parent / "target")
        case "sparse":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case _:
            path.write_bytes(b"x" * 101)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("fifo", "not_regular"),
        ("link to a file", "symlink"),
        ("dangling link", "symlink"),
        ("link to itself", "symlink"),
        ("directory", "not_regular"),
        ("hard link", "hard_linked"),
        ("sparse", "too_large"),
        ("one byte too many", "too_large"),
    ],
)
def test_a_hostile_file_is_refused_with_a_reason(box: DirHandle, kind: str, reason: str) -> None:
    _plant(box.path / "a", kind)
    with pytest.raises(UnsafeFile) as raised:
        read_safely(box, "a", 100)
    assert (raised.value.name, raised.value.reason) == ("a", reason)


def test_a_socket_is_no_file(box: DirHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(box.path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a")
        with pytest.raises(UnsafeFile) as raised:
            read_safely(box, "a", 100)
    assert raised.value.reason == "not_regular"


def test_a_file_of_another_user_is_refused(box: DirHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    write_new(box, "a", b"x", sync=False)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(UnsafeFile) as raised:
        read_safely(box, "a", 100)
    assert raised.value.reason == "foreign_owner"


@pytest.mark.fault("C14")
def test_a_file_that_grows_while_it_is_read_is_refused(
    box: DirHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new(box, "a", b"x", sync=False)
    read = os.read

    def growing(fd: int, size: int) -> bytes:
        part = read(fd, size)
        with (box.path / "a").open("ab") as file:
            file.write(b"y" * 50)
        return part

    monkeypatch.setattr(os, "read", growing)
    with pytest.raises(UnsafeFile) as raised:
        read_safely(box, "a", 100)
    assert raised.value.reason == "too_large"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0b"])
def test_a_name_that_could_leave_the_directory_is_a_mistake(box: DirHandle, name: str) -> None:
    with pytest.raises(ValueError, match="not a file name"):
        write_new(box, name, b"", sync=False)
    with pytest.raises(ValueError, match="not a file name"):
        read_safely(box, name, 1)
    with pytest.raises(ValueError, match="not a file name"):
        rename_noreplace(box, "a", box, name)
    with pytest.raises(ValueError, match="not a file name"):
        remove(box, name)
    with pytest.raises(ValueError, match="not a file name"):
        box.child(name)


def test_a_directory_is_not_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(NotADirectoryError):
        DirHandle.open(tmp_path / "link")
    with DirHandle.open(tmp_path) as box, pytest.raises(NotADirectoryError):
        box.child("link", create=True)


def test_a_handle_still_means_the_directory_it_opened_after_a_swap(tmp_path: Path) -> None:
    with DirHandle.open(tmp_path / "box", create=True) as box:
        (tmp_path / "box").rename(tmp_path / "moved")
        (tmp_path / "trap").mkdir()
        (tmp_path / "box").symlink_to(tmp_path / "trap")
        write_new(box, "a", b"x", sync=True)
    assert (tmp_path / "moved" / "a").read_bytes() == b"x"
    assert list((tmp_path / "trap").iterdir()) == []


def test_a_closed_handle_is_not_used_and_closes_again_quietly(tmp_path: Path) -> None:
    box = DirHandle.open(tmp_path)
    box.close()
    box.close()
    with pytest.raises(ValueError, match="closed"):
        list_names(box)


def test_no_descriptor_is_inherited_by_a_child_process(box: DirHandle) -> None:
    assert not os.get_inheritable(box.fd)


def test_names_are_listed_in_order_and_from_many_threads(box: DirHandle) -> None:
    names = [f"{number:03}" for number in range(200)]
    for name in reversed(names):
        write_new(box, name, b"", sync=False)
    with ThreadPoolExecutor(8) as pool:
        listings = list(pool.map(list_names, [box] * 64))
    assert all(listing == names for listing in listings)


def test_an_undecodable_name_is_listed_and_can_be_removed(box: DirHandle) -> None:
    (Path(os.fsdecode(os.fsencode(box.path) + b"/\xff\xfe"))).touch()
    [name] = list_names(box)
    remove(box, name)
    assert list_names(box) == []


def test_removing_what_is_not_there_is_an_error_unless_allowed(box: DirHandle) -> None:
    remove(box, "a", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        remove(box, "a")


def test_a_private_directory_may_exist_and_must_be_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours"
    ensure_private_dir(ours)
    ensure_private_dir(ours)
    ours.chmod(0o755)
    ensure_private_dir(ours)
    (tmp_path / "link").symlink_to(ours)
    (tmp_path / "file").touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o770)
    for name, reason in [
        ("link", "symlink"),
        ("file", "not_directory"),
        ("shared", "writable_by_others"),
    ]:
        with pytest.raises(UnsafeFile) as raised:
            ensure_private_dir(tmp_path / name)
        assert raised.value.reason == reason
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(UnsafeFile) as raised:
        ensure_private_dir(ours)
    assert raised.value.reason == "foreign_owner"


def test_a_writer_stopped_before_fsync_has_not_delivered_yet(box: DirHandle) -> None:
    failpoints.configure("files.fsync.before=pause")
    with box.child("tmp", create=True) as tmp, box.child("new", create=True) as new:

        def deliver() -> None:
            write_new(tmp, "a", b"x", sync=True)
            rename_noreplace(tmp, "a", new, "a")
            sync_dir(new)

        writer = threading.Thread(target=deliver)
        writer.start()
        assert failpoints.wait_paused("files.fsync.before", 5)
        assert list_names(new) == []
        failpoints.release("files.fsync.before")
        writer.join(5)
        assert list_names(new) == ["a"]


def test_every_durable_step_has_a_failpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DirHandle.open(tmp_path / "box", create=True) as box:
        replace_atomic(box, "a", b"x")
        rename_noreplace(box, "a", box, "b")
        monkeypatch.setattr(files, "_rename_call", lambda: None)
        rename_noreplace(box, "b", box, "c")
        remove(box, "c")
    steps = ["mkdir", "create", "write", "fsync", "rename", "replace", "dirsync", "remove"]
    both = {f"files.{step}.{side}" for step in steps for side in ("before", "after")}
    assert failpoints.reached() == both | {"files.rename.linked"}
