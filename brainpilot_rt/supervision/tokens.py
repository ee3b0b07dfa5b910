"""The token of the daemon: 256 bits in a 0600 file, made once, read again when the file changes.

Further clients may have tokens of their own, good for less, and taken back one by one: of these
only the hashes are kept.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from brainpilot_rt.aiokit.files import DirHandle, replace_atomic
from brainpilot_rt.governance.access import Scope

TOKEN_FILE = "token"  # noqa: S105 - the name of the file
CLIENTS_FILE = "clients.json"
_LASTING: Final = 2
"""Members of the entry of a token without an end."""


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


Client: TypeAlias = tuple[str, Scope] | tuple[str, Scope, int]
"""SHA-256 of the token, what it is good for, and until when (Unix milliseconds) if it ends."""


class ClientTokens:
    """Tokens of further clients: `clients.json` (0600), by name."""

    _FORM = TypeAdapter(dict[str, Client])

    def __init__(self, data_dir: Path, now_ms: Callable[[], int] | None = None) -> None:
        """`now_ms`: the wall clock; without it a token that ends counts as ended."""
        self._folder = data_dir
        self._now_ms = now_ms
        self._seen: tuple[int, int] | None = None
        self._clients: Mapping[str, Client] = {}
        self._scopes: Mapping[str, Scope] = {}

    def issue(self, name: str, scope: Scope, until_ms: int | None = None) -> str:
        """A token for a client; one that it had before is dead; what has ended is forgotten."""
        token = secrets.token_urlsafe(32)
        digest = hashlib.sha256(token.encode()).hexdigest()
        client = (digest, scope) if until_ms is None else (digest, scope, until_ms)
        known = self._entries()
        if self._now_ms is not None:
            known = {key: one for key, one in known.items() if not self._over(one)}
        self._write({**known, name: client})
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
        return {name: one[1] for name, one in self._entries().items()}

    def name_of(self, token: str) -> str | None:
        """Which client a token is of."""
        self.read()
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = (name for name, one in self._clients.items() if one[0] == digest)
        return next(found, None)

    def read(self) -> Mapping[str, Scope]:
        """Hash of each token -> scope, as the file says it now; a broken file lets nobody in."""
        try:
            found = (self._folder / CLIENTS_FILE).stat()
        except OSError:
            return {}
        mark = (found.st_mtime_ns, found.st_ino)
        if mark != self._seen:
            try:
                self._clients = self._entries()
            except (OSError, ValidationError):
                self._clients = {}
            lasting = [one for one in self._clients.values() if len(one) == _LASTING]
            self._scopes = {one[0]: one[1] for one in lasting}
            self._seen = mark
        if len(self._scopes) == len(self._clients):
            return self._scopes
        return {one[0]: one[1] for one in self._clients.values() if not self._over(one)}

    def _over(self, client: Client) -> bool:
        match client:
            case (_, _, until_ms):
                return self._now_ms is None or self._now_ms() >= until_ms
            case _:
                return False

    def _entries(self) -> dict[str, Client]:
        try:
            return self._FORM.validate_json((self._folder / CLIENTS_FILE).read_bytes())
        except FileNotFoundError:
            return {}

    def _write(self, entries: Mapping[str, Client]) -> None:
        data = json.dumps(entries, indent=1).encode() + b"\n"
        with DirHandle.open(self._folder) as folder:
            replace_atomic(folder, CLIENTS_FILE, data, mode=0o600, sync=True)
