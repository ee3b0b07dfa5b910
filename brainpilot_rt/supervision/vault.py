"""Secrets that were given over HTTP: keys of guardrail providers, credentials of MCP servers.

They lie in `vault.json` (0600, in the data directory) and nowhere else: records, the log and every
answer name them at most. What is kept here is known as secret before it is written, and is replaced
wherever else it turns up.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from brainpilot_rt.aiokit.files import DirHandle, replace_atomic
from brainpilot_rt.domain.errors import Busy, Conflict, TooLarge

VAULT_FILE: Final = "vault.json"
SECRETS_MAX: Final = 1_000
SECRET_CHARS_MAX: Final = 8_192
_FORM: Final = TypeAdapter(dict[str, str])

_log = logging.getLogger(__name__)


class Vault:
    """The secrets by name, such as `guardrail:<id>`."""

    def __init__(self, data_dir: Path, learn: Callable[[Mapping[str, str]], None]) -> None:
        """`learn`: told each secret and what it is (`Secrets.learn`)."""
        self._folder = data_dir
        self._learn = learn
        self._alone = asyncio.Lock()
        self._broken = False
        self._kept: dict[str, str] = {}
        try:
            self._kept = _FORM.validate_json((data_dir / VAULT_FILE).read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            self._broken = True
            _log.error("%s can not be read: %s", VAULT_FILE, type(error).__name__)
        learn({secret: name for name, secret in self._kept.items()})

    def get(self, name: str) -> str | None:
        """A secret, or None."""
        return self._kept.get(name)

    async def put(self, name: str, secret: str) -> None:
        """Keep a secret; durable when it returns."""
        if len(secret) > SECRET_CHARS_MAX:
            raise TooLarge(f"a secret has at most {SECRET_CHARS_MAX:,} characters")
        async with self._alone:
            if name not in self._kept and len(self._kept) >= SECRETS_MAX:
                raise Busy(f"at most {SECRETS_MAX:,} secrets are kept")
            self._learn({secret: name})
            await self._write({**self._kept, name: secret})

    async def delete(self, name: str) -> bool:
        """Keep it no more; False when it was not there. It stays known as secret."""
        async with self._alone:
            if name not in self._kept:
                return False
            await self._write({key: one for key, one in self._kept.items() if key != name})
            return True

    async def _write(self, kept: dict[str, str]) -> None:
        if self._broken:
            raise Conflict(f"{VAULT_FILE} can not be read; repair or remove it, then start again")
        await asyncio.to_thread(self._replace, json.dumps(kept, indent=1).encode() + b"\n")
        self._kept = kept

    def _replace(self, data: bytes) -> None:
        with DirHandle.open(self._folder) as folder:
            replace_atomic(folder, VAULT_FILE, data, mode=0o600, sync=True)
