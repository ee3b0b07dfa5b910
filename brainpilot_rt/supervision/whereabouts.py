"""Where a running daemon can be found: `daemon.json` in its data directory, for clients here."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Final

from brainpilot_rt import __version__
from brainpilot_rt.aiokit.files import DirHandle, replace_atomic
from brainpilot_rt.aiokit.pids import started
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.tokens import TOKEN_FILE

DAEMON_FILE: Final = "daemon.json"


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a daemon that is ready can be found."""

    url: str
    pid: int
    token_file: str
    data_dir: str
    mailbox_dir: str
    version: str


def whereabouts(settings: Settings, port: int) -> Ready:
    """How to reach a daemon that listens on `port`."""
    host = "127.0.0.1" if settings.http.host in ("0.0.0.0", "") else settings.http.host  # noqa: S104 - compared, not bound
    shown = f"[{host}]" if ":" in host else host
    return Ready(
        url=f"http://{shown}:{port}",
        pid=os.getpid(),
        token_file=str(settings.data_dir / TOKEN_FILE),
        data_dir=str(settings.data_dir),
        mailbox_dir=str(settings.mailbox_dir),
        version=__version__,
    )


def leave(settings: Settings, ready: Ready, instance_id: str) -> None:
    """Write `daemon.json` (0600) in one step."""
    record = {**asdict(ready), "instance_id": instance_id, "began": started(ready.pid)}
    with DirHandle.open(settings.data_dir) as folder:
        replace_atomic(folder, DAEMON_FILE, json.dumps(record).encode() + b"\n", sync=False)


def take_back(settings: Settings) -> None:
    """Remove `daemon.json`: nobody is here any more."""
    with contextlib.suppress(FileNotFoundError):
        (settings.data_dir / DAEMON_FILE).unlink()
