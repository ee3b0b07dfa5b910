import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brainpilot_rt.aiokit.lock import LOCK_NAME, PID_NAME, AlreadyOwned, InstanceLock

HOLD = """
import sys
from pathlib import Path
from brainpilot_rt.aiokit.lock import AlreadyOwned, InstanceLock
lock = InstanceLock(Path(sys.argv[1]))
try:
    lock.acquire()
except AlreadyOwned as owned:
    print("owned by", owned.pid, flush=True)
else:
    print("mine", flush=True)
    sys.stdin.read()
"""


def _holder(directory: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _first_line(holder: "subprocess.Popen[str]") -> str:
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


def _end(holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.communicate()


def test_another_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    with InstanceLock(tmp_path):
        holder = _holder(tmp_path)
        assert _first_line(holder) == f"owned by {os.getpid()}"
        _end(holder)
    with _holder(tmp_path) as holder:
        assert _first_line(holder) == "mine"
        with pytest.raises(AlreadyOwned) as raised:
            InstanceLock(tmp_path).acquire()
        assert raised.value.pid == holder.pid
        _end(holder)


@pytest.mark.fault("F6")
def test_the_lock_of_a_killed_process_is_free_though_its_pid_file_stays(tmp_path: Path) -> None:
    holder = _holder(tmp_path)
    assert _first_line(holder) == "mine"
    _end(holder)
    assert (tmp_path / PID_NAME).read_text() == f"{holder.pid}\n"
    with InstanceLock(tmp_path) as lock:
        assert lock.held
        assert (tmp_path / PID_NAME).read_text() == f"{os.getpid()}\n"


@pytest.mark.fault("F7")
def test_a_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    program = HOLD.replace("sys.stdin.read()", "").replace(
        'print("mine", flush=True)',
        "import subprocess; print(subprocess.Popen(['sleep', '60'], close_fds=False,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid, flush=True)",
    )
    parent = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    child = int(parent.stdout)
    try:
        os.kill(child, 0)
        with InstanceLock(tmp_path) as lock:
            assert lock.held
    finally:
        os.kill(child, 9)


@pytest.mark.fault("F5")
def test_of_many_that_start_at_once_exactly_one_gets_the_directory(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        holders = list(pool.map(_holder, [tmp_path] * 6))
        said = list(pool.map(_first_line, holders))
    for holder in holders:
        _end(holder)
    assert sorted(line.split()[0] for line in said) == ["mine", *["owned"] * 5]


def test_a_second_object_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with InstanceLock(tmp_path):
        with pytest.raises(AlreadyOwned):
            InstanceLock(tmp_path).acquire()
        assert (tmp_path / PID_NAME).exists()


def test_giving_the_lock_back_removes_the_pid_and_may_be_repeated(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()
    assert not lock.held
    assert not (tmp_path / PID_NAME).exists()
    lock.acquire()
    lock.release()


def test_the_lock_file_is_private_under_an_open_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with InstanceLock(tmp_path):
            for name in (LOCK_NAME, PID_NAME):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("text", ["", "not a number", "9" * 100])
def test_an_unreadable_pid_is_no_pid(tmp_path: Path, text: str) -> None:
    with InstanceLock(tmp_path):
        (tmp_path / PID_NAME).write_text(text)
        with pytest.raises(AlreadyOwned) as raised:
            InstanceLock(tmp_path).acquire()
        assert raised.value.pid in {None, os.getpid()}  # known where the kernel says who holds it


def test_a_directory_that_is_not_there_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        InstanceLock(tmp_path / "nowhere").acquire()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault("F13", "F5")
def test_a_lock_whose_file_was_deleted_or_moved_is_no_longer_in_place(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with InstanceLock(home) as lock:
        assert lock.in_place()
        (home / LOCK_NAME).unlink()
        assert not lock.in_place()
        with InstanceLock(home) as second:
            assert second.in_place()
            lock.release()
            assert (home / PID_NAME).exists(), "the second owner's word is not the first one's"
        assert not lock.in_place()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the kernel does not say who holds it")
@pytest.mark.fault("F6")
def test_the_owner_is_named_although_the_number_of_another_living_program_is_written(
    tmp_path: Path,
) -> None:
    with InstanceLock(tmp_path):
        (tmp_path / PID_NAME).write_text("1\n", encoding="ascii")
        with pytest.raises(AlreadyOwned) as refused:
            InstanceLock(tmp_path).acquire()
    assert refused.value.pid == os.getpid()
