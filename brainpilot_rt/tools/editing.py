"""`read`, `write`, `edit`: one file of the work tree at a time.

`read` numbers lines the way `search`, `grep` and citations do. `edit` replaces text that must occur
exactly as given, and writes only if the file is still the one it read: whoever changed it meanwhile
loses nothing, and the second editor is told. Line ends stay as they are, and so do bytes that are
not UTF-8.

Git's own folder is not written: a hook or a setting in it would run as the user, outside of any
sandbox (reliability.md S19).
"""

import difflib
import os
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from brainpilot_rt.domain.errors import Forbidden, NotFound
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, on_thread, tool
from brainpilot_rt.workspace.files import digest
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.walk import is_binary

_LINES: Final = 2_000
_LINE_CHARS_MAX: Final = 2_000
_SHOWN_CHARS_MAX: Final = 150_000
_COUNTED_BYTES_MAX: Final = 64 * 1024 * 1024
_PIECE: Final = 64 * 1024
_DIFF_CHARS_MAX: Final = 4_000

_Path = Annotated[
    str,
    Field(
        min_length=1, description="Path in the workspace, such as docs/a.txt or /data/table.csv."
    ),
]


class Read(Arguments):
    """Read a text file, with line numbers.

    Long files are shown in parts: use offset and limit for more. The numbers and the bar after them
    are not part of the file.
    """

    path: _Path
    offset: Annotated[int, Field(ge=1, description="First line to show, counting from 1.")] = 1
    limit: Annotated[int, Field(ge=1, le=20_000, description="How many lines.")] = _LINES


class Write(Arguments):
    """Write a file, replacing what it held; missing folders are made."""

    path: _Path
    content: str


class Edit(Arguments):
    """Replace an exact piece of text in a file.

    old_text must occur exactly once, white space included; give enough lines around the place to
    make it so, or set replace_all.
    """

    path: _Path
    old_text: Annotated[str, Field(min_length=1)]
    new_text: str
    replace_all: bool = False


def _read(context: ToolContext, wanted: Read) -> ToolOutput:
    path = context.workspace.resolve(wanted.path)
    raw = context.workspace.open_raw(wanted.path)
    try:
        if is_binary(os.pread(raw.fd, _PIECE, 0)):
            return ToolOutput(f"{path} is a binary file of {raw.size:,} bytes.", failed=True)
        shown: list[str] = []
        room, last, ended = _SHOWN_CHARS_MAX, 0, True
        for number, line, consumed in _lines(raw.fd):
            last = number
            if wanted.offset <= number < wanted.offset + wanted.limit and room > 0:
                shown.append(f"{number}| {line}")
                room -= len(line) + 10
            elif consumed > _COUNTED_BYTES_MAX and number >= wanted.offset:
                ended = False
                break
    finally:
        os.close(raw.fd)
    if not shown:
        reason = "is empty" if not last else f"has only {last} lines"
        return ToolOutput(f"{path} {reason}.", failed=last > 0)
    until = wanted.offset + len(shown) - 1
    if until < last:
        total = f"{last}" if ended else f"more than {last}"
        shown.append(f"[lines {wanted.offset}-{until} of {total}; go on with offset={until + 1}]")
    return ToolOutput("\n".join(shown))


def _lines(fd: int) -> Iterator[tuple[int, str, int]]:
    """Number, text (its beginning, when it is long) and bytes read so far, line by line.

    Memory stays bounded whatever the file holds, one endless line included.
    """
    number, consumed = 1, 0
    start, size = bytearray(), 0
    while piece := os.read(fd, _PIECE):
        consumed += len(piece)
        *whole, rest = piece.split(b"\n")
        for part in whole:
            yield number, _cut(start + part[: _LINE_CHARS_MAX * 4], size + len(part)), consumed
            number += 1
            start, size = bytearray(), 0
        start += rest[: max(0, _LINE_CHARS_MAX * 4 - len(start))]
        size += len(rest)
    if size:
        yield number, _cut(start, size), consumed


def _cut(start: bytearray | bytes, size: int) -> str:
    text = start.decode("utf-8", "replace").removesuffix("\r")
    if len(text) <= _LINE_CHARS_MAX and size <= len(start):
        return text
    return f"{text[:_LINE_CHARS_MAX]} [... line of {size:,} bytes cut]"


def _write(context: ToolContext, wanted: Write) -> ToolOutput:
    path = _writable(context.workspace.resolve(wanted.path))
    try:
        was = f"replaced {context.workspace.stat(wanted.path).size:,} bytes"
    except NotFound:
        was = "new file"
    data = wanted.content.encode("utf-8", "surrogatepass")
    context.workspace.write(wanted.path, data)
    return ToolOutput(f"Wrote {len(data):,} bytes to {path} ({was}).")


def _edit(context: ToolContext, wanted: Edit) -> ToolOutput:
    path = _writable(context.workspace.resolve(wanted.path))
    data = context.workspace.read_bytes(wanted.path)
    if is_binary(data):
        return ToolOutput(f"{path} is a binary file.", failed=True)
    # Bytes that are no UTF-8 travel as surrogates and come out unchanged.
    before = data.decode("utf-8", "surrogateescape")
    old, new = _with_line_ends_of(before, wanted.old_text, wanted.new_text)
    count = before.count(old)
    problem = _why_not(path, wanted, count, before)
    if problem:
        return ToolOutput(problem, failed=True)
    after = before.replace(old, new)
    context.workspace.write(
        wanted.path, after.encode("utf-8", "surrogateescape"), expected=digest(data)
    )
    places = "1 place" if count == 1 else f"{count} places"
    return ToolOutput(f"Changed {places} in {path}.\n{_diff(before, after)}".rstrip())


def _with_line_ends_of(text: str, old: str, new: str) -> tuple[str, str]:
    crlf = text.count("\r\n")
    if "\r" in old or crlf * 2 <= text.count("\n"):
        return old, new
    as_crlf = [one.replace("\r\n", "\n").replace("\n", "\r\n") for one in (old, new)]
    return (as_crlf[0], as_crlf[1]) if as_crlf[0] in text else (old, new)


def _why_not(path: LogicalPath, wanted: Edit, count: int, text: str) -> str | None:
    if wanted.old_text == wanted.new_text:
        return "old_text and new_text are the same."
    if count == 0 and wanted.new_text and wanted.new_text in text:
        return f"old_text does not occur in {path}, but new_text does: it seems to be done already."
    if count == 0:
        return (
            f"old_text does not occur in {path}. Read the file and copy the text exactly, white "
            "space included, without the line numbers."
        )
    if count > 1 and not wanted.replace_all:
        return (
            f"old_text occurs {count} times in {path}. Give more of the lines around the place, "
            "or set replace_all."
        )
    return None


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    text = "\n".join(list(lines)[2:]).encode("utf-8", "replace").decode()
    return text if len(text) <= _DIFF_CHARS_MAX else text[:_DIFF_CHARS_MAX] + "\n[... diff cut]"


def _writable(path: LogicalPath) -> LogicalPath:
    if any(part.casefold() == ".git" for part in path.parts):
        raise Forbidden(f"{path}: files of git are not written by tools")
    return path


def editing_tools() -> tuple[Tool, ...]:
    """read, write, edit. Writing is sequential: two changes of one turn apply in their order.

    An edit is not safe to repeat: where the new text holds the old one, it would be done twice.
    """
    return (
        tool(on_thread(_read), Read, name="read", effect=Effect.PURE),
        tool(on_thread(_write), Write, name="write", effect=Effect.IDEMPOTENT, sequential=True),
        tool(on_thread(_edit), Edit, name="edit", effect=Effect.IRREVERSIBLE, sequential=True),
    )
