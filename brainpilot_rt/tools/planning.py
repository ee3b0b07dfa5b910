"""Tools that make a plan and change it. What becomes of the plan is decided behind their port.

How many steps there may be too: what is too many has to be counted and said there.
"""

from typing import Annotated, Literal

from pydantic import Field

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import Planning, ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool

_STEP = Annotated[str, Field(min_length=1, max_length=1_000)]


class ProposePlan(Arguments):
    """Say how you will answer the request: its goal, and the steps in their order.

    You are then led through the steps one at a time. There is at least one; each should name its
    result and, if somebody else does it, that specialist.
    """

    goal: Annotated[str, Field(min_length=1, max_length=1_000)]
    steps: tuple[_STEP, ...]


class RevisePlan(Arguments):
    """Replace the open steps of your plan, because of what you have learned.

    Closed steps stay. Without steps the plan ends here and you answer. A plan can be revised only
    a few times.
    """

    steps: tuple[_STEP, ...]
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]


class CloseStep(Arguments):
    """End the open step of your plan and hear the next.

    The note says what came of it, or why it failed or is not needed.
    """

    status: Literal["done", "failed", "dropped"] = "done"
    note: Annotated[str, Field(max_length=4_000)] = ""


async def _propose(context: ToolContext, wanted: ProposePlan) -> ToolOutput:
    said, failed = await _port(context).propose(context.call_id, wanted.goal, wanted.steps)
    return ToolOutput(said, failed=failed)


async def _revise(context: ToolContext, wanted: RevisePlan) -> ToolOutput:
    said, failed = await _port(context).revise(context.call_id, wanted.steps, wanted.reason)
    return ToolOutput(said, failed=failed)


async def _close(context: ToolContext, wanted: CloseStep) -> ToolOutput:
    said, failed = await _port(context).close(context.call_id, wanted.status, wanted.note)
    return ToolOutput(said, failed=failed)


def _port(context: ToolContext) -> Planning:
    assert context.planning is not None, "this agent's run has no plan"
    return context.planning


def planning_tools() -> tuple[Tool, ...]:
    """The planning tools. A call that is run again after a crash changes nothing twice."""
    effect = Effect.IDEMPOTENT
    return (
        tool(_propose, ProposePlan, name="propose_plan", effect=effect, sequential=True),
        tool(_revise, RevisePlan, name="revise_plan", effect=effect, sequential=True),
        tool(_close, CloseStep, name="close_step", effect=effect, sequential=True),
    )
