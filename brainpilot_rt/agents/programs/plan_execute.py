"""Plan and execute: propose a plan, work one step at a time, revise it a few times, answer. Pure.

A step ends with `close_step` or with a text; what the model hears then is the next step. Bounded by
construction: every text closes a step or begins one that was not begun, a plan never holds more
steps than it may, and a revision too many makes the next reply the last.
"""

from dataclasses import dataclass
from typing import Literal

from brainpilot_rt.domain.thinking import FINAL_HEAD, PLAN_HEAD, Plan, PlanStep, StepStatus

NOTE_CHARS_MAX = 400
STEP_CHARS_MAX = 1_000

FINAL_TEXT = (
    f"{FINAL_HEAD} Now give the whole answer to the request in one text, with the "
    "citations of what you rely on; say which steps failed or were dropped, and what that means."
)
END_TEXT = "There is no further turn after the next: answer then with what you have."


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a plan may be and how often it may change."""

    steps_max: int
    replans_max: int


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a plan. `said`: for the model."""

    said: str
    plan: Plan | None = None
    """The plan as it is from now on; None: nothing changes."""
    op: Literal["proposed", "revised", "step_closed"] = "proposed"
    limit: Literal["steps", "replans", "repeats"] | None = None
    """The bound that was met ..."""
    actual: int = 0
    """... and by which count."""
    final: bool = False
    """The next reply has to be the last."""
    failed: bool = False


def propose(
    known: Plan | None, replans: int, goal: str, steps: tuple[str, ...], bounds: Bounds
) -> Move:
    """A plan for a request; one that takes the place of another counts as its revision."""
    wanted = _texts(steps)
    if not wanted:
        return Move("A plan needs at least one step.", failed=True)
    if known is not None:
        return revise(known, replans, steps, bounds, goal=goal)
    plan = Plan(goal=_flat(goal), steps=_steps(wanted[: bounds.steps_max]))
    over = len(wanted) > bounds.steps_max
    said = f"Noted: a plan of {len(plan.steps)} steps."
    if over:
        said += f" Only the first {bounds.steps_max} of {len(wanted)} steps are kept."
    return Move(
        f"{said}\n\n{next_text(plan)}",
        plan,
        limit="steps" if over else None,
        actual=len(wanted),
    )


def revise(
    known: Plan, replans: int, steps: tuple[str, ...], bounds: Bounds, *, goal: str = ""
) -> Move:
    """Other steps instead of the open ones; those that are closed stay."""
    closed = tuple(one for one in known.steps if one.status != "open")
    room = bounds.steps_max - len(closed)
    wanted = _texts(steps)
    if wanted == [one.text for one in known.steps if one.status == "open"]:
        return Move(f"The plan is like this already.\n\n{next_text(known)}")
    if replans >= bounds.replans_max:
        text = f"A plan can be revised {bounds.replans_max} times, and this one was. {END_TEXT}"
        return Move(text, limit="replans", actual=replans + 1, final=True, failed=True)
    if wanted and room <= 0:
        text = f"A plan has at most {bounds.steps_max} steps, and so many are closed. {END_TEXT}"
        actual = len(closed) + len(wanted)
        return Move(text, limit="steps", actual=actual, final=True, failed=True)
    plan = Plan(
        goal=_flat(goal) or known.goal,
        steps=(*closed, *_steps(wanted[:room])),
        version=known.version + 1,
    )
    over = len(wanted) > room
    said = f"Revised: {len(plan.steps) - len(closed)} steps are open."
    if over:
        said += f" Only the first {room} of {len(wanted)} are kept."
    return Move(
        f"{said}\n\n{next_text(plan)}",
        plan,
        op="revised",
        limit="steps" if over else None,
        actual=len(closed) + len(wanted),
    )


def close(known: Plan | None, status: StepStatus, note: str) -> Move:
    """The open step has ended."""
    at = known.next_step if known else None
    if known is None or at is None:
        return Move("No step is open: there is nothing to close.", failed=True)
    plan = closed(known, at, status, note)
    return Move(
        f"Step {at + 1} is {status}.\n\n{next_text(plan)}",
        plan,
        op="step_closed",
    )


def closed(plan: Plan, at: int, status: StepStatus, note: str) -> Plan:
    """The plan with one step closed."""
    short = _flat(note)
    short = short if len(short) <= NOTE_CHARS_MAX else f"{short[: NOTE_CHARS_MAX - 1]}…"
    step = plan.steps[at].model_copy(update={"status": status, "note": short})
    return plan.model_copy(update={"steps": (*plan.steps[:at], step, *plan.steps[at + 1 :])})


def step_text(plan: Plan, at: int) -> str:
    """What the model is told about a step when it begins."""
    return (
        f"Step {at + 1} of {len(plan.steps)}: {plan.steps[at].text}\n"
        "Do this step now and nothing beyond it. It ends with close_step, or with a text that says "
        "what came of it. If you delegate it, end your turn: the step stays open until the result "
        "has come."
    )


def next_text(plan: Plan) -> str:
    """What comes after what has just happened: the next step, or the answer."""
    at = plan.next_step
    return FINAL_TEXT if at is None else step_text(plan, at)


def guidance(plan: Plan, replans_left: int) -> str:
    """The plan as the model sees it in every turn."""
    lines = [f"{PLAN_HEAD} {plan.goal}"]
    for number, one in enumerate(plan.steps, 1):
        note = f" ({one.note})" if one.note else ""
        lines.append(f"{number}. [{one.status}] {one.text}{note}")
    at = plan.next_step
    lines.append(
        "Every step is closed."
        if at is None
        else f"You are at step {at + 1}; close it with "
        f"close_step. revise_plan changes the open steps; {replans_left} revisions are left."
    )
    return "\n".join(lines)


def _steps(texts: list[str]) -> tuple[PlanStep, ...]:
    return tuple(PlanStep(text=text) for text in texts)


def _texts(steps: tuple[str, ...]) -> list[str]:
    flat = (_flat(step)[:STEP_CHARS_MAX] for step in steps)
    return [text for text in flat if text]


def _flat(text: str) -> str:
    """On one line: a plan is shown in the system prompt, and no line of it may look like ours."""
    return " ".join(text.split())
