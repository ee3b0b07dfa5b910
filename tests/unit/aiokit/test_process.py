import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import process
from brainpilot_rt.aiokit.process import Command, Finished, OutputLimits, end_marked, run

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]

LIMITS = OutputLimits(head_bytes=1000, tail_bytes=1000)
ENV = {"PATH": os.defpath}


def _command(
    tmp_path: Path, script: str, *, deadline_s: float | None = None, grace_s: float = 0.3
) -> Command:
    return Command(
        argv=["/bin/sh", "-c", script],
        cwd=tmp_path,
        env=ENV,
        marker=("AIOKIT_TEST", tmp_path.name),
        deadline_s=deadline_s,
        grace_s=grace_s,
    )


def _alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _pids(finished: Finished) -> list[int]:
    return [int(line) for line in finished.output.head.split()]


@pytest.fixture(params=["by /proc", "by process group"])
def tree_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "by process group":
        monkeypatch.setattr(process, "_PROC", Path("/nowhere"))
    return str(request.param)


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "spill", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.mark.usefixtures("tree_way")
async def test_a_command_gives_its_exit_code_and_both_outputs_in_order(tmp_path: Path) -> None:
    finished = await run(_command(tmp_path, "echo out; echo err >&2; echo out; exit 3"), LIMITS)
    assert (finished.exit_code, finished.deadline_passed, finished.survivors) == (3, False, ())
    assert (finished.output.head, finished.output.tail) == (b"out\nerr\nout\n", b"")


async def test_the_child_has_no_input_no_other_environment_and_a_session_of_its_own(
    tmp_path: Path,
) -> None:
    program = "import os, sys; print(sys.stdin.read(), os.getsid(0) == os.getpid(), *os.environ)"
    command = Command(
        argv=[sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        env={"ONLY": "this", "LC_ALL": "C.UTF-8"},
        marker=("MARK", "1"),
    )
    finished = await run(command, LIMITS)
    assert finished.output.head.split() == [b"True", b"ONLY", b"LC_ALL", b"MARK"]


async def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    command = Command(argv=["/no/such/command"], cwd=tmp_path, env={}, marker=("MARK", "1"))
    with pytest.raises(FileNotFoundError):
        await run(command, LIMITS)


async def test_death_by_a_signal_is_a_negative_exit_code(tmp_path: Path) -> None:
    finished = await run(_command(tmp_path, "kill -SEGV $$"), LIMITS)
    assert finished.exit_code == -signal.SIGSEGV


async def test_of_much_output_both_ends_are_kept_and_the_file_has_all(
    tmp_path: Path, spill: int
) -> None:
    limits = OutputLimits(head_bytes=10, tail_bytes=7, spill_bytes_max=10_000_000)
    finished = await run(_command(tmp_path, "seq 100000"), limits, spill)
    whole = "".join(f"{number}\n" for number in range(1, 100_001)).encode()
    output = finished.output
    assert (output.head, output.tail) == (whole[:10], whole[-7:])
    assert (output.total_bytes, output.omitted_bytes) == (len(whole), len(whole) - 17)
    assert (tmp_path / "spill").read_bytes() == whole
    assert (output.spilled_bytes, output.spill_error) == (len(whole), None)


async def test_output_that_just_fits_is_not_kept_twice(tmp_path: Path) -> None:
    limits = OutputLimits(head_bytes=4, tail_bytes=4)
    output = (await run(_command(tmp_path, "printf 12345678"), limits)).output
    assert (output.head, output.tail, output.omitted_bytes) == (b"1234", b"5678", 0)


async def test_the_file_is_bounded(tmp_path: Path, spill: int) -> None:
    limits = OutputLimits(head_bytes=10, tail_bytes=10, spill_bytes_max=1000)
    output = (await run(_command(tmp_path, "seq 100000"), limits, spill)).output
    assert (output.spilled_bytes, (tmp_path / "spill").stat().st_size) == (1000, 1000)
    assert output.tail == b"99\n100000\n"


@pytest.mark.fault("D13", "H12")
async def test_a_full_disk_under_the_file_does_not_fail_the_command(tmp_path: Path) -> None:
    limits = OutputLimits(head_bytes=10, tail_bytes=10, spill_bytes_max=1_000_000)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        finished = await run(_command(tmp_path, "seq 1000"), limits, full)
    finally:
        os.close(full)
    assert (finished.exit_code, finished.output.spill_error) == (0, "ENOSPC")
    assert finished.output.tail == b"\n999\n1000\n"


@pytest.mark.usefixtures("tree_way")
async def test_a_passed_deadline_ends_the_tree_and_keeps_the_output(tmp_path: Path) -> None:
    script = "echo begun; sleep 600 & sleep 600"
    finished = await run(_command(tmp_path, script, deadline_s=0.3), LIMITS)
    assert (finished.exit_code, finished.deadline_passed) == (-signal.SIGTERM, True)
    assert (finished.output.head, finished.survivors) == (b"begun\n", ())


@pytest.mark.usefixtures("tree_way")
async def test_a_tree_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $! $$; while :; do sleep 1; done"
    finished = await run(_command(tmp_path, script, deadline_s=0.3), LIMITS)
    assert (finished.exit_code, finished.survivors) == (-signal.SIGKILL, ())
    assert len(_pids(finished)) == 2
    assert not any(map(_alive, _pids(finished)))


@pytest.mark.usefixtures("tree_way")
async def test_a_background_process_does_not_outlive_the_command_nor_delay_it(
    tmp_path: Path,
) -> None:
    finished = await run(_command(tmp_path, "sleep 600 & echo $!"), LIMITS)
    assert (finished.exit_code, finished.deadline_passed) == (0, False)
    assert not any(map(_alive, _pids(finished)))


async def test_a_daemonised_grandchild_is_found_by_the_marker(tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$; exec sleep 600' & sleep 0.3"
    finished = await run(_command(tmp_path, script), LIMITS)
    assert len(_pids(finished)) == 1
    assert not any(map(_alive, _pids(finished)))


@pytest.mark.fault("H12")
async def test_a_fork_storm_is_ended(tmp_path: Path) -> None:
    script = "trap '' TERM; f() { while :; do sleep 5 & sleep 0.01; done; }; f & f & f"
    finished = await run(_command(tmp_path, script, deadline_s=0.3, grace_s=0.1), LIMITS)
    assert finished.survivors == ()
    assert await end_marked("AIOKIT_TEST", tmp_path.name, grace_s=0) == ()


async def test_a_cancelled_caller_leaves_when_the_tree_is_gone(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    script = "trap '' TERM; echo $$ > begun; while :; do sleep 1; done"
    task = asyncio.get_running_loop().create_task(run(_command(tmp_path, script), LIMITS))
    pid = int(await asyncio.to_thread(begun.read_text))
    for _ in range(20):
        task.cancel()
        await asyncio.sleep(0.001)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _alive(pid)


async def test_a_caller_cancelled_at_any_moment_leaves_no_process(tmp_path: Path) -> None:
    for pause_s in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016):
        command = _command(tmp_path, "sleep 600 & sleep 600")
        task = asyncio.get_running_loop().create_task(run(command, LIMITS))
        await asyncio.sleep(pause_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await end_marked("AIOKIT_TEST", tmp_path.name, grace_s=0) == ()


async def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    async def count_after_one() -> int:
        await run(_command(tmp_path, "sleep 600 & echo x"), LIMITS)
        for _ in range(3):  # The loop closes a pipe one step after its transport.
            await asyncio.sleep(0)
        return _open_descriptors()

    first = await count_after_one()
    assert [await count_after_one() for _ in range(3)] == [first] * 3


@pytest.mark.fault("F11", "S35")
async def test_what_an_earlier_process_left_is_found_by_its_marker_and_nothing_else_is(
    tmp_path: Path,
) -> None:
    def left_over(value: str) -> "subprocess.Popen[bytes]":
        env = {**ENV, "AIOKIT_TEST": value}
        return subprocess.Popen(["sleep", "600"], env=env, start_new_session=True)

    ours, other = left_over(f"{tmp_path.name}:1"), left_over("someone-else")
    assert await end_marked("AIOKIT_TEST", f"{tmp_path.name}:", grace_s=5) == ()
    assert ours.wait() == -signal.SIGTERM
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_on_uvloop_no_descriptor_of_another_thread_is_closed(
    tmp_path: Path, anyio_backend: object
) -> None:
    del anyio_backend
    pytest.importorskip("uvloop")
    over = threading.Event()
    lost: list[OSError] = []

    def open_and_close() -> None:
        while not over.is_set():
            mine = [os.dup(0) for _ in range(2)]
            for fd in mine:
                try:
                    os.close(fd)
                except OSError as error:
                    lost.append(error)

    others = [threading.Thread(target=open_and_close) for _ in range(4)]
    for other in others:
        other.start()
    try:
        for _ in range(40):
            finished = await run(_command(tmp_path, "echo x"), LIMITS)
            assert finished.output.head == b"x\n"
    finally:
        over.set()
        for other in others:
            other.join()
    assert lost == []
