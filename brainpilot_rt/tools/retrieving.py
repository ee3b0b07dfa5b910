"""`search`: passages of the work tree, ranked, with the line numbers a citation needs."""

from typing import Annotated

from pydantic import Field

from brainpilot_rt.domain.passages import Passage
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool


class Search(Arguments):
    """Find the passages of the workspace's text files that best match a few words, ranked.

    Shows each with its path and line numbers, ready to be cited. Use it first for questions
    about what documents say; use grep for an exact string.
    """

    query: Annotated[
        str,
        Field(min_length=1, max_length=2_000, description="Words that should occur in the text."),
    ]
    top_k: Annotated[int, Field(ge=1, le=50, description="How many passages.")] = 8


def shown(passages: list[Passage]) -> str:
    """The passages as a model reads them: a heading each, then `line| text`."""
    blocks: list[str] = []
    for number, one in enumerate(passages, start=1):
        head = f"### {number}. {one.path}:{one.start_line}-{one.end_line} (score {one.score:.2f})"
        lines = enumerate(one.text.split("\n"), start=one.start_line)
        blocks.append("\n".join([head, *(f"{line}| {text}" for line, text in lines)]))
    return "\n\n".join(blocks) or "No passages match."


async def _search(context: ToolContext, wanted: Search) -> ToolOutput:
    found = await context.search(wanted.query, wanted.top_k)
    return ToolOutput("\n\n".join([shown(found), *([f"[{found.notice}]"] if found.notice else [])]))


def search_tool() -> Tool:
    """The search tool."""
    return tool(_search, Search, name="search", effect=Effect.PURE)
