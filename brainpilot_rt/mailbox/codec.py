"""Bytes of a letter to a value and back; pure, and stricter than the standard library.

A letter file is written by anyone: a shell script, another program, an attacker's attachment that a
script moved. So the whole of it is judged before any of it is believed. The standard parser takes
the last of two equal keys, NaN, numbers that overflow to infinity, lone surrogates that later fail
at the database, UTF-16 and byte order marks; each of these is refused here, by a word that stays
the same between versions (`Reason`). Size comes first, so that nothing large is ever parsed.

Whether a well-formed letter may be delivered is not decided here.
"""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeVar, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from brainpilot_rt.domain.ids import ULID
from brainpilot_rt.domain.letters import LETTER_VERSION, ForeignLetter, Letter
from brainpilot_rt.domain.values import Value, first_problem

LETTER_BYTES_MAX: Final = 256 * 1024
"""Bytes of one letter file; longer text belongs into a workspace file."""
DEPTH_MAX: Final = 64
"""Arrays and objects inside each other."""
VALUES_MAX: Final = 10_000
"""Values in one letter, counting every key, member and element."""

_WHITESPACE: Final = " \t\r\n"
_INTEGER_DIGITS_MAX: Final = 19
_INTEGER_MAX: Final = 2**63 - 1
_DETAIL_CHARS_MAX: Final = 500

SomeValue = TypeVar("SomeValue", bound=Value)


class Reason(StrEnum):
    """Why a file was refused. Programs may rely on these words."""

    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    BYTE_ORDER_MARK = "byte_order_mark"
    NOT_JSON = "not_json"
    TRAILING_GARBAGE = "trailing_garbage"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_VALUES = "too_many_values"
    DUPLICATE_KEY = "duplicate_key"
    BAD_NUMBER = "bad_number"
    BAD_TEXT = "bad_text"
    NEWER_VERSION = "newer_version"
    INVALID_FIELD = "invalid_field"
    MISROUTED = "misrouted"
    WRONG_SESSION = "wrong_session"
    WRONG_ID = "wrong_id"
    ILLEGAL_NAME = "illegal_name"
    SYMLINK = "symlink"
    HARD_LINK = "hard_link"
    NOT_A_FILE = "not_a_file"
    NOT_OURS = "not_ours"
    UNREADABLE = "unreadable"
    CONFLICT = "conflict"
    """Another letter already has this id."""
    REJECTED = "rejected"
    """Well formed, but the session does not take it; the detail says why."""


PERHAPS_UNFINISHED: Final = frozenset(
    {Reason.EMPTY, Reason.NOT_UTF8, Reason.NOT_JSON, Reason.HARD_LINK, Reason.UNREADABLE}
)
"""What a file may look like while a writer that skips `tmp/` is still at work on it."""


class BadLetter(ValueError):
    """The bytes are no letter. `reason` is for programs, `detail` for the person who wrote it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:_DETAIL_CHARS_MAX]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterLimits:
    """Bounds checked on every letter file before it is believed."""

    bytes_max: int = LETTER_BYTES_MAX
    depth_max: int = DEPTH_MAX
    values_max: int = VALUES_MAX


DEFAULT_LIMITS: Final = LetterLimits()


def decode_foreign(data: bytes, limits: LetterLimits = DEFAULT_LIMITS) -> ForeignLetter:
    """Read what another process wrote; `BadLetter` and nothing else when it is no letter."""
    return _decode(ForeignLetter, data, limits)


def decode(data: bytes, limits: LetterLimits = DEFAULT_LIMITS) -> Letter:
    """Read a fully stamped letter, as the daemon wrote it; `BadLetter` when it is none."""
    return _decode(Letter, data, limits)


def encode(letter: Letter) -> bytes:
    """Write a letter as one line of compact JSON; `BadLetter` if some text in it is no Unicode."""
    try:
        return letter.model_dump_json(exclude_none=True).encode() + b"\n"
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        raise BadLetter(Reason.BAD_TEXT, str(error)) from None


def check_address(letter: ForeignLetter, session: str, agent: str, stem: str) -> None:
    """Raise `BadLetter` if the letter contradicts the place it lies in.

    `stem` is the file's name without `.json`. A file whose stem is no ULID gets a fresh one, so it
    cannot say its own id.
    """
    if letter.to != agent:
        detail = f"to is {letter.to[:80]!r}, the mailbox is that of {agent!r}"
        raise BadLetter(Reason.MISROUTED, detail)
    if letter.session not in {None, session}:
        detail = f"session is {str(letter.session)[:80]!r}, the mailbox is in {session!r}"
        raise BadLetter(Reason.WRONG_SESSION, detail)
    if letter.id is None or (letter.id == stem and ULID.fullmatch(stem)):
        return
    detail = f"id is {letter.id[:80]!r}; leave it out, or name the file <id>.json with a ULID"
    raise BadLetter(Reason.WRONG_ID, detail)


def parse_object(data: bytes, limits: LetterLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Parse one JSON object under all rules of the protocol that hold for any JSON file in it."""
    if len(data) > limits.bytes_max:
        raise BadLetter(Reason.TOO_LARGE, f"more than {limits.bytes_max} bytes")
    parsed = _parse(_text_of(data), limits)
    if not isinstance(parsed, dict):
        raise BadLetter(Reason.NOT_AN_OBJECT, "the file must hold one JSON object")
    found = cast("dict[str, Any]", parsed)
    _walk(found, limits)
    return found


def _decode(kind: type[SomeValue], data: bytes, limits: LetterLimits) -> SomeValue:
    found = parse_object(data, limits)
    version = found.get("v", LETTER_VERSION)
    if type(version) is int and version > LETTER_VERSION:
        detail = f"v is {version}; this daemon reads up to v {LETTER_VERSION}"
        raise BadLetter(Reason.NEWER_VERSION, detail)
    try:
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BadLetter(Reason.INVALID_FIELD, first_problem(error, "letter")) from None


def _text_of(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BadLetter(Reason.BYTE_ORDER_MARK, "write UTF-8 without a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLetter(Reason.NOT_UTF8, f"byte {error.start}: {error.reason}") from None
    if not text.strip(_WHITESPACE):
        raise BadLetter(Reason.EMPTY, "the file holds nothing")
    return text


def _parse(text: str, limits: LetterLimits) -> object:
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        parsed, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        detail = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise BadLetter(Reason.NOT_JSON, detail) from None
    except RecursionError:
        raise BadLetter(Reason.TOO_DEEP, f"more than {limits.depth_max} levels") from None
    if text[end:].strip(_WHITESPACE):
        raise BadLetter(Reason.TRAILING_GARBAGE, f"something follows the object at {end}")
    return parsed


def _walk(root: dict[str, Any], limits: LetterLimits) -> None:
    """Check depth, count and text of everything parsed, without recursion."""
    count = 0
    level: list[Any] = [root]
    for _ in range(limits.depth_max):
        below: list[Any] = []
        for parent in level:
            members: list[Any] = (
                [*parent, *parent.values()] if isinstance(parent, dict) else list(parent)
            )
            count += len(members)
            if count > limits.values_max:
                raise BadLetter(Reason.TOO_MANY_VALUES, f"more than {limits.values_max} values")
            for member in members:
                if isinstance(member, str):
                    _check_text(member)
            below += [member for member in members if isinstance(member, dict | list)]
        if not below:
            return
        level = below
    raise BadLetter(Reason.TOO_DEEP, f"more than {limits.depth_max} levels")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise BadLetter(Reason.BAD_TEXT, "a NUL character in a text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        lone = f"U+{ord(text[error.start]):04X}"
        raise BadLetter(Reason.BAD_TEXT, f"a lone surrogate {lone} in a text") from None


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) <= _INTEGER_DIGITS_MAX:
        number = int(digits)
        if -_INTEGER_MAX - 1 <= number <= _INTEGER_MAX:
            return number
    raise BadLetter(Reason.BAD_NUMBER, f"{digits[:24]} does not fit into 64 bits")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isfinite(number):
        return number
    raise BadLetter(Reason.BAD_NUMBER, f"{digits[:24]} is too large")


def _no_constant(word: str) -> NoReturn:
    raise BadLetter(Reason.BAD_NUMBER, f"{word} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, member in pairs:
        if key in found:
            raise BadLetter(Reason.DUPLICATE_KEY, f"{key[:80]!r} is there twice")
        found[key] = member
    return found


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_no_constant,
    parse_float=_float,
    parse_int=_integer,
)
