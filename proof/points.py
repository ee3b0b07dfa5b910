"""The failpoints of the product: which there are, what they belong to, and which a process hit.

A point is declared by its name standing as a literal somewhere in the package: every name has the
form `part.step.moment`, and nothing else there has it.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

import brainpilot_rt
from brainpilot_rt.aiokit.failpoints import TRACE_RECORD

Phase: TypeAlias = Literal[
    "write", "consume", "turn", "tool", "commit", "recovery", "checkpoint", "stop"
]

_NAME: Final = re.compile(
    r"(files|log|mail|session|turn|run|tool|boot|stop)(\.[a-z_]+)+\.(before|half|linked|after)"
)
_PHASES: Final[dict[str, Phase]] = {
    "mail.place": "write",
    "mail.read": "consume",
    "mail.adopt": "consume",
    "mail.accept": "consume",
    "mail.claim": "consume",
    "mail.done": "consume",
    "mail.release": "consume",
    "mail.bad": "consume",
    "files": "write",
    "turn": "turn",
    "run": "turn",
    "tool": "tool",
    "session": "commit",
    "log": "commit",
    "log.migrate": "recovery",
    "log.checkpoint": "checkpoint",
    "boot": "recovery",
    "stop": "stop",
    "stop.checkpoint": "checkpoint",
}
"""Start of a name -> its phase; the longest start decides."""


@cache
def declared() -> frozenset[str]:
    """Every point of the package, read from the source of the modules that know of failpoints."""
    sources = (
        path.read_text(encoding="utf-8")
        for path in Path(brainpilot_rt.__file__).parent.rglob("*.py")
    )
    return frozenset(
        node.value
        for source in sources
        if "failpoint" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _NAME.fullmatch(node.value)
    )


@cache
def phase_of(name: str) -> Phase:
    """The phase of the daemon's work that a point belongs to; KeyError for what is no point."""
    starts = name.split(".")
    for length in range(len(starts), 0, -1):
        phase = _PHASES.get(".".join(starts[:length]))
        if phase is not None:
            return phase
    raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Last:
    """The point that a traced process hit last."""

    name: str
    at_ns: int
    """`time.monotonic_ns()` of that moment, the same clock in every process of the machine."""


def last(path: Path) -> Last | None:
    """What the process that wrote this trace hit last; None when it hit nothing."""
    try:
        found = _records(path)[0]
    except (FileNotFoundError, IndexError):
        return None
    return Last(*found) if found[0] else None


def reached(path: Path) -> dict[str, int]:
    """How often the process that wrote this trace hit each point."""
    try:
        return {name: hits for name, hits in _records(path)[1:] if name}
    except FileNotFoundError:
        return {}


def _records(path: Path) -> list[tuple[str, int]]:
    data = path.read_bytes()
    whole = len(data) - len(data) % TRACE_RECORD.size
    return [
        (name.rstrip(b"\0").decode(), number)
        for name, number in TRACE_RECORD.iter_unpack(data[:whole])
    ]
