"""Lives of the real daemon, cheap enough for ten thousand of them.

Most of what a start costs is the import of modules. A *nursery* is a process that has imported them
all, has one thread, no event loop and no open database, and forks a child per life; the child runs
the command `serve` itself, with an environment of its own. `real=True` starts the command line
instead, so that a share of the lives takes the way a user takes.

Linux only: a life is held by its pidfd, so that no signal can reach a stranger.
"""

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NoReturn

import brainpilot_rt
from brainpilot_rt.aiokit.failpoints import TRACE_RECORD
from brainpilot_rt.cli.main import main
from brainpilot_rt.testing.daemon import DaemonHome

START_S: Final = 60.0
"""Longest wait for a daemon to say where it listens, or to be dead after a kill."""

_ARGUMENTS: Final = ("serve", "--port", "0", "--json")
_WARM: Final = (
    "aiosqlite",
    "brainpilot_rt.cli.serve",
    "brainpilot_rt.testing.daemon",
    "httptools",
    "httpx",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
    "watchfiles",
    "yaml",
)
"""What a daemon imports by the time it is ready, as far as it is not imported by these."""
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None)
_PATHS: Final = (Path(brainpilot_rt.__file__).parents[1], Path(__file__).parents[1])


class NotStarted(Exception):
    """The daemon ended, or was silent, before it said where it listens; carries its stderr."""


@dataclass(slots=True)
class Life:
    """One daemon, from its fork to its death."""

    home: DaemonHome
    pid: int
    pidfd: int
    out: IO[bytes]
    """Its stdout: the line that says where it listens, then nothing until its end."""
    stderr: Path
    reap: Any
    """Called once with the pid when it is dead; gives its wait status."""
    born: float = field(default_factory=time.monotonic)
    ready_s: float = 0.0
    """From its birth to its being ready, once it is."""
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    code: int | None = None
    """Exit code, negative for a signal; None while it may live."""

    def ready(self, patience_s: float = START_S) -> dict[str, Any]:
        """What `serve --json` printed. `NotStarted` when the daemon dies or is silent."""
        if not self.told:
            line = self.out.readline() if readable(self.out.fileno(), patience_s) else b""
            if not line.endswith(b"\n"):
                raise NotStarted(self.said())
            self.ready_s = time.monotonic() - self.born
            self.told = json.loads(line)
        return self.told

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(str(self.ready()["url"]).rpartition(":")[2])

    @property
    def token(self) -> str:
        """Its token."""
        return Path(self.ready()["token_file"]).read_text(encoding="ascii").strip()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def alive(self) -> bool:
        """True until it is dead."""
        return self.code is None and not readable(self.pidfd, 0)

    def wait(self, patience_s: float = START_S) -> int:
        """Wait for its end; the exit code, negative for a signal. TimeoutError when it goes on."""
        if self.code is None:
            if not readable(self.pidfd, patience_s):
                raise TimeoutError(f"daemon {self.pid} goes on: {self.said()[-2000:]}")
            self.code = os.waitstatus_to_exitcode(self.reap(self.pid))
            os.close(self.pidfd)
            self.out.close()
        return self.code

    def kill(self) -> int:
        """SIGKILL, and wait for the death."""
        if self.code is None:
            self.send(signal.SIGKILL)
        return self.wait()

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        self.send(signal.SIGTERM)
        return self.wait()

    def said(self) -> str:
        """Its stderr so far."""
        with contextlib.suppress(FileNotFoundError):
            return self.stderr.read_text(encoding="utf-8", errors="replace")
        return ""

    def descriptors(self) -> list[str]:
        """What its file descriptors point to."""
        found: list[str] = []
        for one in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(one.readlink()))
        return found


def readable(fd: int, patience_s: float) -> bool:
    """Wait until there is something to read; unlike `select`, whatever the descriptor's number."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(patience_s * 1000))


class Nursery:
    """A process with everything imported that forks daemons. One may be used by many threads."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._lock = threading.Lock()
        self._lines = ours.makefile("rb")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proof.life"],
                cwd=_PATHS[1],
                env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, _PATHS))},
                stdin=theirs.fileno(),
            )

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, home: DaemonHome, *, real: bool = False, **env: str) -> Life:
        """Begin a life in `home`; does not wait until it is ready."""
        home.lives += 1
        stderr = home.root / "daemon.log"
        out, inner = os.pipe()
        with stderr.open("ab") as errors, os.fdopen(inner, "wb") as outwards:
            if real:
                return _commanded(
                    home, env, os.fdopen(out, "rb", buffering=0), outwards, stderr, errors
                )
            order = {"cwd": str(home.root), "env": home.environment(**env)}
            with self._lock:
                data = json.dumps(order).encode() + b"\n"
                socket.send_fds(self._socket, [data], [outwards.fileno(), errors.fileno()])
                pid = int(self._lines.readline())
                # Not reaped before we ask for it, so the number is still this child's.
                pidfd = os.pidfd_open(pid)
        return Life(home, pid, pidfd, os.fdopen(out, "rb", buffering=0), stderr, self._reap)

    def close(self) -> None:
        """End the nursery; no life that it forked outlives it."""
        self._lines.close()
        self._socket.close()
        self._process.wait()

    def _reap(self, pid: int) -> int:
        with self._lock:
            self._socket.sendall(json.dumps({"reap": pid}).encode() + b"\n")
            return int(self._lines.readline())


def _commanded(
    home: DaemonHome,
    env: dict[str, str],
    out: IO[bytes],
    outwards: IO[bytes],
    stderr: Path,
    errors: IO[bytes],
) -> Life:
    environment = home.environment(**env)
    environment.setdefault("PYTHONPATH", str(_PATHS[0]))
    process = subprocess.Popen(
        [sys.executable, "-m", "brainpilot_rt", *_ARGUMENTS],
        cwd=home.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=outwards,
        stderr=errors,
        start_new_session=True,
    )

    def reap(pid: int) -> int:
        _, status = os.waitpid(pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return status

    return Life(home, process.pid, os.pidfd_open(process.pid), out, stderr, reap)


class Trace:
    """The file in which a traced daemon says which failpoint it hit last, as it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self._fd: int | None = None

    @property
    def spec(self) -> str:
        """The part of FAILPOINTS that asks for the trace."""
        return f"*=trace:{self.path}"

    def last(self) -> tuple[str, int]:
        """Name hit last and when (monotonic nanoseconds); ("", 0) before the first."""
        if self._fd is None:
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return "", 0
        data = os.pread(self._fd, TRACE_RECORD.size, 0)
        if len(data) < TRACE_RECORD.size:
            return "", 0
        name, at_ns = TRACE_RECORD.unpack(data)
        return name.rstrip(b"\0").decode("ascii", "replace"), at_ns

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def marked(prefix: str) -> list[int]:
    """Living processes whose environment carries a tool marker that starts with `prefix`."""
    wanted = f"={prefix}".encode()
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry.name}/environ", "rb") as file:  # noqa: PTH123 - hot
                    environment = file.read()
                if wanted in environment:
                    found.append(int(entry.name))
    return found


def _nurse() -> None:
    """The nursery's own life: fork on demand, reap on demand, end with its socket."""
    for name in _WARM:
        importlib.import_module(name)
    gc = importlib.import_module("gc")
    gc.collect()
    gc.freeze()
    orders = socket.socket(fileno=0)
    while True:
        data, fds, _, _ = socket.recv_fds(orders, 1 << 20, 2)
        if not data:
            return
        while not data.endswith(b"\n"):
            data += orders.recv(1 << 20)
        order: dict[str, Any] = json.loads(data)
        if "reap" in order:
            answer = os.waitpid(order["reap"], 0)[1]
        else:
            answer = os.fork()
            if answer == 0:
                _live(order, orders, *fds)
            for fd in fds:
                os.close(fd)
        orders.sendall(b"%d\n" % answer)


def _live(order: dict[str, Any], orders: socket.socket, out: int, errors: int) -> NoReturn:
    """In the child: become the daemon."""
    code: Any = 70
    try:
        orders.detach()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((null, out, errors)):
            os.dup2(fd, number)
            os.close(fd)
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(order["cwd"])
        os.environ.clear()  # noqa: TID251 - the daemon's environment is this child's
        os.environ.update(order["env"])  # noqa: TID251 - the same
        main(_ARGUMENTS)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException as fault:
        sys.excepthook(type(fault), fault, fault.__traceback__)
        raise
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _nurse()
