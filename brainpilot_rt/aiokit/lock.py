"""One process per data directory.

The operating system's lock on `daemon.lock` decides, and nothing else: it vanishes with its holder,
however that died. The process id beside it (`daemon.pid`) is only text for a message: it may be
stale, or belong to an unrelated process by then, and must never be signalled for what it says here.

The descriptor is close-on-exec, so that a child which outlives the daemon does not keep the lock;
and there is no fallback to a lock made of a mere file, which a crash would leave behind for ever.

A lock is on a file, not on its name: who deletes the file, or the directory, lets a second process
lock a new one of that name. `in_place` tells the first that this has happened.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout

from brainpilot_rt.aiokit.files import DirHandle, UnsafeFile, read_safely, remove, replace_atomic
from brainpilot_rt.aiokit.pids import started

LOCK_NAME: Final = "daemon.lock"
PID_NAME: Final = "daemon.pid"

_PID_BYTES_MAX: Final = 32
_TELL_S: Final = 1.0
"""How long a new owner may take to write who it is."""
_LOCKS: Final = Path("/proc/locks")


class AlreadyOwned(Exception):
    """Another process holds the directory; `pid` is what it wrote, None when that is unreadable."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        super().__init__(f"{directory} is in use by process {pid or '(unknown)'}")
        self.directory = directory
        self.pid = pid


class InstanceLock:
    """The right to be the one process that works in a directory; a context manager.

    Keep the object: the lock is given back when it is collected.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._identity: tuple[int, int] | None = None
        self._lock = FileLock(
            directory / LOCK_NAME,
            mode=0o600,
            # Taken on one thread, given back on another when the daemon stops.
            thread_local=False,
            fallback_to_soft=False,
        )

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def in_place(self) -> bool:
        """Whether the locked file is still the one that the next process would try to lock."""
        return self.held and self._identity == _identity(self._directory / LOCK_NAME)

    def acquire(self) -> None:
        """Take the lock without waiting. AlreadyOwned when another process, or object, has it.

        The directory must exist: one that has vanished is not made again, empty.
        """
        with DirHandle.open(self._directory) as home:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                pid = _pid_of_holder(self._directory / LOCK_NAME) or _pid_of_owner(home)
                raise AlreadyOwned(self._directory, pid) from None
            self._identity = _identity(self._directory / LOCK_NAME)
            try:
                replace_atomic(home, PID_NAME, f"{os.getpid()}\n".encode(), sync=False)
            except BaseException:
                self._lock.release()
                raise

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if not self.held:
            return
        # The text goes first: once the lock is free the next owner may have written its own.
        if self.in_place():
            with contextlib.suppress(OSError), DirHandle.open(self._directory) as home:
                remove(home, PID_NAME, missing_ok=True)
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _pid_of_holder(lock: Path) -> int | None:
    """Who holds the lock, where the kernel says it: what is written may be another's text yet."""
    try:
        inode = lock.stat().st_ino
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        match line.split():
            case [_, "FLOCK", _, _, pid, place, *_] if place.endswith(f":{inode}"):
                return int(pid) if int(pid) > 0 else None  # -1 or 0: of another pid namespace
            case _:
                pass
    return None


def _pid_of_owner(home: DirHandle) -> int | None:
    """What the owner wrote; waited for when it has just begun, and a dead one's text lies there."""
    until = time.monotonic() + _TELL_S
    while True:
        pid = _pid_written(home)
        if (pid is not None and started(pid) is not None) or time.monotonic() > until:
            return pid
        time.sleep(0.02)


def _pid_written(home: DirHandle) -> int | None:
    try:
        return int(read_safely(home, PID_NAME, _PID_BYTES_MAX))
    except (OSError, UnsafeFile, ValueError):
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
