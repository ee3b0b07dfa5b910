"""Halves of characters: JSON can carry them, UTF-8, the log and every wire can not.

A provider that cuts its stream by UTF-16 units sends an emoji as two halves in two events; a model
can write one half by itself. Halves that meet become the character, a half that stays alone becomes
U+FFFD.
"""

import json
from typing import Any, cast


def mended(text: str) -> str:
    """The text with halves joined and lone ones replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def mended_json(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with every text in it mended."""
    text = json.dumps(value, ensure_ascii=False)
    whole = mended(text)
    return value if whole is text else cast("dict[str, Any]", json.loads(whole))


class Halves:
    """Mends a text that arrives in pieces: a first half waits for the piece with the second."""

    def __init__(self) -> None:
        self._held = ""

    def take(self, piece: str) -> str:
        """What can be said now."""
        text = self._held + piece
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return mended(text)
