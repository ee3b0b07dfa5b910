"""Our reader of `SKILL.md` beside `skills-ref`, the reference of the published format.

Each case is a folder with a `SKILL.md`; both readers say whether it is valid and, if so, with which
properties. `ON_PURPOSE` names the cases in which we differ and why; a difference that is not listed
fails, and so does one that is listed and gone.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skills_ref.parser import read_properties  # pyright: ignore[reportMissingTypeStubs] - has none
from skills_ref.validator import validate  # pyright: ignore[reportMissingTypeStubs] - has none

from brainpilot_rt.context.skill_format import read_skill
from brainpilot_rt.context.skills import checked

NAMED = "---\nname: {name}\ndescription: Draws charts of data\n---\nUse a library.\n"
WITH = "---\nname: plot\ndescription: Draws charts\n{fields}\n---\nUse a library.\n"
DESCRIBED = "---\nname: plot\ndescription: {text}\n---\nUse a library.\n"

CASES: Final[Mapping[str, tuple[str, str | bytes]]] = {
    # the whole file
    "minimal": ("plot", NAMED.format(name="plot")),
    "crlf": ("plot", NAMED.format(name="plot").replace("\n", "\r\n")),
    "lone cr": ("plot", NAMED.format(name="plot").replace("\n", "\r")),
    "equals sign": ("plot", DESCRIBED.format(text="=")),
    "merge sign": ("plot", DESCRIBED.format(text="<<")),
    "byte order mark": ("plot", "\ufeff" + NAMED.format(name="plot")),
    "empty file": ("plot", ""),
    "no front matter": ("plot", "# Plot\n\nUse a library.\n"),
    "front matter later": ("plot", "\n" + NAMED.format(name="plot")),
    "not closed": ("plot", "---\nname: plot\ndescription: Draws\n\nUse a library.\n"),
    "empty front matter": ("plot", "---\n---\nUse a library.\n"),
    "blank front matter": ("plot", "---\n\n\n---\nUse a library.\n"),
    "only a comment": ("plot", "---\n# nothing\n---\nUse a library.\n"),
    "no body": ("plot", "---\nname: plot\ndescription: Draws charts\n---"),
    "spaces after the fences": ("plot", "---  \nname: plot\ndescription: Draws\n---  \nUse.\n"),
    "huge body": ("plot", NAMED.format(name="plot") + "Word. " * 30_000),
    "larger than we read": ("plot", NAMED.format(name="plot") + "Word. " * 50_000),
    "not UTF-8": ("plot", NAMED.format(name="plot").encode() + b"\xff\xfe\x00"),
    "utf-16": ("plot", NAMED.format(name="plot").encode("utf-16")),
    "NUL in the body": ("plot", NAMED.format(name="plot") + "\0"),
    "NUL in the front matter": ("plot", WITH.format(fields="license: a\0b")),
    "rule in the body": ("plot", NAMED.format(name="plot") + "\n---\n\nMore.\n"),
    # YAML
    "colon in plain text": ("plot", DESCRIBED.format(text="Use when: drawing")),
    "colon in quotes": ("plot", DESCRIBED.format(text='"Use when: drawing"')),
    "single quotes": ("plot", DESCRIBED.format(text="'It''s for charts'")),
    "comment after text": ("plot", DESCRIBED.format(text="Draws # badly")),
    "folded": ("plot", DESCRIBED.format(text=">\n  Draws charts\n  of data")),
    "folded and stripped": ("plot", DESCRIBED.format(text=">-\n  Draws charts\n  of data\n")),
    "literal": ("plot", DESCRIBED.format(text="|\n  Draws charts\n  of data")),
    "over two lines": ("plot", DESCRIBED.format(text="Draws charts\n  of data")),
    "hyphens in the text": ("plot", DESCRIBED.format(text="Draws --- or does not --- charts")),
    "tab as indent": ("plot", WITH.format(fields="metadata:\n\tauthor: me")),
    "bad indent": ("plot", WITH.format(fields=" license: MIT")),
    "unclosed quote": ("plot", DESCRIBED.format(text='"Draws')),
    "flow mapping": ("plot", WITH.format(fields="metadata: {author: me}")),
    "flow list": ("plot", WITH.format(fields="allowed-tools: [read, grep]")),
    "anchor": ("plot", DESCRIBED.format(text="&a Draws")),
    "alias": ("plot", WITH.format(fields="license: &a MIT\ncompatibility: *a")),
    "star": ("plot", DESCRIBED.format(text="*Draws* charts")),
    "tag": ("plot", DESCRIBED.format(text="!!str Draws")),
    "python tag": ("plot", DESCRIBED.format(text="!!python/object/apply:os.system [ls]")),
    "repeated field": ("plot", WITH.format(fields="description: Again")),
    "top-level list": ("plot", "---\n- name: plot\n- description: Draws\n---\nUse.\n"),
    "top-level text": ("plot", "---\nplot\n---\nUse.\n"),
    "two documents": ("plot", WITH.format(fields="...\nlicense: MIT")),
    "deep nesting": ("plot", WITH.format(fields="metadata:\n  - " + "- " * 40 + "x")),
    "thousands of brackets": ("plot", DESCRIBED.format(text="[" * 4_000)),
    "at sign": ("plot", DESCRIBED.format(text="@team draws")),
    "backtick": ("plot", DESCRIBED.format(text="`draw` charts")),
    "percent": ("plot", DESCRIBED.format(text="%draw")),
    "escape of half a character": ("plot", DESCRIBED.format(text='"\\ud800"')),
    "escape beyond Unicode": ("plot", DESCRIBED.format(text='"\\UFFFFFFFF"')),
    # name
    "name missing": ("plot", "---\ndescription: Draws\n---\nUse.\n"),
    "name empty": ("plot", NAMED.format(name="")),
    "name blank": ("plot", NAMED.format(name='"  "')),
    "name null": ("null", NAMED.format(name="null")),
    "name of a number": ("123", NAMED.format(name="123")),
    "name of a float": ("plot", NAMED.format(name="1.5")),
    "name of a date": ("2026-01-02", NAMED.format(name="2026-01-02")),
    "name of a truth": ("true", NAMED.format(name="true")),
    "name a list": ("plot", NAMED.format(name="\n  - plot")),
    "name a mapping": ("plot", NAMED.format(name="\n  is: plot")),
    "name with hyphens": ("plot-two-d", NAMED.format(name="plot-two-d")),
    "name in quotes": ("plot", NAMED.format(name='"plot"')),
    "name with space around": ("plot", NAMED.format(name='" plot "')),
    "name in capitals": ("Plot", NAMED.format(name="Plot")),
    "name with a space": ("plot it", NAMED.format(name="plot it")),
    "name with an underscore": ("plot_it", NAMED.format(name="plot_it")),
    "name with a dot": ("plot.it", NAMED.format(name="plot.it")),
    "name with a slash": ("plot", NAMED.format(name="sub/plot")),
    "name begins with a hyphen": ("-plot", NAMED.format(name='"-plot"')),
    "name ends with a hyphen": ("plot-", NAMED.format(name="plot-")),
    "name with two hyphens": ("plot--it", NAMED.format(name="plot--it")),
    "name of 64": ("p" * 64, NAMED.format(name="p" * 64)),
    "name of 65": ("p" * 65, NAMED.format(name="p" * 65)),
    "name of another folder": ("draw", NAMED.format(name="plot")),
    "Chinese name": ("画图", NAMED.format(name="画图")),
    "Cyrillic name": ("график", NAMED.format(name="график")),
    "Cyrillic capitals": ("График", NAMED.format(name="График")),
    "composed name, decomposed folder": ("cafe\u0301", NAMED.format(name="caf\u00e9")),
    "full-width name": ("plot", NAMED.format(name="\uff50\uff4c\uff4f\uff54")),
    "name with a ligature": ("ﬁt", NAMED.format(name="ﬁt")),
    "sharp s": ("straße", NAMED.format(name="straße")),
    "emoji name": ("plot", NAMED.format(name="plot-\U0001f4c8")),
    "zero-width name": ("plot", NAMED.format(name="pl\u200bot")),
    # description
    "description missing": ("plot", "---\nname: plot\n---\nUse.\n"),
    "description empty": ("plot", DESCRIBED.format(text="")),
    "description blank": ("plot", DESCRIBED.format(text='"   "')),
    "description a list": ("plot", DESCRIBED.format(text="\n  - Draws")),
    "description a number": ("plot", DESCRIBED.format(text="42")),
    "description of 1024": ("plot", DESCRIBED.format(text="d" * 1024)),
    "description of 1025": ("plot", DESCRIBED.format(text="d" * 1025)),
    "description of 1024 and a line end": ("plot", DESCRIBED.format(text="|\n  " + "d" * 1024)),
    "Chinese description": ("plot", DESCRIBED.format(text="画图表\uff0c分析数据")),
    # other fields
    "all fields": (
        "plot",
        WITH.format(
            fields="license: MIT\ncompatibility: needs matplotlib\n"
            "allowed-tools: read bash(python:*)\nmetadata:\n  author: me\n  version: 1.0"
        ),
    ),
    "empty optional fields": (
        "plot",
        WITH.format(fields="license:\ncompatibility:\nallowed-tools: ''"),
    ),
    "compatibility of 500": ("plot", WITH.format(fields=f"compatibility: {'c' * 500}")),
    "compatibility of 501": ("plot", WITH.format(fields=f"compatibility: {'c' * 501}")),
    "compatibility a list": ("plot", WITH.format(fields="compatibility:\n  - linux")),
    "unknown field": ("plot", WITH.format(fields="version: 1.0")),
    "two unknown fields": ("plot", WITH.format(fields="version: 1.0\nauthor: me")),
    "field in capitals": ("plot", WITH.format(fields="License: MIT")),
    "allowed_tools with an underscore": ("plot", WITH.format(fields="allowed_tools: read")),
    "merge key": ("plot", WITH.format(fields="<<: x")),
    "license a mapping": ("plot", WITH.format(fields="license:\n  spdx: MIT")),
    "tools as a list": ("plot", WITH.format(fields="allowed-tools:\n  - read\n  - grep")),
    "tools as a mapping": ("plot", WITH.format(fields="allowed-tools:\n  read: yes")),
    "metadata with a number": ("plot", WITH.format(fields="metadata:\n  version: 1")),
    "metadata nested": ("plot", WITH.format(fields="metadata:\n  a:\n    b: c")),
    "metadata a list": ("plot", WITH.format(fields="metadata:\n  - a")),
    "metadata a text": ("plot", WITH.format(fields="metadata: mine")),
    "metadata empty": ("plot", WITH.format(fields="metadata:")),
}

_SPEC = "the format says text, the reference does not look: a program that trusts it would break"
_SIGN = "a text of one sign is a text; the reference's parser has a meaning for it, and stumbles"
ON_PURPOSE: Final[Mapping[str, str]] = {
    "equals sign": _SIGN,
    "merge sign": _SIGN,
    "larger than we read": "a file of a skill has a bound, so that nobody can fill our memory",
    "hyphens in the text": "the reference ends the front matter inside a line; a fence is a line",
    "deep nesting": "metadata maps text to text, and nesting is bounded",
    "escape of half a character": "no log, wire or file can carry it",
    "license a mapping": _SPEC,
    "tools as a list": "valid for both; we show the names as the one text the format asks for",
    "tools as a mapping": _SPEC,
    "metadata nested": _SPEC,
    "metadata a list": _SPEC,
    "metadata a text": _SPEC,
}


@dataclass(frozen=True)
class Read:
    """What a reader made of a folder; `properties` only of a valid one."""

    valid: bool
    properties: Mapping[str, object]


def theirs(folder: Path) -> Read:
    try:
        valid = not validate(folder)
    except (ValueError, OverflowError, AttributeError):
        return Read(valid=False, properties={})  # the reference itself falls over
    found = vars(read_properties(folder)) if valid else {}
    named = {key.replace("_", "-"): value for key, value in found.items()}
    return Read(valid, {key: value for key, value in named.items() if value})


def ours(folder: Path) -> Read:
    (skill,) = checked(folder)
    found = {
        "name": skill.name,
        "description": skill.description,
        "license": skill.license,
        "compatibility": skill.compatibility,
        "allowed-tools": skill.allowed_tools,
        "metadata": dict(skill.metadata),
    }
    valid = not skill.problems
    return Read(valid, {key: value for key, value in found.items() if value} if valid else {})


def put(root: Path, folder: str, content: str | bytes) -> Path:
    place = root / folder
    place.mkdir()
    data = content if isinstance(content, bytes) else content.encode()
    (place / "SKILL.md").write_bytes(data)
    return place


def flattened(read: Read) -> Read:
    """Texts as we show them: without space around, the description on one line."""
    shown = {
        key: " ".join(value.split()) if key == "description" else value.strip()
        for key, value in read.properties.items()
        if isinstance(value, str)
    }
    texts = {key: value for key, value in shown.items() if value}
    rest = {key: value for key, value in read.properties.items() if key not in shown}
    return Read(read.valid, texts | rest)


@pytest.mark.parametrize("case", CASES)
def test_we_agree_with_the_reference(case: str, tmp_path: Path):
    folder = put(tmp_path, *CASES[case])
    agreed = ours(folder) == flattened(theirs(folder))
    assert agreed != (case in ON_PURPOSE), f"{ours(folder)} {theirs(folder)}"


def test_a_file_in_lower_case_counts_for_both(tmp_path: Path):
    folder = put(tmp_path, *CASES["minimal"])
    (folder / "SKILL.md").rename(folder / "skill.md")
    assert ours(folder) == theirs(folder)
    assert ours(folder).valid


def test_a_folder_without_the_file_is_valid_for_neither(tmp_path: Path):
    assert ours(tmp_path) == theirs(tmp_path)
    assert not ours(tmp_path).valid


def test_a_link_is_not_followed_though_the_reference_does(tmp_path: Path):
    folder = put(tmp_path, *CASES["minimal"])
    (folder / "SKILL.md").rename(tmp_path / "elsewhere")
    (folder / "SKILL.md").symlink_to(tmp_path / "elsewhere")
    assert theirs(folder).valid
    assert "links are not followed" in checked(folder)[0].problems[0]


_CHARS = "ab1-:#'\"[]{}&*!|>%@`~<?., \t\néÉ画_\\/="
_VALUES = st.text(_CHARS, max_size=40).filter(
    lambda text: "---" not in text and text.strip() not in {"=", "<<"}
)
_OTHERS = ("license", "compatibility", "allowed-tools", "metadata")


def written(draw: st.DrawFn, name: str) -> str:
    """A field in one of the ways people write them; metadata only as the format has it."""
    value = draw(_VALUES | st.sampled_from(["plot", "Draws charts", "a: b", "", "1", "null"]))
    ways = ["below"] if name == "metadata" else ["plain", "quoted", "single", "folded"]
    match draw(st.sampled_from(ways)):
        case "quoted":
            value = json.dumps(value, ensure_ascii=False)
        case "single":
            value = "'" + value.replace("'", "''") + "'"
        case "folded":
            value = ">\n  " + " ".join(value.split())
        case "below":
            value = "\n  a: " + " ".join(value.split())
        case _:
            pass
    return f"{name}: {value}"


@st.composite
def front_matter(draw: st.DrawFn) -> str:
    """Fields in any order; often the two that must be there are there and valid."""
    lines = [written(draw, name) for name in draw(st.lists(st.sampled_from(_OTHERS), max_size=4))]
    for name, good in (("name", "plot"), ("description", "Draws charts")):
        good_line = st.just(f"{name}: {good}")
        odd_line = st.just("other: x") | st.just(name).map(lambda name: written(draw, name))
        lines.append(draw(good_line | good_line | odd_line))
    return "\n".join(draw(st.permutations(lines)))


@pytest.mark.slow
@pytest.mark.timeout(60)
@settings(deadline=None, max_examples=150)
@given(front_matter())
def test_we_agree_on_generated_front_matter(front: str):
    with TemporaryDirectory() as root:
        folder = put(Path(root), "plot", f"---\n{front}\n---\nUse a library.\n")
        assert ours(folder) == flattened(theirs(folder))


@pytest.mark.timeout(60)
@settings(deadline=None)
@given(st.text() | st.text(_CHARS).map(lambda text: f"---\n{text}\n---\n"))
def test_any_text_is_read_and_what_is_wrong_is_said(text: str):
    read = read_skill(text, "plot")
    assert read.problems or (read.name == "plot" and read.description)
    json.dumps(dataclasses.asdict(read), ensure_ascii=False).encode()
