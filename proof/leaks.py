"""Canaries: made-up secrets, put wherever secrets may be and looked for wherever they may not.

Known ones are what a user configures; they may look like anything. The others have the form a
vendor gives its keys, and turn up in files, mail and words.
"""

import base64
import json
import random
import sqlite3
import string
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

_ALNUM: Final = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Canaries:
    """Thirty secrets by the place they are put in."""

    known: Mapping[str, str]
    """Configured: environment, settings, providers.json; the daemon's own token is added later."""
    formed: Mapping[str, str]
    """Of a vendor's form."""

    @property
    def all(self) -> dict[str, str]:
        """Name -> secret."""
        return {**self.known, **self.formed}


def hatch(seed: int) -> Canaries:
    """New ones."""
    rng = random.Random(seed)

    def some(length: int, of: str = _ALNUM) -> str:
        return "".join(rng.choices(of, k=length))

    def pem(kind: str) -> str:
        lines = "\n".join(some(64) for _ in range(5))
        return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"

    known = {
        "env key": some(32),
        "env token": f"{some(10)}-{some(10)}_9",
        "env password": f'p4 "{some(8)}\\{some(6)}/é',
        "env address": some(14) + "7",
        "env secret": some(40, _ALNUM + "/+"),
        "settings key": some(24),
        "profile key": some(48),
        "profile key by name": some(20) + "1",
        "profile address": some(12) + "3",
    }
    formed = {
        "file .env": f"ghp_{some(36)}",
        "file config": f"AKIA{some(16, string.ascii_uppercase + string.digits)}",
        "file id_rsa": pem("RSA PRIVATE KEY"),
        "file key.pem": pem("PRIVATE KEY"),
        "file cookie": f"eyJ{some(30)}.eyJ{some(40)}.{some(43)}",
        "file notes": f"xoxb-{some(12, string.digits)}-{some(24)}",
        "file indexed": f"AIza{some(35)}",
        "file listing": f"hf_{some(34)}",
        "file name": f"glpat-{some(19)}7",
        "tool output": f"sk-proj-{some(60)}8",
        "tool argument": f"github_pat_{some(70)}",
        "tool name": f"npm_{some(36)}",
        "unknown tool": f"sk_live_{some(30)}",
        "error body": f"sk-ant-api03-{some(80)}4",
        "model text": f"SG.{some(22)}.{some(43)}",
        "model thought": f"Bearer {some(40)}5",
        "agent mail": f"gsk_{some(48)}",
        "foreign mail": f"ghs_{some(36)}",
        "user text": f"xai-{some(60)}",
        "title": f"ya29.{some(50)}",
        "address of a request": f"gho_{some(36)}",
    }
    return Canaries(known, formed)


def forms(secret: str, *, known: bool) -> Iterator[str]:
    """What is looked for: the secret itself, and what it is turned into on its ways.

    In base64 only a value known by heart can be recognised, not a form.
    """
    heart = secret.split("\n")[1] if "\n" in secret else secret
    yield heart
    yield json.dumps(heart)[1:-1]
    yield json.dumps(json.dumps(heart))[3:-3]
    yield json.dumps(heart, ensure_ascii=False)[1:-1]
    yield quote(heart, safe="")
    for shift in range(3 if known else 0):
        code = base64.b64encode(b"\0" * shift + heart.encode()).decode()
        yield code[4 if shift else 0 : -4]


def found(
    canaries: Mapping[str, str], known: Collection[str], sink: str, content: bytes | str
) -> list[str]:
    """Which of them are in what was written there. `known`: names of those known by heart."""
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    return [
        f"{name} is in {sink}: {form[:12]}..."
        for name, secret in canaries.items()
        for form in dict.fromkeys(forms(secret, known=name in known))
        if form in text
    ]


def decoded(database: Path) -> str:
    """Every value of every table, as text."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return "\n".join(connection.iterdump())
