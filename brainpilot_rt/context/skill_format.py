"""The format of `SKILL.md`: front matter between two `---` lines, then instructions. Pure.

The published Agent Skills format is the rule, and `skills-ref` its reference: on what is valid we
agree with it, but for the differences that `tests/unit/context/test_skill_agreement.py` lists. The
front matter is read as the reference reads it: a small part of YAML in which every value is text,
without flow style, tags, anchors and repeated keys. So it is read from the events of the YAML
parser: nothing is constructed, nothing refers to anything, and nesting is bounded.

Reading is lenient where validating is strict. Every problem is named with what to do, and what can
be read is read nevertheless, since libraries in use are older than the format. Only a file that
does not say what the skill is good for is broken.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

import yaml

NAME_MAX: Final = 64
DESCRIPTION_MAX: Final = 1024
COMPATIBILITY_MAX: Final = 500
FRONT_CHARS_MAX: Final = 8 * 1024
"""Longest front matter that is parsed: several times what the limits of its fields add up to."""

_FIELDS: Final = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
_DEPTH_MAX: Final = 8
# For each token the scanner looks at every bracket that is open: thousands of them take minutes.
_BRACKETS_MAX: Final = 100
_OPENING: Final = re.compile(r"---[ \t]*\n")
_CLOSING: Final = re.compile(r"^---[ \t]*$", re.MULTILINE)

# The stubs of PyYAML leave the types of this function open.
_PARSE: Final = cast("Callable[..., Iterator[yaml.Event]]", cast("Any", yaml).parse)

_Node: TypeAlias = "str | list[_Node] | dict[str, _Node]"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillText:
    """A `SKILL.md` as it was read. Texts are as written, without space around them."""

    name: str = ""
    description: str = ""
    license: str = ""
    compatibility: str = ""
    allowed_tools: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str
    problems: tuple[str, ...] = ()


def read_skill(text: str, folder: str) -> SkillText:
    """Read and validate a `SKILL.md` that lies in a folder of this name."""
    problems: list[str] = []
    if text.startswith("\ufeff"):
        problems.append("it begins with a byte order mark: save it as UTF-8 without one")
        text = text[1:]
    front, body = _split(text.replace("\r\n", "\n").replace("\r", "\n"), problems)
    fields = _fields(front, problems) if front is not None else None
    if fields is None:
        return SkillText(body=body, problems=tuple(problems))
    _check_name(fields, folder, problems)
    _check_description(fields, problems)
    compatibility = _text(fields, "compatibility", problems)
    if len(compatibility) > COMPATIBILITY_MAX:
        problems.append(_too_long("compatibility", compatibility, COMPATIBILITY_MAX))
    unknown = sorted(name for name in fields if name not in _FIELDS)
    if unknown:
        shown = ", ".join(name[:40] for name in unknown[:10])
        problems.append(
            f"unknown fields {shown}: move them under metadata; known are {', '.join(_FIELDS)}"
        )
    return SkillText(
        name=_plain(fields, "name"),
        description=_plain(fields, "description"),
        license=_text(fields, "license", problems),
        compatibility=compatibility,
        allowed_tools=_tools(fields, problems),
        metadata=_metadata(fields, problems),
        body=body,
        problems=tuple(problems),
    )


def _split(text: str, problems: list[str]) -> tuple[str | None, str]:
    """(front matter, body); no front matter when there is none or it is not read."""
    opening = _OPENING.match(text)
    if opening is None:
        problems.append("it does not begin with front matter: make '---' the first line")
        return None, text.strip()
    closing = _CLOSING.search(text, opening.end())
    if closing is None:
        problems.append("the front matter is not closed: put a line '---' after its last field")
        return None, text.strip()
    if closing.start() - opening.end() > FRONT_CHARS_MAX:
        problems.append(
            f"the front matter is longer than {FRONT_CHARS_MAX:,} characters: "
            "move instructions below it"
        )
        return None, text[closing.end() :].strip()
    return text[opening.end() : closing.start()], text[closing.end() :].strip()


# --- the small part of YAML -----------------------------------------------------------------


def _fields(front: str, problems: list[str]) -> dict[str, _Node] | None:
    if front.count("[") + front.count("{") > _BRACKETS_MAX:
        problems.append(f"more than {_BRACKETS_MAX} brackets or braces: write plain text")
        return None
    try:
        events = list(_PARSE(front, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problems.append(
            f"the front matter is not YAML ({_where(error)}): put text with ':' or '#' in quotes"
        )
        return None
    problems += dict.fromkeys(_disallowed(events))
    if not _is_shallow(events):
        problems.append("the front matter is nested too deeply: use fields and one level below")
        return None
    # The stream and the first document begin with one event each.
    rest = iter(events[2:])
    tree = _built(next(rest, None), rest, problems)
    if not isinstance(tree, dict):
        problems.append("the front matter has no fields: write 'name: ...' and 'description: ...'")
        return None
    return tree


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    named = getattr(error, "problem", None) or getattr(error, "reason", None)
    reason = named or "a character that can not stand there"
    line = getattr(mark, "line", None)
    return f"line {line + 2}: {reason}" if isinstance(line, int) else str(reason)


def _disallowed(events: list[yaml.Event]) -> Iterator[str]:
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:  # noqa: PLR2004 - one too many
                yield "the front matter is two YAML documents: take the line '...' out"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            yield "anchors and aliases (& and *) are not allowed: write the text out, or quote it"
        if getattr(event, "tag", None) is not None:
            yield "tags (!) are not allowed: every value is text; put it in quotes"
        if getattr(event, "flow_style", None):
            yield "brackets and braces are not allowed: write one item a line, or quote the text"


def _is_shallow(events: list[yaml.Event]) -> bool:
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            return False
    return True


def _built(event: yaml.Event | None, rest: Iterator[yaml.Event], problems: list[str]) -> _Node:
    """The value that begins with `event`; what can not be a value is empty text."""
    if isinstance(event, yaml.ScalarEvent):
        return str(cast("str", event.value))
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[_Node] = []
        while not isinstance(one := next(rest), yaml.SequenceEndEvent):
            items.append(_built(one, rest, problems))
        return items
    pairs: dict[str, _Node] = {}
    if not isinstance(event, yaml.MappingStartEvent):
        return ""
    while not isinstance(one := next(rest), yaml.MappingEndEvent):
        key, value = _built(one, rest, problems), _built(next(rest), rest, problems)
        if not isinstance(key, str):
            problems.append("a list or mapping is no name of a field: use a word")
        elif key in pairs:
            problems.append(f"the field {key[:40]!r} is there twice: keep one")
        else:
            pairs[key] = value
    return pairs


# --- the rules of the fields ----------------------------------------------------------------


def _check_name(fields: Mapping[str, _Node], folder: str, problems: list[str]) -> None:
    if "name" not in fields:
        problems.append(f"the field name is missing: write 'name: {folder}'")
        return
    name = unicodedata.normalize("NFKC", _plain(fields, "name"))
    if not name:
        problems.append(f"the name is not text: write 'name: {folder}'")
        return
    if len(name) > NAME_MAX:
        problems.append(_too_long("name", name, NAME_MAX))
    shown = name[:NAME_MAX]
    if name != name.lower():
        problems.append(f"the name {shown!r} has capital letters: write it in lower case")
    if name.startswith("-") or name.endswith("-") or "--" in name:
        problems.append(
            f"the name {shown!r} begins or ends with a hyphen or has two in a row: "
            "use single hyphens between words"
        )
    if not all(char.isalnum() or char == "-" for char in name):
        problems.append(
            f"the name {shown!r} has other characters than letters, digits and hyphens: "
            "replace them by hyphens"
        )
    if unicodedata.normalize("NFKC", folder) != name:
        problems.append(
            f"the name {shown!r} is not that of the folder {folder!r}: rename one of them"
        )


def _check_description(fields: Mapping[str, _Node], problems: list[str]) -> None:
    if "description" not in fields:
        problems.append("the field description is missing: say what the skill does and when")
        return
    written = fields["description"]
    if not isinstance(written, str) or not written.strip():
        problems.append("the description is not text: say what the skill does and when to use it")
    elif len(written) > DESCRIPTION_MAX:
        problems.append(_too_long("description", written, DESCRIPTION_MAX))
    elif not _is_unicode(written):
        problems.append("the description holds half a character: write it without \\u escapes")


def _text(fields: Mapping[str, _Node], name: str, problems: list[str]) -> str:
    if not isinstance(fields.get(name, ""), str):
        problems.append(f"the field {name} is not text: write it on one line, or in quotes")
    return _plain(fields, name)


def _tools(fields: Mapping[str, _Node], problems: list[str]) -> str:
    """The tools asked for, space between them; a list of names is taken too, as many write it."""
    given = fields.get("allowed-tools", "")
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return " ".join(map(str, given))
    return _text(fields, "allowed-tools", problems)


def _metadata(fields: Mapping[str, _Node], problems: list[str]) -> dict[str, str]:
    given = fields.get("metadata") or {}
    if not isinstance(given, dict):
        problems.append("metadata has no fields: write 'key: value' lines below it, indented")
        return {}
    nested = [key for key, value in given.items() if not isinstance(value, str)]
    if nested:
        shown = ", ".join(key[:40] for key in nested[:10])
        problems.append(f"metadata {shown} is not text: one 'key: value' a line")
    return {_whole(key): _whole(value) for key, value in given.items() if isinstance(value, str)}


def _plain(fields: Mapping[str, _Node], name: str) -> str:
    value = fields.get(name, "")
    return _whole(value.strip()) if isinstance(value, str) else ""


def _whole(text: str) -> str:
    # An escape can make half a surrogate pair, which no file, log or wire can carry.
    return text if _is_unicode(text) else text.encode("utf-8", "replace").decode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_long(name: str, text: str, most: int) -> str:
    return f"the {name} has {len(text):,} characters: shorten it to {most:,}"
