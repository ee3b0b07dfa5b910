"""Citations looked up in the files they point at. Everything here blocks: call it on a thread."""

from collections.abc import Iterable
from typing import Final

from brainpilot_rt.domain import citations
from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.walk import split_lines

_FILES_KEPT: Final = 8
"""Files in memory at a time: an answer may cite hundreds, each as large as a file that is read."""


def looked_up(workspace: Workspace, cited: Iterable[Citation]) -> list[tuple[Citation, str]]:
    """Each citation and why it does not hold; one that does has the very text of its file."""
    files: dict[str, list[str] | None] = {}
    return [_looked_up(workspace, one, files) for one in cited]


def _looked_up(
    workspace: Workspace, one: Citation, files: dict[str, list[str] | None]
) -> tuple[Citation, str]:
    if one.path not in files:
        if len(files) >= _FILES_KEPT:
            files.clear()
        try:
            files[one.path] = split_lines(workspace.read_text(one.path))
        except RuntimeFault:
            files[one.path] = None
    lines = files[one.path]
    if lines is None:
        return one, "there is no such text file"
    if one.end_line > len(lines):
        return one, f"the file has {len(lines)} lines"
    found = citations.located(one, lines)
    return (found, "") if found else (one, "these words do not stand in those lines")
