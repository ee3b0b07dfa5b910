"""The token of the daemon: 256 bits in a 0600 file, made once, read again when the file changes."""

import secrets
from collections.abc import Callable
from pathlib import Path

from brainpilot_rt.aiokit.files import DirHandle, replace_atomic

TOKEN_FILE = "token"  # noqa: S105 - the name of the file


class TokenFile:
    """The token as the file says it now, so that a rotation counts from the next request on."""

    def __init__(self, data_dir: Path, on_change: Callable[[str], None] = lambda _: None) -> None:
        """`on_change`: told each token when it is first read."""
        self.path = data_dir / TOKEN_FILE
        self._on_change = on_change
        self._seen: tuple[int, int] | None = None
        self._token = ""

    def ensure(self) -> str:
        """The token; made if there is none."""
        if not self.path.exists():
            self.rotate()
        return self.read()

    def rotate(self) -> str:
        """Replace the token by a new one in one step."""
        token = secrets.token_urlsafe(32)
        with DirHandle.open(self.path.parent) as folder:
            replace_atomic(folder, TOKEN_FILE, token.encode() + b"\n", mode=0o600, sync=True)
        return token

    def read(self) -> str:
        """The present token; an empty file or a missing one lets nobody in."""
        try:
            found = self.path.stat()
        except OSError:
            return ""
        mark = (found.st_mtime_ns, found.st_ino)
        if mark != self._seen:
            self._token = self.path.read_text(encoding="ascii").strip()
            self._seen = mark
            self._on_change(self._token)
        return self._token
