"""A real daemon for tests: its own process, real HTTP, real files, and real deaths.

Everything else in `testing` runs in the test's own process. What is promised across `kill -9`, to
shell scripts and to idle reapers can be shown from outside only: `DaemonHome` is what outlives a
daemon (its data directory, its environment), `RunningDaemon` is one life in it.

    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with home.running() as daemon:
        await daemon.http.post("/sessions", json={})
        await daemon.kill()
    async with home.running() as daemon:
        ...

A daemon inherits nothing of the test's environment but what `env` says, and it is the very package
that the test has imported: also when that is a changed copy.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

import brainpilot_rt

START_S: Final = 20.0
"""Longest wait for a daemon to say where it listens, or to end after being told to."""


class NotStarted(AssertionError):
    """The process ended, or was silent, before it said where it listens; carries its stderr."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its stdout, a JSON object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(slots=True)
class RunningDaemon:
    """One life of a daemon. `http` carries the token."""

    process: asyncio.subprocess.Process
    ready: dict[str, Any]
    """What `serve --json` printed."""
    http: httpx.AsyncClient
    stderr: Path

    @property
    def url(self) -> str:
        """Base URL, without the token."""
        return str(self.ready["url"])

    @property
    def token(self) -> str:
        """The token, from its file."""
        return _token(self.ready)

    @property
    def mailboxes(self) -> Path:
        """Root of the mailbox directories."""
        return Path(self.ready["mailbox_dir"])

    async def kill(self) -> None:
        """SIGKILL: no clean-up of any kind."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end; its exit code. Raises TimeoutError when it goes on."""
        async with asyncio.timeout(START_S):
            return await self.process.wait()

    def said(self) -> str:
        """Its stderr so far."""
        return self.stderr.read_text(encoding="utf-8", errors="replace")


@dataclass(slots=True)
class DaemonHome:
    """Where daemons live one after the other. `root` is HOME; the data lie in `root`/data."""

    root: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    lives: int = 0

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.root / "data"

    def configure(self, text: str) -> None:
        """Write config.toml."""
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        (self.data_dir / "config.toml").write_text(text, encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        """The whole environment of a process of this home."""
        own = {
            "PATH": os.defpath,
            "HOME": str(self.root),
            "BP_DATA_DIR": str(self.data_dir),
            "PYTHONPATH": str(Path(brainpilot_rt.__file__).parents[1]),
        }
        return {**own, **self.env, **more}

    async def command(self, *arguments: str, **env: str) -> Ended:
        """Run `brainpilot-rt` with these arguments to its end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "brainpilot_rt", *arguments,
            cwd=self.root,
            env=self.environment(**env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_S):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    async def start(self, *arguments: str, **env: str) -> RunningDaemon:
        """`serve --port 0 --json`, and wait for its line. Whoever starts it ends it."""
        self.lives += 1
        stderr = self.root / f"daemon-{self.lives}.log"
        with stderr.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "brainpilot_rt", "serve", "--port", "0", "--json", *arguments,
                cwd=self.root,
                env=self.environment(**env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
            )  # fmt: skip
        assert process.stdout is not None
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
        if not line:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise NotStarted(stderr.read_text(encoding="utf-8", errors="replace"))
        ready: dict[str, Any] = json.loads(line)
        return RunningDaemon(process, ready, _client(ready), stderr)

    @asynccontextmanager
    async def running(self, *arguments: str, **env: str) -> AsyncGenerator[RunningDaemon]:
        """A daemon for as long as the block runs; afterwards it is dead, one way or the other."""
        daemon = await self.start(*arguments, **env)
        try:
            yield daemon
        finally:
            await daemon.http.aclose()
            await daemon.kill()


def _token(ready: dict[str, Any]) -> str:
    return Path(ready["token_file"]).read_text(encoding="ascii").strip()


def _client(ready: dict[str, Any]) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=ready["url"],
        headers={"authorization": f"Bearer {_token(ready)}"},
        timeout=httpx.Timeout(30.0),
        trust_env=False,
    )
