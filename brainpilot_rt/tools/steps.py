"""The four steps of a tool call: prepare, gate, execute, finalize; each as a function.

A step answers with what the next one takes, or with the one result of the call.
"""

import difflib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import ValidationError

from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.tools import ToolResult
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Registry, Tool, ToolOutput
from brainpilot_rt.tools.truncation import bounded

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may run; as `instead`, when it is not None (other arguments, another tool)."""

    instead: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The call may not run; `reason` is shown to the model."""

    reason: str


Verdict: TypeAlias = Allow | Refuse


Gate: TypeAlias = Callable[[ToolCall, Tool], Awaitable[Verdict]]
"""May this call run?"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that is well formed."""

    call: ToolCall
    tool: Tool
    arguments: Arguments


def prepare(registry: Registry, call: ToolCall) -> Prepared | ToolResult:
    """Look the tool up and check the arguments; a refusal says how to mend the call."""
    found = registry.get(call.name)
    if found is None:
        near = difflib.get_close_matches(call.name, [one.name for one in registry], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        names = ", ".join(one.name for one in registry) or "none"
        return refused(call, f"There is no tool {call.name!r}.{hint} Available: {names}.")
    if call.arguments is None:
        return refused(
            call,
            f"The arguments are not one JSON object (they begin {call.raw_arguments[:120]!r} and "
            f"end {call.raw_arguments[-60:]!r}). Call {call.name} again with a complete object; "
            "if it was cut off by the output limit, split the work into smaller calls.",
        )
    try:
        return Prepared(call, found, found.arguments.model_validate(call.arguments))
    except ValidationError as invalid:
        return refused(call, _what_is_wrong(found, invalid))


async def gate(ask: Gate, registry: Registry, prepared: Prepared) -> Prepared | ToolResult:
    """Ask whether the call may run."""
    verdict = await ask(prepared.call, prepared.tool)
    match verdict:
        case Allow(instead):
            return prepared if instead is None else prepare(registry, instead)
        case Refuse(reason):
            return refused(prepared.call, f"Not allowed: {reason}")


async def execute(prepared: Prepared, context: ToolContext) -> ToolOutput:
    """Run the tool; whatever it raises (a cancellation excepted) becomes its output."""
    try:
        return await prepared.tool.run(context, prepared.arguments)
    except RuntimeFault as fault:
        return ToolOutput(fault.message, failed=True)
    except OSError as error:
        # Its text may hold paths of this machine; the model knows logical paths only.
        return ToolOutput(f"{prepared.tool.name}: {error.strerror or error}", failed=True)
    except Exception as error:  # noqa: BLE001 - the boundary of a call: the error is its result
        _log.exception("tool %s failed", prepared.tool.name)
        return ToolOutput(f"{prepared.tool.name} failed: {type(error).__name__}", failed=True)


async def finalize(
    call: ToolCall, output: ToolOutput, context: ToolContext, tokens_max: int
) -> ToolResult:
    """Turn the output into the one result of the call, well formed and cut to its budget."""
    # File names can hold bytes that are no text; the log takes only what UTF-8 can write.
    whole = output.content.encode("utf-8", "replace").decode("utf-8")
    content, path = await bounded(call.name, whole, output.full_output_path, context, tokens_max)
    return ToolResult(
        call_id=call.call_id,
        name=call.name,
        content=content,
        status="unknown" if output.unknown else "failed" if output.failed else "completed",
        full_output_path=path,
    )


def refused(call: ToolCall, reason: str) -> ToolResult:
    """The result of a call that never ran."""
    return ToolResult(call_id=call.call_id, name=call.name, content=reason, status="refused")


def interrupted(call: ToolCall) -> ToolResult:
    """The result of a call that was stopped."""
    text = f"{call.name} was stopped before it finished; what it had done by then stays done."
    return ToolResult(call_id=call.call_id, name=call.name, content=text, status="interrupted")


def _what_is_wrong(found: Tool, invalid: ValidationError) -> str:
    problems = "; ".join(
        f"`{'.'.join(str(part) for part in error['loc']) or 'arguments'}`: {error['msg']}"
        for error in invalid.errors(include_url=False, include_input=False)[:8]
    )
    fields = found.arguments.model_fields
    known = ", ".join(name + ("*" if field.is_required() else "") for name, field in fields.items())
    return (
        f"The arguments do not fit {found.name}: {problems}. "
        f"It takes: {known or 'nothing'} (* = required). Call it again with mended arguments."
    )
