"""The daemon as a child of `up`: started, waited for, stopped. It runs `serve` like anyone would.

The child gets its own process group, so that Ctrl-C at the terminal reaches `up` alone, which then
stops the daemon in an orderly way. What the daemon says goes to `daemon.log` in its data directory.
"""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from brainpilot_rt.cli.client import as_object
from brainpilot_rt.cli.terminal import clean
from brainpilot_rt.settings import Settings

READY_S: Final = 120.0
"""A start that has not become ready by then has failed: recovery of a large log included."""
STOP_S: Final = 20.0
"""The daemon stops within 10 s; twice that is a hang, and then it is killed."""
LOG_LINES_SHOWN: Final = 12


class Child:
    """A daemon that lives as long as its parent wants it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def is_alive(self) -> bool:
        """False once it has exited."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return when the daemon answers; a failed start is told with the daemon's last words."""
        out = self._process.stdout
        if out is not None and select.select([out], [], [], READY_S)[0]:
            line = out.readline()
            if as_object(_json(line)).get("url"):
                return
        self.stop()
        raise click.ClickException(f"the daemon did not start:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of what the daemon said."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return clean("\n".join(text.splitlines()[-LOG_LINES_SHOWN:])) or f"see {self._log}"

    def stop(self) -> int:
        """Ask it to stop, wait, and give its exit code; kills it when it does not."""
        if self.is_alive:
            self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def start(settings: Settings) -> Child:
    """Start `serve` on these settings, on a free port unless the settings name one."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = settings.data_dir / "daemon.log"
    port = settings.http.port if "port" in settings.http.model_fields_set else 0
    words = ["serve", "--json", "--port", str(port), "--host", settings.http.host]
    words += ["--data-dir", str(settings.data_dir), "--mailbox-dir", str(settings.mailbox_dir)]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", "brainpilot_rt", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)
    return Child(process, log)


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
