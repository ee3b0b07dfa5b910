"""Tools as values: what is offered to a model and what came back.

The effect class decides what a crash means (D7): a `pure` tool re-runs, an `idempotent` one re-runs
with the same key (its call id), an `irreversible` one without a recorded result becomes `unknown`.
"""

from enum import StrEnum
from typing import Any, Final, Literal

from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.values import Value

FOREIGN: Final = "mcp__"
"""What the name of a tool begins with that is not ours: `mcp__<server>__<tool>`."""
ANY_FOREIGN: Final = f"{FOREIGN}*"
"""All of them, where a role or an agent names its tools."""


class Effect(StrEnum):
    """What repeating a call would do."""

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    IRREVERSIBLE = "irreversible"


class ToolSpec(Value):
    """One tool as a model sees it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]
    effect: Effect = Effect.IRREVERSIBLE
    sequential: bool = False
    """True: never runs beside other calls of the same turn."""


ToolStatus = Literal["completed", "failed", "interrupted", "refused", "unknown"]


class ToolResult(Value):
    """What a call came to. Exactly one per call.

    `completed`: ran and succeeded. `failed`: ran and reported an error. `interrupted`: stopped by
    someone. `refused`: never ran (unknown tool, bad arguments, not allowed). `unknown`: it may have
    run; nobody knows (crash between start and result).
    """

    call_id: CallId
    name: str
    content: str
    status: ToolStatus = "completed"
    full_output_path: str | None = None
    """Logical path (`/workspace/...`) of the whole output when `content` was cut."""

    @property
    def is_error(self) -> bool:
        """Everything but `completed` is an error to the model."""
        return self.status != "completed"
