"""How a run thinks, as values: what is wanted, which program answers it, its plan, its context."""

from typing import Any, Final, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from brainpilot_rt.domain.values import Value

Intent: TypeAlias = Literal["respond", "tool_use", "research", "plan", "clarify"]
ProgramName: TypeAlias = Literal["respond", "react", "research", "plan_execute", "clarify"]
StepStatus: TypeAlias = Literal["open", "done", "failed", "dropped"]

PLANNING_TOOLS: Final = ("propose_plan", "revise_plan", "close_step")
"""Tools that change a plan and nothing else."""
CLASSIFY_HEAD: Final = "Your only job is to say what a message wants."
"""How the system prompt of a classification begins; the offline model knows it by this."""
PLAN_HEAD: Final = "Your plan for this request:"
FINAL_HEAD: Final = "All steps are closed."
EVIDENCE_HEAD: Final = "This answer is not shown yet."
"""How what a program says begins: in the system prompt while a plan is open, after its last step,
about an answer whose citations do not hold."""
COMPACT_HEAD: Final = "Your only job is to summarise the older part of a conversation."
"""How the system prompt of a compaction begins."""


class PlanStep(Value):
    """One step of a plan. `note`: what came of it, or why it was dropped."""

    text: str
    status: StepStatus = "open"
    note: str = ""


class Plan(Value):
    """A plan as it is now. `version` counts from 1, each revision is one more."""

    goal: str
    steps: tuple[PlanStep, ...]
    version: int = Field(default=1, ge=1)

    @property
    def next_step(self) -> int | None:
        """Index of the first open step; None when all are closed."""
        return next((at for at, one in enumerate(self.steps) if one.status == "open"), None)


class ContextSection(Value):
    """One section of an assembled context."""

    name: str
    """`persona`, a source (`soul`, `memory`, `skill`, `heartbeat`, `workspace`, `reference`), a
    section of memory, `team`, `program`, `marker`, or `conversation`."""
    tokens: int
    budget: int | None = None
    items: int = 0
    left_out: int = 0
    """Items (or messages) that did not get in ..."""
    why: str = ""
    """... and why: a sentence for a person."""
    item_ids: tuple[str, ...] = ()
    """Of memory: what was shown."""
    digest: str = ""
    """Of the text: equal digests, equal texts."""
    text: str | None = None
    """None: the text of the same digest in an earlier context of the session. The conversation
    has none: the log holds it."""
    untrusted: bool = False
    """Words are among it that neither the user nor the team is known to have written."""

    @model_serializer(mode="wrap")
    def _said(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is at its default: every turn has ten of these in the log."""
        fields = type(self).model_fields
        said: dict[str, Any] = dump(self)
        return {
            name: one for name, one in said.items() if getattr(self, name) != fields[name].default
        }


class CallSummary(Value):
    """A tool call as a summary lists it."""

    tool_name: str
    call_id: str
    is_error: bool
    duration_ms: int
