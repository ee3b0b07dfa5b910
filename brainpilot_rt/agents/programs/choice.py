"""Which program answers an intent, which tools it offers, and what it says of itself. Pure.

A program narrows the first turn of a run and guides the rest. It forbids nothing: what an agent may
use at all is governance, and a model that reaches past the first offer was misjudged, not wrong. So
a wrong guess about a message costs a detour at most.
"""

from collections.abc import Mapping
from typing import Final

from brainpilot_rt.domain.thinking import PLANNING_TOOLS, Intent, ProgramName

ALL_PROGRAMS: Final[tuple[ProgramName, ...]] = (
    "respond",
    "react",
    "research",
    "plan_execute",
    "clarify",
)

_ANSWERED_BY: Final[Mapping[Intent, ProgramName]] = {
    "respond": "respond",
    "tool_use": "react",
    "research": "research",
    "plan": "plan_execute",
    "clarify": "clarify",
}
_NEEDS: Final[Mapping[ProgramName, str]] = {"plan_execute": "propose_plan", "clarify": "ask_user"}
"""A tool without which a program is none."""

_GUIDANCE: Final[Mapping[ProgramName, str]] = {
    "respond": "This message can be answered at once: answer it.",
    "react": "",
    "research": "",
    "plan_execute": (
        "This request has several parts. Begin with propose_plan: the goal, and its steps in "
        "order, each a piece of work with a result somebody can check. Say in a step which "
        "specialist does it. If one answer without any step is enough, give it."
    ),
    "clarify": (
        "Something only the user knows is missing. Ask for it now with ask_user, in one question; "
        "with the answer, go on."
    ),
}


def program_for(
    intent: Intent, allowed: tuple[ProgramName, ...], tools: tuple[str, ...]
) -> tuple[ProgramName, str]:
    """The program that answers an intent, and why it is not the usual one, if so."""
    wanted = _ANSWERED_BY[intent]
    if wanted not in allowed:
        return "react", f"this agent has no program {wanted}"
    if _NEEDS.get(wanted, "") not in ("", *tools):
        return "react", f"{wanted} needs {_NEEDS[wanted]}, which this agent does not have"
    return wanted, ""


def offer(
    program: ProgramName, names: tuple[str, ...], *, first: bool, planned: bool
) -> tuple[str, ...]:
    """Of an agent's tools, those a program offers. `first`: the run has no reply yet."""
    if planned:
        return tuple(name for name in names if name != "propose_plan")
    if first and program == "respond":
        return ()
    if first and program == "plan_execute":
        return ("propose_plan",)
    if first and program == "clarify":
        return ("ask_user",)
    return tuple(name for name in names if name not in PLANNING_TOOLS)


def guidance(program: ProgramName, *, first: bool) -> str:
    """What a program says to the model before its first reply; may be empty."""
    return _GUIDANCE[program] if first else ""
