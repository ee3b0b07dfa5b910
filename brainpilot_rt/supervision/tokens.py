"""The token of the daemon: 256 bits in a 0600 file, made once, read again when the file changes.

Further clients may have tokens of their own, good for less, and taken back one by one: of these
only the hashes are kept.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from brainpilot_rt.aiokit.files import DirHandle, replace_atomic
from brainpilot_rt.governance.access import Scope

TOKEN_FILE = "token"  # noqa: S105 - the name of the file
CLIENTS_FILE = "clients.json"


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


class ClientTokens:
    """Tokens of further clients: `clients.json` (0600), name -> [SHA-256 of the token, scope]."""

    _FORM = TypeAdapter(dict[str, tuple[str, Scope]])

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir
        self._seen: tuple[int, int] | None = None
        self._scopes: Mapping[str, Scope] = {}

    def issue(self, name: str, scope: Scope) -> str:
        """A token for a client; one that it had before is dead."""
        token = secrets.token_urlsafe(32)
        self._write({**self._entries(), name: (hashlib.sha256(token.encode()).hexdigest(), scope)})
        return token

    def revoke(self, name: str) -> bool:
        """Take a client's token back; False when it has none."""
        entries = self._entries()
        if entries.pop(name, None) is None:
            return False
        self._write(entries)
        return True

    def listed(self) -> Mapping[str, Scope]:
        """The clients, and what each may do."""
        return {name: scope for name, (_, scope) in self._entries().items()}

    def read(self) -> Mapping[str, Scope]:
        """Hash of each token -> scope, as the file says it now; a broken file lets nobody in."""
        try:
            found = (self._folder / CLIENTS_FILE).stat()
        except OSError:
            return {}
        mark = (found.st_mtime_ns, found.st_ino)
        if mark != self._seen:
            try:
                self._scopes = dict(self._entries().values())
            except (OSError, ValidationError):
                self._scopes = {}
            self._seen = mark
        return self._scopes

    def _entries(self) -> dict[str, tuple[str, Scope]]:
        try:
            return self._FORM.validate_json((self._folder / CLIENTS_FILE).read_bytes())
        except FileNotFoundError:
            return {}

    def _write(self, entries: Mapping[str, tuple[str, Scope]]) -> None:
        data = json.dumps(entries, indent=1).encode() + b"\n"
        with DirHandle.open(self._folder) as folder:
            replace_atomic(folder, CLIENTS_FILE, data, mode=0o600, sync=True)
