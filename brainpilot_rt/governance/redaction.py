"""Redaction: secrets are replaced by `[redacted:<kind>]` before anything is written, shown or sent.

Two things count as secret. Exact values somebody configured, in every form they may turn up in: as
they are, inside JSON, URL-encoded, in base64 at any of its three alignments. And the well-known
formats of vendors (`ghp_...`, `AKIA...`, private key blocks), which say themselves what they are.
Nothing is guessed from entropy: a wrong guess would eat hashes and ids.

A text is searched first for the values, and for the beginnings of formats in its few long words;
only where one occurs do expressions run, each searched for at the speed of the plain text it
begins with.

What is streamed is redacted as it would be in one piece: the end of a text that may be the
beginning of a secret waits for the next piece. None is open for much longer than `_BLOCK_CHARS`.

As many lines come out as went in, so that line numbers stay true. Pure.
"""

import base64
import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import quote

from pydantic import BaseModel

from brainpilot_rt.domain.events import TextFinished

_Span: TypeAlias = tuple[int, int, str]
_T = TypeVar("_T")

MARKED: Final = re.compile(r"\[redacted:[A-Za-z0-9_.-]+\]")
"""What stands where a secret stood."""

_CHARS_MIN: Final = 8
_CHARS_SURE: Final = 20
_HEAD_CHARS: Final = 4
_BLOCK_CHARS: Final = 16_384
_FIELDS: Final = "__dataclass_fields__"
_WORD: Final = "A-Za-z0-9_-"


@dataclass(frozen=True, slots=True)
class _Format:
    """A vendor's format."""

    kind: str
    anchor: str
    """The plain text it begins with."""
    body: str
    """Expression of what follows the anchor."""
    unfinished: str
    """Expression of what the end of a text may have cut, after the anchor."""
    after: str = ""
    """Characters it can not follow directly, unless they are the escape of a line break in JSON."""

    def whole(self) -> re.Pattern[str]:
        """Finds a secret of this format."""
        return self._compiled(self.body)

    def cut(self) -> re.Pattern[str]:
        """Finds the beginning of one at the end of a text."""
        return self._compiled(self.unfinished + r"\Z")

    def _compiled(self, rest: str) -> re.Pattern[str]:
        # The look behind comes last: an expression that begins with a literal is searched fast.
        # Compiled when the anchor first occurs, and kept by `re`.
        text = re.escape(self.anchor)
        alone = rf"(?:(?<![{self.after}]{text})|(?<=\\[nrt]{text}))" if self.after else ""
        return re.compile(f"{text}{alone}{rest}")


def _formats() -> Iterator[_Format]:
    plain, word, long = "[A-Za-z0-9]", "[A-Za-z0-9_-]", "{0,255}"
    part = f"{word}{{10,2048}}"
    digit = "(?=[A-Za-z_-]{0,80}[0-9])"
    for letter in "pousr":
        yield _Format("github-token", f"gh{letter}_", f"{plain}{{36,255}}", plain + long)
    yield _Format("github-token", "github_pat_", r"[A-Za-z0-9_]{60,255}", r"[A-Za-z0-9_]{0,255}")
    yield _Format("gitlab-token", "glpat-", f"{word}{{20,255}}", word + long)
    for name in ("AKIA", "ASIA"):
        yield _Format("aws-key", name, f"[A-Z0-9]{{16}}(?!{plain})", "[A-Z0-9]{0,16}", _WORD)
    yield _Format("api-key", "sk-", f"{digit}{word}{{24,255}}", word + long, _WORD)
    for name in ("sk_live_", "sk_test_", "rk_live_", "gsk_", "npm_", "hf_", "xai-"):
        least = 20 if name.startswith(("sk_", "rk_")) else 34
        yield _Format("api-key", name, f"{plain}{{{least},255}}", plain + long, _WORD)
    yield _Format("api-key", "pypi-AgE", f"{word}{{50,255}}", word + long)
    yield _Format("api-key", "SG.", rf"{word}{{22}}\.{word}{{43}}", r"[\w.-]{0,67}", _WORD)
    for letter in "abeoprs":
        yield _Format("slack-token", f"xox{letter}-", f"{digit}{word}{{20,255}}", word + long)
    yield _Format("slack-token", "xapp-", f"{digit}{word}{{30,255}}", word + long, _WORD)
    yield _Format("google-key", "AIza", f"{word}{{35}}(?!{word})", f"{word}{{0,35}}", _WORD)
    yield _Format("google-key", "GOCSPX-", f"{word}{{28}}", f"{word}{{0,28}}", _WORD)
    yield _Format("google-key", "ya29.", f"{word}{{30,255}}", word + long, _WORD)
    yield _Format("jwt", "eyJ", rf"{part}\.eyJ{part}\.{part}", r"[\w.-]{0,6200}", "A-Za-z0-9_.-")
    for name in ("Bearer ", "bearer ", "Authorization: Basic "):
        body = r"(?=[^\s\"']{0,60}[0-9])[A-Za-z0-9._~+/=-]{20,2048}"
        yield _Format("credential", name, body, r"[\w.~+/=-]{0,2048}")
    # Also with what stands before each line in a listing: a number, the name of a file.
    pem = r"(?:[A-Za-z0-9+/=\s\\:,|._]|-(?!----))"
    title = r"(?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    filled = rf"{title}(?={pem}{{0,300}}?[A-Za-z0-9+/]{{30}}){pem}{{0,{_BLOCK_CHARS}}}"
    ending = "-{0,5}(?:E(?:N(?:D(?: [A-Z0-9 ]{0,48}-{0,5})?)?)?)?"
    yield _Format(
        "private-key",
        "-----BEGIN ",
        f"{filled}(?:-----END [A-Z0-9 ]{{0,48}}-----)?",
        f"(?:[A-Z0-9 ]{{0,60}}-{{0,5}}|{title}{pem}{{0,{_BLOCK_CHARS}}}{ending})",
    )


_FORMATS: Final = tuple(_formats())


_SPACED: Final = tuple(one.anchor for one in _FORMATS if " " in one.anchor)
_TIGHT: Final = tuple(one.anchor.encode() for one in _FORMATS if " " not in one.anchor)
_RUN: Final = b"x" * 16
"""A format without a space in its anchor is at least so long, anchor included, without a gap."""
_KEY_CHARS: Final = bytes(
    ord("x" if chr(code) in string.ascii_letters + string.digits + "-_." else " ")
    for code in range(256)
)


def is_secret(value: str) -> bool:
    """Whether a configured value is worth hiding: `lm-studio` is not, and is a word elsewhere."""
    if len(value) < _CHARS_MIN or value.startswith(("/", "~")):
        return False
    return len(value) >= _CHARS_SURE or any(one.isdigit() for one in value)


class Redactor:
    """Knows some values by heart, and the formats. Immutable."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        """`known`: secret value -> its kind, a short name that may be shown."""
        self._known: dict[str, str] = {}
        for value, kind in (known or {}).items():
            label = re.sub(r"[^A-Za-z0-9_.-]", "-", kind) or "secret"
            for form in _forms(value) if is_secret(value) else ():
                self._known.setdefault(form, label)
        anchors = [one.anchor for one in _FORMATS]
        self._needles = tuple(dict.fromkeys([*anchors, *self._known]))
        self._plain = (*_SPACED, *self._known)
        self._short = {one[:n] for one in self._needles for n in range(1, _HEAD_CHARS)}
        self._heads: dict[str, list[str]] = {}
        for one in self._needles:
            self._heads.setdefault(one[:_HEAD_CHARS], []).append(one)

    def text(self, text: str) -> str:
        """The text without secrets."""
        return _replaced(text, self.spans(text), 0) if self._suspect(text) else text

    def value(self, value: _T) -> _T:
        """The same value, with every text in it (keys of dicts included) redacted.

        Knows JSON, tuples, dataclasses and models; the very same object when it holds no secret.
        """
        texts: list[str] = []
        _gather(value, texts)
        return self._rebuilt(value) if self._suspect("\n".join(texts)) else value

    def _suspect(self, text: str) -> bool:
        if any(needle in text for needle in self._plain):
            return True
        runs = _runs(text.encode("utf-8", "replace"))
        return bool(runs) and any(anchor in runs for anchor in _TIGHT)

    def _rebuilt(self, value: _T) -> _T:
        if isinstance(value, str):
            return cast("_T", self.text(value))
        if names := _fields(value):
            old = {name: getattr(value, name) for name in names}
            new = {name: self._rebuilt(one) for name, one in old.items()}
            changed = {name: one for name, one in new.items() if one is not old[name]}
            if isinstance(value, TextFinished) and "text" in changed:
                # Only where a secret became known while it was being said in other chunks.
                changed["chunks"] = (len(changed["text"]),)
            if isinstance(value, BaseModel):
                return cast("_T", value.model_copy(update=changed)) if changed else value
            return cast("_T", replace(cast("Any", value), **changed)) if changed else value
        plain = cast("Any", value)
        if isinstance(plain, dict):
            items = cast("dict[Any, Any]", plain)
            pairs = {self._rebuilt(key): self._rebuilt(one) for key, one in items.items()}
            return cast("_T", pairs) if pairs != items else value
        if isinstance(plain, list | tuple):
            old_items = cast("list[Any]", plain)
            new_items = [self._rebuilt(one) for one in old_items]
            same = all(new is old for new, old in zip(new_items, old_items, strict=True))
            return value if same else cast("_T", type(old_items)(new_items))
        return value

    def spans(self, text: str) -> list[_Span]:
        """Where secrets stand: ascending, not overlapping."""
        found = [
            (at.start(), at.end(), kind)
            for form, kind in self._known.items()
            if form in text
            for at in re.finditer(re.escape(form), text)
        ]
        for one in _FORMATS:
            if one.anchor in text:
                found += [(at.start(), at.end(), one.kind) for at in one.whole().finditer(text)]
        return reduce(_joined, sorted(found), list[_Span]())

    def open_from(self, text: str) -> int:
        """Where the first secret begins that the end of the text may cut; its length if none."""
        ends = len(text)
        first = ends
        for length in range(_HEAD_CHARS - 1, 0, -1):
            if text[-length:] in self._short:
                first = ends - length
                break
        for head, needles in self._heads.items():
            at = text.find(head)
            while 0 <= at < first:
                if any(one.startswith(text[at:]) for one in needles):
                    first = at
                at = text.find(head, at + 1)
        for one in _FORMATS:
            if one.anchor in text and (cut := one.cut().search(text)):
                first = min(first, cut.start())
        return first


class RedactedStream:
    """One text on its way out, piece by piece."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._said = ""
        """The last character that went out: what follows may be in the middle of a word."""
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown now; at times nothing."""
        text = self._said + self._held + piece
        spans = self._redactor.spans(text)
        cut = self._redactor.open_from(text)
        for start, end, _ in reversed(spans):
            if end > cut or end == len(text):
                cut = min(cut, start)
        return self._say(text, [one for one in spans if one[1] <= cut], max(cut, len(self._said)))

    def end(self) -> str:
        """What was held back."""
        text = self._said + self._held
        return self._say(text, self._redactor.spans(text), len(text))

    def _say(self, text: str, spans: list[_Span], cut: int) -> str:
        out = _replaced(text[:cut], spans, len(self._said))
        self._said, self._held = text[:cut][-1:], text[cut:]
        return out


def _runs(raw: bytes) -> bytes:
    """The words that are long enough to be a key, side by side."""
    shape = raw.translate(_KEY_CHARS)
    found: list[bytes] = []
    at = shape.find(_RUN)
    while at >= 0:
        end = shape.find(b" ", at)
        found.append(raw[at : end if end >= 0 else len(raw)])
        at = shape.find(_RUN, end) if end >= 0 else -1
    return b" ".join(found)


def _forms(value: str) -> Iterator[str]:
    """The ways a value may be written."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="")
    raw = value.encode("utf-8", "replace")
    for shift in range(3):
        # Only the characters that no neighbour of the value has a say in.
        end = (shift + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(b"\0" * shift + raw).decode()[(0, 2, 3)[shift] : end]
            if len(form) >= _CHARS_MIN:
                yield form


def _joined(spans: list[_Span], span: _Span) -> list[_Span]:
    if spans and span[0] < spans[-1][1]:
        start, end, kind = spans.pop()
        spans.append((start, max(end, span[1]), kind))
    else:
        spans.append(span)
    return spans


def _replaced(text: str, spans: list[_Span], begin: int) -> str:
    parts: list[str] = []
    for start, end, kind in spans:
        parts += [text[begin:start], f"[redacted:{kind}]", "\n" * text.count("\n", start, end)]
        begin = end
    return "".join([*parts, text[begin:]])


def _fields(value: object) -> Iterable[str]:
    """Names of the fields of a value of ours."""
    if isinstance(value, BaseModel):
        return type(value).model_fields
    return getattr(type(value), _FIELDS, ())


def _gather(value: object, texts: list[str]) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif names := _fields(value):
        for name in names:
            _gather(getattr(value, name), texts)
    elif isinstance(value, dict):
        for key, one in cast("dict[object, object]", value).items():
            _gather(key, texts)
            _gather(one, texts)
    elif isinstance(value, list | tuple):
        for one in cast("tuple[object, ...]", value):
            _gather(one, texts)
