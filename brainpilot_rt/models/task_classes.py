"""What kind of turn is coming, from what is known before it. Models are compared within a class."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from brainpilot_rt.domain.thinking import Intent, ProgramName

TaskClass: TypeAlias = Literal["chat", "plan", "research", "synthesis", "tool_loop"]
LONG_CHARS: Final = 20_000
"""A request this long brings its material: something is to be made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A turn that is about to begin."""

    intent: Intent | None = None
    program: ProgramName | None = None
    first: bool = True
    """The first turn of its run."""
    results_pending: bool = False
    """The newest of the conversation are results of tools."""
    closing: bool = False
    """All steps are closed, or no tools are offered any more: what was found is put together."""
    asked_chars: int = 0
    """Characters of what is asked."""


def task_class(moment: Moment) -> TaskClass:
    """The class; the first rule that fits."""
    if moment.closing:
        return "synthesis"
    if moment.first and (moment.intent == "plan" or moment.program == "plan_execute"):
        return "plan"
    if "research" in (moment.intent, moment.program):
        return "research"
    if moment.results_pending or moment.program == "plan_execute":
        return "tool_loop"
    if moment.asked_chars >= LONG_CHARS:
        return "synthesis"
    return "tool_loop" if moment.intent == "tool_use" else "chat"
