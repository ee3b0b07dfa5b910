"""`ls`, `glob`, `find`, `grep`: finding one's way in the work tree."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from brainpilot_rt.aiokit import process
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, on_thread, tool
from brainpilot_rt.workspace import grep as searching
from brainpilot_rt.workspace.grep import Matches, Query
from brainpilot_rt.workspace.paths import LogicalPath
from brainpilot_rt.workspace.patterns import matcher, name_matcher
from brainpilot_rt.workspace.walk import Found, walk

_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024

_Base = Annotated[str, Field(description="Folder to look in; the workspace unless given.")]
_Limit = Annotated[int, Field(ge=1, le=2_000, description="Most results to show.")]


class Ls(Arguments):
    """List one folder: its folders, then its files with their sizes."""

    path: _Base = "/workspace"
    limit: _Limit = 500


class Glob(Arguments):
    """Find files whose path matches a pattern, the newest first.

    The pattern is relative to path: * and ? stay within a name, ** spans folders, {a,b} chooses.
    """

    pattern: Annotated[str, Field(description="Such as **/*.py or docs/*.{md,txt}.")]
    path: _Base = "/workspace"
    limit: _Limit = 200


class Find(Arguments):
    """Find files or folders by their name, anywhere below a folder, in the order of their paths."""

    pattern: Annotated[str, Field(description="Name pattern such as *.csv or report*.")]
    path: _Base = "/workspace"
    type: Literal["file", "folder"] | None = None
    limit: _Limit = 200


class Grep(Arguments):
    """Search the lines of text files for a regular expression (Python syntax).

    Shows path:line: text. For what documents say in other words, use search.
    """

    pattern: Annotated[str, Field(min_length=1, max_length=1_000)]
    path: Annotated[str, Field(description="File or folder; the workspace unless given.")] = (
        "/workspace"
    )
    glob: Annotated[str | None, Field(description="Only files whose name matches, as *.md.")] = None
    ignore_case: bool = False
    context: Annotated[int, Field(ge=0, le=20, description="Lines shown around each match.")] = 0
    limit: _Limit = 200


def _ls(context: ToolContext, wanted: Ls) -> ToolOutput:
    path = context.workspace.resolve(wanted.path)
    entries = context.workspace.list_folder(wanted.path)
    if not entries:
        return ToolOutput(f"{path} is empty or does not exist.")
    ends = {"folder": "/", "symlink": " (symbolic link, not followed)"}
    lines = [
        f"{entry.name}{ends[entry.type]}"
        if entry.type in ends
        else f"{entry.name}  {entry.size:,} bytes"
        for entry in entries
    ]
    return _listed(lines, wanted.limit)


def _glob(context: ToolContext, wanted: Glob) -> ToolOutput:
    base = context.workspace.resolve(wanted.path)
    matches = matcher(wanted.pattern.removeprefix("/workspace/"))
    found = [
        one
        for one in walk(context.workspace, base)
        if not one.is_folder and matches(_below(base, one))
    ]
    found.sort(key=lambda one: (-one.modified_ns, one.path.parts))
    return _listed([one.path.short for one in found], wanted.limit)


def _find(context: ToolContext, wanted: Find) -> ToolOutput:
    base = context.workspace.resolve(wanted.path)
    matches = name_matcher(wanted.pattern)
    kinds = {"file": {False}, "folder": {True}, None: {False, True}}[wanted.type]
    found = [
        one.path.short + ("/" if one.is_folder else "")
        for one in walk(context.workspace, base)
        if one.is_folder in kinds and matches(_below(base, one))
    ]
    return _listed(sorted(found), wanted.limit)


async def _grep(context: ToolContext, wanted: Grep) -> ToolOutput:
    query = Query(
        pattern=wanted.pattern,
        base=wanted.path,
        files=wanted.glob,
        ignore_case=wanted.ignore_case,
        context=wanted.context,
        limit=wanted.limit,
    )
    searching.compiled(query)
    if searching.may_take_long(query):
        return await _grep_apart(context, query)
    return _matched(await asyncio.to_thread(searching.grep, context.workspace, query))


async def _grep_apart(context: ToolContext, query: Query) -> ToolOutput:
    entry = await asyncio.to_thread(context.workspace.stat, query.base)
    if entry.type == "symlink":
        raise NotFound(f"{query.base} is a symbolic link; links are not followed")
    command = process.Command(
        argv=[
            *(sys.executable, "-P", "-m", searching.__name__),
            searching.job(context.workspace, query),
        ],
        cwd=context.workspace.root,
        env={"PYTHONPATH": _PACKAGES},
        marker=("BRAINPILOT_GREP", context.call_id),
        grace_s=0.2,
    )
    limits = process.OutputLimits(head_bytes=_OUTPUT_BYTES_MAX, tail_bytes=0)
    finished = await process.run(command, limits)
    if finished.exit_code != 0 or finished.output.omitted_bytes:
        return ToolOutput("The search failed or found too much; narrow it.", failed=True)
    return _matched(Matches(**json.loads(finished.output.head)))


def _matched(matches: Matches) -> ToolOutput:
    lines = list(matches.lines) or ["No lines match."]
    if matches.more:
        lines.append(f"[the first {matches.hits} matching lines; narrow the search for others]")
    if matches.too_large:
        names = ", ".join(matches.too_large[:5])
        lines.append(f"[{len(matches.too_large)} files too large to search: {names}]")
    return ToolOutput("\n".join(lines))


def _below(base: LogicalPath, found: Found) -> tuple[str, ...]:
    return found.path.parts[len(base.parts) :]


def _listed(lines: list[str], limit: int) -> ToolOutput:
    shown = lines[:limit] or ["Nothing matches."]
    if len(lines) > limit:
        shown.append(f"[{len(lines) - limit} more; narrow the search or raise limit]")
    return ToolOutput("\n".join(shown))


def finding_tools() -> tuple[Tool, ...]:
    """ls, glob, find, grep."""
    return (
        tool(on_thread(_ls), Ls, name="ls", effect=Effect.PURE),
        tool(on_thread(_glob), Glob, name="glob", effect=Effect.PURE),
        tool(on_thread(_find), Find, name="find", effect=Effect.PURE),
        tool(_grep, Grep, name="grep", effect=Effect.PURE),
    )
