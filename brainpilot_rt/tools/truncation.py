"""Cutting a result to its budget, with the whole of it kept in a file of the work tree.

A result is bounded in estimated tokens, so that one call cannot fill a model's context (lesson 43).
What is shown is the beginning and the end, because commands say what they do first and what came of
it last. The marker between them says where the whole text is and how to read it; when it could not
be kept, the marker says that instead.
"""

import asyncio
import logging
from typing import Final

from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.tools.context import ToolContext

CHARS_PER_TOKEN: Final = 3.5
"""Characters of one token, estimated on the low side for English text and code."""

_LINE_SEARCH: Final = 200
_log = logging.getLogger(__name__)


async def bounded(
    tool: str, text: str, kept_at: str | None, context: ToolContext, tokens_max: int
) -> tuple[str, str | None]:
    """The text as the model sees it, and the logical path of the whole when it was cut.

    `kept_at`: where the tool itself has already put its whole output. `tokens_max` 0 = no bound.
    """
    chars_max = int(tokens_max * CHARS_PER_TOKEN)
    if not tokens_max or len(text) <= chars_max:
        return text, kept_at
    if kept_at is None:
        stamp = context.clock.now().strftime("%Y%m%dT%H%M%S%f")[:-3]
        try:
            kept_at = await asyncio.to_thread(context.workspace.spill, tool, stamp, text.encode())
        except RuntimeFault:
            _log.exception("the whole result of %s could not be kept", tool)
    return shortened(text, chars_max, kept_at), kept_at


def shortened(text: str, chars_max: int, kept_at: str | None) -> str:
    """The first and the last part of a text that is longer than `chars_max` characters.

    The marker comes on top of that; lines are kept whole where one ends near the cut.
    """
    half = chars_max // 2
    head_end = text.rfind("\n", max(0, half - _LINE_SEARCH), half) + 1 or half
    tail_start = len(text) - half
    newline = text.find("\n", tail_start, tail_start + _LINE_SEARCH)
    tail_start = newline + 1 if newline >= 0 else tail_start
    where = (
        f"the full text is in {kept_at}: read parts of it with read (offset, limit), or grep it"
        if kept_at
        else "the full text could not be kept"
    )
    marker = f"[... {tail_start - head_end:,} characters left out; {where} ...]"
    return f"{text[:head_end].rstrip()}\n\n{marker}\n\n{text[tail_start:]}"
