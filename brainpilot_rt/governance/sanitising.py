"""Results of tools, as a model may read them.

No text that it sees and a person does not, no secret, no path of this machine, not without end.

What hides text goes: terminal codes, control and bidirectional characters, characters without
width, letters written in tags or in rows of variation selectors. What a script or an emoji is made
of stays: a joiner between letters that are not ASCII, one selector, the tags of a flag.
A second time changes nothing. Pure.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_TERMINAL: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]{0,4}[0-~]"
)
_RETURN: Final = re.compile(r"\r(?!\n)")
_TAGS: Final = re.compile(
    r"(\U0001F3F4[\U000E0030-\U000E007A]{1,7}\U000E007F)|[\U000E0000-\U000E007F]"
)
_HIDDEN: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    r"\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a"
    r"\U000e0100-\U000e01ef]"
)
_JOINERS: Final = re.compile(r"[\u200c-\u200f\u061c]+")
_SELECTORS: Final = re.compile(r"([\ufe00-\ufe0f])[\ufe00-\ufe0f]+")
_LEFT_OUT: Final = "\n[... {} characters left out ...]\n"
_ID: Final = "[internal id]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may not come through."""

    chars_max: int = 200_000
    """0: no bound."""
    roots: Mapping[str, str] = field(default_factory=dict[str, str])
    """Folder of this machine -> what a model calls it, such as `/workspace` or `~`."""
    ids: frozenset[str] = frozenset()
    """Names of the daemon's own that mean nothing outside."""
    known_secret: Callable[[str], str] = lambda text: text
    """A text without secrets."""


@dataclass(frozen=True, slots=True)
class Sanitised:
    """A result, and what was done to it: each `<code>: <detail>`."""

    text: str
    reasons: tuple[str, ...] = ()


def sanitised(text: str, rules: Rules) -> Sanitised:
    """The text as a model may read it. What comes out can always be written in UTF-8."""
    reasons: list[str] = []

    def note(code: str, count: int, what: str) -> None:
        if count:
            reasons.append(f"{code}: {count} {what}")

    text = text.encode("utf-8", "replace").decode("utf-8")
    text, count = _TERMINAL.subn("", text)
    note("terminal_codes", count, "removed")
    text, count = without_hidden(text)
    note("hidden_text", count, "characters removed")
    # After what was hidden: a secret may have been cut by it.
    clean = rules.known_secret(text)
    if clean != text:
        reasons.append("secret_detected: masked")
    text, count = _logical(clean, rules.roots)
    note("machine_paths", count, "replaced")
    text, count = _without_ids(text, rules.ids)
    note("internal_ids", count, "replaced")
    if rules.chars_max and len(text) > rules.chars_max:
        reasons.append(f"too_long: {len(text)} characters, {rules.chars_max} may come")
        text = _cut(text, rules.chars_max)
    return Sanitised(text, tuple(reasons))


def without_hidden(text: str) -> tuple[str, int]:
    """The text without characters that hide something, and how many there were."""
    before = len(text)
    text = _RETURN.sub("\n", text)
    if not text.isascii():
        text = _TAGS.sub(lambda found: found[1] or "", text)
    text = _HIDDEN.sub("", text)
    if not text.isascii():
        text = _JOINERS.sub(_joiner, text)
        text = _SELECTORS.sub(r"\1", text)
    return text, before - len(text)


def escaped(text: str) -> str:
    r"""For a person who decides: everything is visible, what would hide as `\u{...}`."""
    pattern = f"{_HIDDEN.pattern}|{_JOINERS.pattern}|[\\r\u2028\u2029\U000e0000-\U000e007f]"
    return re.sub(
        pattern, lambda found: "".join(f"\\u{{{ord(one):04x}}}" for one in found[0]), text
    )


def _joiner(found: re.Match[str]) -> str:
    """One joiner between characters that are not ASCII is part of a script or an emoji."""
    before = found.string[max(0, found.start() - 1) : found.start()]
    after = found.string[found.end() : found.end() + 1]
    belongs = len(found[0]) == 1 and before > "\x7f" and after > "\x7f"
    return found[0] if belongs else ""


def _logical(text: str, roots: Mapping[str, str]) -> tuple[str, int]:
    """Folders of this machine under the names models know; the longest first."""
    known = {one.rstrip("/"): name for one, name in roots.items() if one.rstrip("/")}
    if not any(one in text for one in known):
        return text, 0
    longest = "|".join(re.escape(one) for one in sorted(known, key=len, reverse=True))
    return re.subn(rf"(?<![\w.~-])(?:{longest})(?![\w-]|\.\w)", lambda found: known[found[0]], text)


def _without_ids(text: str, ids: Iterable[str]) -> tuple[str, int]:
    present = sorted((one for one in ids if one and one in text), key=len, reverse=True)
    if not present:
        return text, 0
    words = "|".join(re.escape(one) for one in present)
    return re.subn(rf"(?<![\w-])(?:{words})(?![\w-])", _ID, text)


def _cut(text: str, chars_max: int) -> str:
    """The beginning and, a quarter, the end; together not more than `chars_max`."""
    room = chars_max - len(_LEFT_OUT.format(len(text)))
    if room <= 0:
        return text[:chars_max]
    tail = room // 4
    marker = _LEFT_OUT.format(len(text) - room)
    return text[: room - tail] + marker + text[len(text) - tail :]
