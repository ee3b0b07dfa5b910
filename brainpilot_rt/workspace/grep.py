"""Searching the lines of a work tree for a regular expression.

Python's matcher holds the interpreter while it works and can take exponential time, so one unlucky
expression would stop the whole daemon. An expression that repeats anything is therefore run in a
process of its own (`python -m brainpilot_rt.workspace.grep`), which can be ended; the others run on
a thread.
"""

import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from brainpilot_rt.domain.errors import BadRequest, CommandRejected, TooLarge
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.patterns import name_matcher
from brainpilot_rt.workspace.walk import Found, is_binary, split_lines, walk

_FILE_BYTES_MAX: Final = 8 * 1024 * 1024
_LINE_CHARS_MAX: Final = 500
_SEARCHED_CHARS_MAX: Final = 20_000
_REPEATS: Final = re.compile(r"[*+?{]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for. `limit` is in matching lines, `context` in lines before and after."""

    pattern: str
    base: str = "/workspace"
    files: str | None = None
    """Glob pattern that file names must match."""
    ignore_case: bool = False
    context: int = 0
    limit: int = 200


@dataclass(frozen=True, slots=True)
class Matches:
    """`path:line: text` for each matching line, `path-line- text` for those around it."""

    lines: list[str]
    hits: int
    more: bool
    """The limit was reached."""
    too_large: list[str]
    """Files that were not searched because of their size."""


def compiled(query: Query) -> re.Pattern[str]:
    """The expression; BadRequest with the reason when it is none."""
    try:
        return re.compile(query.pattern, re.IGNORECASE if query.ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadRequest(f"not a regular expression: {error}") from None


def may_take_long(query: Query) -> bool:
    """Whether the expression repeats anything."""
    return _REPEATS.search(query.pattern) is not None


def grep(workspace: Workspace, query: Query) -> Matches:
    """All matching lines, file by file, until the limit is reached."""
    expression = compiled(query)
    wanted = name_matcher(query.files) if query.files else None
    matches = Matches([], 0, more=False, too_large=[])
    for path, size in _files(workspace, workspace.resolve(query.base)):
        if wanted is not None and not wanted(path.parts):
            continue
        if size > _FILE_BYTES_MAX:
            matches.too_large.append(path.short)
            continue
        lines = _text_lines(workspace, path)
        found = [
            number
            for number, line in enumerate(lines)
            if expression.search(line[:_SEARCHED_CHARS_MAX])
        ]
        room = query.limit - matches.hits
        matches.lines.extend(_shown(path.short, lines, found[:room], query.context))
        more = len(found) > room
        hits = matches.hits + min(len(found), room)
        matches = Matches(matches.lines, hits, more, matches.too_large)
        if more:
            break
    return matches


def _files(workspace: Workspace, base: LogicalPath) -> list[tuple[LogicalPath, int]]:
    entry = workspace.stat(str(base))
    if entry.type == "file":
        return [(base, entry.size)]
    found: list[Found] = list(walk(workspace, base))
    return [(one.path, one.size) for one in found if not one.is_folder]


def _text_lines(workspace: Workspace, path: LogicalPath) -> list[str]:
    try:
        data = workspace.read_bytes(str(path), _FILE_BYTES_MAX)
    except (CommandRejected, TooLarge):
        return []  # gone, or not ours to read: the other files still count
    return [] if is_binary(data) else split_lines(data.decode("utf-8", "replace"))


def _shown(path: str, lines: list[str], found: list[int], context: int) -> list[str]:
    hits = set(found)
    around = {
        near
        for number in found
        for near in range(max(0, number - context), min(len(lines), number + context + 1))
    }
    return [
        f"{path}:{number + 1}: {lines[number][:_LINE_CHARS_MAX]}"
        if number in hits
        else f"{path}-{number + 1}- {lines[number][:_LINE_CHARS_MAX]}"
        for number in sorted(around)
    ]


def job(workspace: Workspace, query: Query) -> str:
    """The one argument of the process: everything it needs, as JSON."""
    roots = {name: str(path) for name, path in workspace.roots.items()}
    hidden = [str(path) for path in workspace.hidden]
    return json.dumps({"roots": roots, "hidden": hidden, "query": asdict(query)})


def main(argument: str) -> str:
    """Do a job and say its matches as JSON."""
    wanted = json.loads(argument)
    roots = {name: Path(path) for name, path in wanted["roots"].items()}
    workspace = Workspace(
        roots["workspace"],
        data=roots.get("data"),
        shared=roots.get("shared"),
        hidden=[Path(path) for path in wanted["hidden"]],
    )
    return json.dumps(asdict(grep(workspace, Query(**wanted["query"]))))


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1]))
