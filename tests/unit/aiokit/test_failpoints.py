import errno
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from proof import points


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    failpoints.reset()
    yield
    failpoints.reset()


def test_an_unarmed_point_does_nothing_but_is_remembered() -> None:
    failpoints.hit("a.before")
    failpoints.hit("a.before")
    assert failpoints.reached() == {"a.before"}


def test_a_configured_point_counts_as_reached_only_when_hit() -> None:
    failpoints.configure("a=raise:EIO@5")
    assert failpoints.reached() == frozenset()
    failpoints.hit("a")
    assert failpoints.reached() == {"a"}


def test_raise_fails_once_at_the_nth_hit() -> None:
    failpoints.configure("a=raise:ENOSPC@2")
    failpoints.hit("a")
    with pytest.raises(OSError, match="failpoint a") as raised:
        failpoints.hit("a")
    assert raised.value.errno == errno.ENOSPC
    failpoints.hit("a")


def test_raise_fails_from_the_nth_hit_onwards() -> None:
    failpoints.configure("a=raise:EIO@2+")
    failpoints.hit("a")
    for _ in range(3):
        with pytest.raises(OSError, match="failpoint a"):
            failpoints.hit("a")


def test_several_points_are_armed_by_one_specification() -> None:
    failpoints.configure(" a=raise:EIO ; b=delay:0;; c=raise:EMFILE@1 ")
    failpoints.hit("b")
    for name in "ac":
        with pytest.raises(OSError, match=f"failpoint {name}"):
            failpoints.hit(name)


def test_hits_are_counted_over_all_threads() -> None:
    failpoints.configure("a=raise:EIO@80")

    def hits(times: int) -> int:
        failed = 0
        for _ in range(times):
            try:
                failpoints.hit("a")
            except OSError:
                failed += 1
        return failed

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hits, [20] * 8)) == 1


def test_pause_holds_a_thread_until_it_is_released() -> None:
    failpoints.configure("a=pause")
    passed = threading.Event()

    def work() -> None:
        failpoints.hit("a")
        passed.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert failpoints.wait_paused("a", 5)
    assert not passed.is_set()
    failpoints.release("a")
    thread.join(5)
    assert passed.is_set()


def test_reset_lets_go_of_whoever_is_paused() -> None:
    failpoints.configure("a=pause")
    thread = threading.Thread(target=failpoints.hit, args=["a"])
    thread.start()
    assert failpoints.wait_paused("a", 5)
    failpoints.reset()
    thread.join(5)
    assert not thread.is_alive()


def test_kill_ends_the_process_without_any_clean_up() -> None:
    program = """
from brainpilot_rt.aiokit import failpoints
failpoints.configure("a=kill@2")
try:
    failpoints.hit("a")
    print("first", flush=True)
    failpoints.hit("a")
finally:
    print("clean-up", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == b"first\n"


@pytest.mark.parametrize(
    "spec",
    [
        "a",
        "a=",
        "a=explode",
        "a=kill@0",
        "a=kill@x",
        "a=delay",
        "a=raise",
        "a=raise:EWHAT",
        "=kill",
    ],
)
def test_what_cannot_be_read_is_refused_and_arms_nothing(spec: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        failpoints.configure(f"b=raise:EIO;{spec}")
    failpoints.hit("b")


def test_waiting_at_a_point_that_is_not_configured_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="not configured"):
        failpoints.wait_paused("nowhere", 1)


def test_a_trace_tells_what_a_killed_process_hit_how_often_and_last(tmp_path: Path) -> None:
    program = f"""
from brainpilot_rt.aiokit import failpoints
failpoints.configure("mail.place.after=kill@2;*=trace:{tmp_path}/trace")
for name in ("log.commit.before", "mail.place.after", "log.commit.before", "mail.place.after"):
    failpoints.hit(name)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert points.reached(tmp_path / "trace") == {"log.commit.before": 2, "mail.place.after": 2}
    last = points.last(tmp_path / "trace")
    assert last is not None
    assert last.name == "mail.place.after"
    assert 0 < last.at_ns < time.monotonic_ns()


def test_a_process_that_hit_nothing_leaves_an_empty_trace(tmp_path: Path) -> None:
    failpoints.configure(f"*=trace:{tmp_path}/trace")
    assert points.last(tmp_path / "trace") is None
    assert points.reached(tmp_path / "trace") == {}
    assert points.reached(tmp_path / "none") == {}
