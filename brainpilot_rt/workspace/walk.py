"""Going through a work tree: bounded, without following links, without the folders nobody reads.

Order is by name, depth first, so that two walks of the same tree give the same list.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.workspace.faults import told
from brainpilot_rt.workspace.files import TRUNCATED, Workspace
from brainpilot_rt.workspace.paths import LogicalPath

SKIPPED: Final = frozenset(
    {".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__", TRUNCATED}
)
"""Folders that are not entered."""

ENTRIES_MAX: Final = 50_000
DEPTH_MAX: Final = 64
_SNIFFED: Final = 8192
_BREAKS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file or a folder of the tree."""

    path: LogicalPath
    is_folder: bool
    size: int
    modified_ns: int


def walk(
    workspace: Workspace,
    base: LogicalPath,
    *,
    entries_max: int = ENTRIES_MAX,
    enter: Callable[[str], bool] = lambda name: name not in SKIPPED,
) -> Iterator[Found]:
    """Files and folders below `base`; it ends after `entries_max` entries.

    A folder below `base` that cannot be read, or is gone meanwhile, counts as empty; `base` itself
    does not.
    """
    pending = [base]
    left = entries_max
    while pending:
        folder = pending.pop()
        try:
            children = _children(workspace, folder)
        except CommandRejected:
            if folder == base:
                raise
            continue
        for child in children:
            if left <= 0:
                return
            left -= 1
            yield child
        pending.extend(
            child.path
            for child in reversed(children)
            if child.is_folder and enter(child.path.name) and len(child.path.parts) < DEPTH_MAX
        )


def is_binary(data: bytes) -> bool:
    """Whether this is, by its beginning, no text a person reads."""
    return b"\0" in data[:_SNIFFED]


def split_lines(text: str) -> list[str]:
    """The lines of a text as line numbers count them: split at LF, a CR before it taken off.

    A final line end does not begin another line. Other separators (form feed, U+2028) are text.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _children(workspace: Workspace, folder: LogicalPath) -> list[Found]:
    children: list[Found] = []
    with workspace.folder(folder) as fd, told(folder), os.scandir(fd) as entries:
        for entry in entries:
            path = folder.child(entry.name)
            if not _is_text(entry.name) or workspace.is_hidden(path):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            is_folder = stat.S_ISDIR(found.st_mode)
            if is_folder or stat.S_ISREG(found.st_mode):
                children.append(Found(path, is_folder, found.st_size, found.st_mtime_ns))
    return sorted(children, key=lambda child: child.path.name)


def _is_text(name: str) -> bool:
    # A name that is not Unicode cannot be written in a path, so nobody could open what is shown.
    # One that breaks the line can not be cited, and reads as if it were more than a name.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return _BREAKS.search(name) is None
