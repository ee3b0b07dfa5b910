"""Run a child process and leave nothing of it behind.

The child gets a session and process group of its own, no terminal and no input, exactly the
environment it is given, and one pipe for both of its outputs, so that their order is kept. Of the
output the first and the last bytes are remembered; all of it, up to a bound, can go to a file.

When the child exits, or the deadline passes, or the caller is cancelled, whatever remains of its
tree is asked to end (SIGTERM), killed after a grace (SIGKILL), and looked for until it is really
gone. A cancelled caller waits for that, however often it is cancelled: it is bounded by the grace
plus a constant. What belongs to the tree, on Linux: every process of the session, and every process
that carries the tree's marker in its environment, which a daemonised grandchild keeps. Each is
signalled through a pidfd, after looking again that it still belongs: a number that was recycled in
between is not hit. Elsewhere it is the process group. A process that both leaves the session and
clears its environment gets away; only a PID namespace stops that, and it is the caller's to use.

Deliberately not here: which command may run, sandboxes, resource limits.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit.tasks import finish_shielded

_log = logging.getLogger(__name__)

_CHUNK: Final = 1 << 16
_KILL_S: Final = 5.0
_DRAIN_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.02
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and how it is ended."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    """The whole environment; nothing is inherited."""
    marker: tuple[str, str]
    """Name and value of one more environment entry, unique to this run."""
    deadline_s: float | None = None
    """Seconds until the tree is ended; None: it may run for ever."""
    grace_s: float = 2.0
    """Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLimits:
    """How many bytes of the output are kept."""

    head_bytes: int
    tail_bytes: int
    spill_bytes_max: int = 0
    """Most bytes written to the spill descriptor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the tree wrote, standard output and standard error in one."""

    head: bytes
    tail: bytes
    """The last bytes, as far as they are not in `head` already."""
    total_bytes: int
    spilled_bytes: int
    spill_error: str | None
    """Why spilling stopped early, if it did."""

    @property
    def omitted_bytes(self) -> int:
        """Bytes between `head` and `tail`."""
        return self.total_bytes - len(self.head) - len(self.tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How it ended."""

    exit_code: int | None
    """Of the child itself; negative: the signal it died of; None: it could not be ended."""
    deadline_passed: bool
    output: Output
    survivors: tuple[int, ...]
    """Processes of the tree that even SIGKILL did not end in time."""


async def run(command: Command, limits: OutputLimits, spill_fd: int | None = None) -> Finished:
    """Run a command until nothing of its tree is left; OSError when it cannot be started.

    `spill_fd` stays open and is the caller's. A cancelled caller leaves when the tree is gone.
    """
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()
    capture = _Capture(limits, spill_fd)
    work = loop.create_task(_attend(command, capture, stop), name=f"process {command.argv[0]}")
    interrupted: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as cancelled:
            interrupted = interrupted or cancelled
            if not stop.done():
                stop.set_result(None)
    if interrupted is not None:
        raise interrupted from (None if work.cancelled() else work.exception())
    return work.result()


async def end_marked(name: str, value_prefix: str, *, grace_s: float) -> tuple[int, ...]:
    """End every process of this user whose environment entry `name` begins so; return survivors.

    For what an earlier, killed incarnation of the caller left running. Does nothing without /proc.
    """
    return await _Tree(None, f"{name}={value_prefix}").end(grace_s)


async def _attend(command: Command, capture: "_Capture", stop: asyncio.Future[None]) -> Finished:
    read_fd, write_fd = os.pipe()
    try:
        return await _attended(command, capture, stop, read_fd, write_fd)
    finally:
        os.close(read_fd)


async def _attended(
    command: Command,
    capture: "_Capture",
    stop: asyncio.Future[None],
    read_fd: int,
    write_fd: int,
) -> Finished:
    name, value = command.marker
    try:
        child = await asyncio.create_subprocess_exec(
            *command.argv,
            cwd=command.cwd,
            env={**command.env, name: value},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_fd,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(write_fd)
    loop = asyncio.get_running_loop()
    tree = _Tree(child.pid, f"{name}={value}\0")
    exited = loop.create_task(child.wait(), name=f"exit of {child.pid}")
    reading = loop.create_task(capture.follow(read_fd), name=f"output of {child.pid}")
    try:
        done, _ = await asyncio.wait(
            [exited, stop], timeout=command.deadline_s, return_when=asyncio.FIRST_COMPLETED
        )
        survivors = await tree.end(command.grace_s)
        # A pipe that a survivor still holds never ends by itself.
        await asyncio.wait([exited, reading], timeout=_DRAIN_S)
    finally:
        if not exited.done():
            # Not reaped, so the number is still the child's; this works without a free descriptor.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        for task in (exited, reading):
            task.cancel()
        await asyncio.wait([exited, reading])
    return Finished(
        exit_code=child.returncode,
        deadline_passed=not done,
        output=capture.output(),
        survivors=survivors,
    )


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    # The loop may call again before the waiter has been resumed.
    loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)


class _Capture:
    """Keeps the ends of a stream and passes all of it on."""

    def __init__(self, limits: OutputLimits, spill_fd: int | None) -> None:
        self._limits = limits
        self._spill_fd = spill_fd
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0
        self._spilled = 0
        self._spill_error: str | None = None

    async def follow(self, read_fd: int) -> None:
        """Read to the end; the descriptor stays open and is the caller's.

        Not through the loop's pipe transport: uvloop closes the number of a pipe twice, and the
        second time it may be a file that another thread has just opened.
        """
        os.set_blocking(read_fd, False)
        while True:
            await _readable(read_fd)
            try:
                chunk = os.read(read_fd, _CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                return
            self._keep(chunk)
            if self._spill_fd is not None and self._spill_error is None:
                # To the end: the caller may close the descriptor as soon as `run` returns.
                await finish_shielded(asyncio.to_thread(self._spill, self._spill_fd, chunk))

    def output(self) -> Output:
        return Output(
            head=bytes(self._head),
            tail=bytes(self._tail),
            total_bytes=self._total,
            spilled_bytes=self._spilled,
            spill_error=self._spill_error,
        )

    def _keep(self, chunk: bytes) -> None:
        self._total += len(chunk)
        room = self._limits.head_bytes - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        del self._tail[: max(0, len(self._tail) - self._limits.tail_bytes)]

    def _spill(self, fd: int, chunk: bytes) -> None:
        rest = memoryview(chunk)[: self._limits.spill_bytes_max - self._spilled]
        try:
            while rest:
                written = os.write(fd, rest)
                self._spilled += written
                rest = rest[written:]
        except OSError as error:
            # The command is not at fault, and its output still reaches the caller in part.
            self._spill_error = errno.errorcode.get(error.errno or 0, str(error))
            _log.warning("output is no longer spilled: %s", error)


class _Tree:
    """The processes that belong together: by session, or by a marker in the environment."""

    def __init__(self, session: int | None, marker: str) -> None:
        self._session = session
        self._marker = b"\0" + os.fsencode(marker)
        self._by_proc = (_PROC / "self" / "environ").exists()

    async def end(self, grace_s: float) -> tuple[int, ...]:
        """Ask, then kill, and look until none is left; returns those still there at the end."""
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + grace_s
        left = await asyncio.to_thread(self.signal_all, signal.SIGTERM)
        while left and loop.time() < kill_at:
            await asyncio.sleep(_LOOK_AGAIN_S)
            left = await asyncio.to_thread(self._living)
        gives_up_at = loop.time() + _KILL_S
        while left and loop.time() < gives_up_at:
            # Again and again: a member may have forked after it was listed.
            await asyncio.to_thread(self.signal_all, signal.SIGKILL)
            await asyncio.sleep(_LOOK_AGAIN_S)
            left = await asyncio.to_thread(self._living)
        if left:
            _log.error("processes survived SIGKILL: %s", left)
        return tuple(left)

    def signal_all(self, number: signal.Signals) -> list[int]:
        """Signal every living member; returns whom."""
        found = self._living()
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if self._by_proc:
                    self._signal_one(pid, number)
                else:
                    os.killpg(pid, number)
        return found

    def _signal_one(self, pid: int, number: signal.Signals) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:  # No such call before Linux 5.3, or no free descriptor.
            os.kill(pid, number)
            return
        try:
            # The pidfd means this very process, whatever happens to its number from here on.
            if self._is_member(pid):
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)

    def _living(self) -> list[int]:
        if self._by_proc:
            own = os.getpid()
            pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
            return [pid for pid in pids if pid != own and self._is_member(pid)]
        try:
            if self._session is not None:
                os.killpg(self._session, 0)
                return [self._session]
        except (ProcessLookupError, PermissionError):
            pass
        return []

    def _is_member(self, pid: int) -> bool:
        """Whether a process belongs here and is more than a zombie."""
        home = _PROC / str(pid)
        try:
            # proc(5): the name in brackets may hold anything; then state, parent, group, session.
            state, _, _, session = (
                (home / "stat").read_bytes().rpartition(b")")[2].split(maxsplit=4)[:4]
            )
            if state in {b"Z", b"X"}:
                return False
            if int(session) == self._session:
                return True
            return self._marker in b"\0" + (home / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
