"""What governs a run, as lines of a terminal: which model and why, what was stopped, who is asked.

Budgets, and guardrails that stop something, come as messages of the daemon, with its words.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from brainpilot_rt.cli.client import as_object

Value: TypeAlias = dict[str, Any]

_NO_CHOICE: Final = frozenset({"pinned", "only", "held"})
_TOLD_BY_OTHERS: Final = frozenset({"pass", "ask", "block"})
"""A question follows, or the refusal that the model reads."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of news. `colour` None: it is in the background."""

    text: str
    colour: str | None = None
    bold: bool = False


def _model(value: Value) -> list[Line]:
    phase, why = value.get("phase"), value.get("reason")
    if phase in _NO_CHOICE:
        return []
    asked = _ref(value.get("model"))
    if phase == "fallback" or value.get("instead_of"):
        failed = _ref(value.get("instead_of")) or "the model"
        return [Line(f"{failed} failed; asks {asked} instead ({why})", "yellow")]
    return [Line(f"asks {asked} ({why})")]


def _ref(value: object) -> str:
    model = as_object(value)
    return f"{model.get('provider')}/{model.get('model')}" if model else ""


def _guardrail(value: Value) -> list[Line]:
    action = value.get("action")
    if action == "block":
        return []
    where = str(value.get("stage")).replace("_", " ").replace("args", "arguments")
    text = f"guardrail {value.get('guardrail')}: {action} ({where}): {value.get('reason')}"
    return [Line(text, None if action == "log" else "yellow")]


def _judged(value: Value) -> list[Line]:
    if value.get("action") in _TOLD_BY_OTHERS:
        return []
    reasons = "; ".join(map(str, value.get("reasons") or ()))
    return [Line(f"{value.get('tool')}: {value.get('action')}: {reasons}", "yellow")]


def _asked(value: Value) -> list[Line]:
    arguments = as_object(value.get("arguments"))
    said = "  ".join(
        f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in arguments.items()
    )
    return [
        Line(f"may {value.get('tool')} run? {said}", "magenta", bold=True),
        Line(f"to allow it: brainpilot-rt approvals approve {value.get('approval_id')}", "magenta"),
    ]


def _decided(value: Value) -> list[Line]:
    decision = str(value.get("decision"))
    note = f": {value['note']}" if value.get("note") else ""
    scope = (
        f" for the {value['scope']}" if value.get("scope") in ("run", "session", "agent") else ""
    )
    colour = {"approved": "green", "denied": "red"}.get(decision, "yellow")
    return [Line(f"{decision}{scope} by {value.get('by')}{note}", colour)]


NEWS: Final[dict[str, Callable[[Value], list[Line]]]] = {
    "approval_decided": _decided,
    "approval_requested": _asked,
    "guardrail_fired": _guardrail,
    "model_selected": _model,
    "tool_judged": _judged,
}
"""Lines of an event, by its name."""
