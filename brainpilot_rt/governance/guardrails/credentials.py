"""Secrets: the formats of vendors (as `redaction` knows them), and values that are called secret.

A value counts when a word before it says what it is and it looks drawn by lot: not a placeholder,
not words of a language, not a name in a program. Pure.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from brainpilot_rt.governance.guardrails.hits import REACH, Check, Hints, Hit, lowered, run_at_end
from brainpilot_rt.governance.guardrails.pii import WORD
from brainpilot_rt.governance.redaction import Redactor

_FORMATS: Final = Redactor()
_PASSWORDS: Final = ("password", "passwd", "passphrase", "pwd", "密码", "口令")
_KEYS: Final = (
    *("secret", "token", "api_key", "apikey", "api-key", "api key", "access_key", "access key"),
    *("private_key", "credential", "密钥", "令牌"),
)
_HINTS: Final = Hints((*_PASSWORDS, *_KEYS))
_NAME: Final = r"[A-Za-z0-9_-]{0,24}[\"'`*\]]{0,3}[ \t]{0,3}"
_IS: Final = r"(?:=>|:=|==?|[:\uff1a=]|is(?: now)?\b|是|为)"
_OPENS: Final = r"[ \t]{0,3}[\"'`*]{0,3}"
_VALUE: Final = r"[!#$%*+./0-9:=?@A-Z\\^_a-z|~-]"
_ASSIGNED: Final = re.compile(rf"{_NAME}{_IS}{_OPENS}({_VALUE}{{6,128}})(?![(\[{{]|{_VALUE})")
_IN_ADDRESS: Final = re.compile(r"://[!-.0-9;-?A-~]{0,64}:([!-.0-?A-~]{3,100})@")
_PUBLIC: Final = re.compile(
    r"(?:page|next|prev|previous|continuation|csrf|sync|cursor|public)[_-]?\Z"
)
_PLACEHOLDER: Final = re.compile(
    r"your|example|xxx|\*\*\*|\.\.\.|…|change|placeholder|redacted|dummy|sample|insert|enter|todo"
    r"|replace|not[_-]?set|password|passwd|^\$|%\w|^env|environ|getenv|base64|sha-?[0-9]|argon2|bcrypt|pbkdf2|oauth2|aes-?[0-9]|^/|^~|://|\\n"
)
_PROGRAM: Final = re.compile(r"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+[.:]?\Z")
_WORD: Final = re.compile(r"[A-Za-z]*\Z")
_PART: Final = re.compile(r"(?:[A-Za-z]?[a-z]*|[A-Z]*|[A-Za-z]{1,3}[0-9]{1,2}|[0-9]{1,4})\Z")
_KINDS: Final = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]", r"[^\sA-Za-z0-9]")))
_SHORT: Final = 16
_BITS_MIN: Final = 3.0
"""Per character; words have less variety at that length, keys more."""


def find(text: str) -> Iterator[Hit]:
    """Secrets in a text."""
    # The quick look first: a text without secrets comes back as it is.
    if _FORMATS.text(text) is not text:
        for start, end, kind in _FORMATS.spans(text):
            yield Hit(start, end, kind, 0.97, f"a secret in the format of its vendor ({kind})")
    lower = lowered(text)
    for at, word in _HINTS.places(lower):
        said = _ASSIGNED.match(text, at + len(word))
        if said and not _PUBLIC.search(lower[max(0, at - 14) : at]):
            value = said[1].rstrip(".:!?")
            named = _PROGRAM.match(said[1])
            if not named and (confidence := _confidence(value, password=word in _PASSWORDS)):
                start = said.start(1)
                yield Hit(start, start + len(value), "secret", confidence, f"called a {word}")
    at = text.find("://")
    while at >= 0:
        said = _IN_ADDRESS.match(text, at)
        if said and not _PLACEHOLDER.search(said[1].lower()) and said[1].lower() != "pass":
            yield Hit(said.start(1), said.end(1), "secret", 0.9, "a password in an address")
        at = text.find("://", at + 1)


def open_from(text: str) -> int:
    """Where a secret may have been cut; a value is one word, whatever stands before it."""
    return min(_FORMATS.open_from(text), run_at_end(text, WORD, REACH))


def _confidence(value: str, *, password: bool) -> float:
    """How surely a value is secret; 0: it is not."""
    lower = value.lower()
    if _PLACEHOLDER.search(lower) or _is_words(value, password=password):
        return 0.0
    kinds = sum(one.search(value) is not None for one in _KINDS)
    if password:
        return 0.85 if kinds > 1 else 0.0
    drawn = len(value) >= _SHORT and kinds > 1 and any(one.isdigit() for one in value)
    return 0.88 if drawn and bits(value) >= _BITS_MIN else 0.0


def _is_words(value: str, *, password: bool) -> bool:
    part = _WORD if password else _PART
    return all(part.match(one) for one in re.split(r"[-_./:@#]", value))


def bits(value: str) -> float:
    """Entropy per character."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())


CHECK: Final = Check("secrets", find, open_from)
