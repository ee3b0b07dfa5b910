"""The parts of a system prompt, each from values and each with a bound. Pure.

Order: what never changes first (the persona), what changes with every turn last (the marker), so
that a provider's prompt cache keeps as much as it can. Words of others (titles, descriptions) are
flattened to one line and cut: they inform, they do not structure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.domain.events import AgentKind
from brainpilot_rt.domain.ids import AgentName, TaskId
from brainpilot_rt.domain.phases import AgentPhase

LINES_MAX: Final = 40
"""Entries of one list; the rest is counted, not listed."""
LINE_CHARS_MAX: Final = 160
"""Characters of a title or a description."""


@dataclass(frozen=True, slots=True)
class Member:
    """An agent of the team, as the others see it."""

    name: AgentName
    role: str
    status: AgentPhase
    kind: AgentKind = "managed"
    description: str = ""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """An open task. `other`: who delegated it to the reader, or who works on it for the reader."""

    task_id: TaskId
    other: AgentName
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an agent should know about its place at this turn."""

    agent: AgentName
    team: Sequence[Member] = ()
    holds: Sequence[OpenTask] = ()
    """Tasks the agent has and must deliver."""
    waits: Sequence[OpenTask] = ()
    """Tasks the agent delegated and will get an answer to."""
    workspace: str = ""
    """A note about the files at hand."""


def joined(parts: Iterable[str]) -> str:
    """The parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part)


def identity(persona: str, agent: AgentName) -> str:
    """Who the agent is: what never changes in a run."""
    return joined([persona.strip(), f'You are "{agent}".'])


def place(around: Surroundings) -> str:
    """The team and the open tasks: what changes with every turn; empty when there is nothing."""
    parts = [
        _listed("The team:", (_member(member, around.agent) for member in around.team)),
        _listed(
            "Tasks you hold; deliver each with send_message, msg_type result_deliver and its id:",
            (f"{task.task_id} for {task.other}: {_flat(task.title)}" for task in around.holds),
        ),
        _listed(
            "Tasks you wait for; their results come as letters:",
            (f"{task.task_id} with {task.other}: {_flat(task.title)}" for task in around.waits),
        ),
        around.workspace.strip(),
    ]
    return joined(parts)


def _member(member: Member, reader: AgentName) -> str:
    facts = [member.role] if member.role != member.name else []
    facts += ["external"] if member.kind == "external" else []
    facts.append("you" if member.name == reader else member.status.value)
    line = f"{member.name} ({', '.join(facts)})"
    return f"{line}: {_flat(member.description)}" if member.description else line


def _listed(title: str, entries: Iterable[str]) -> str:
    lines = [f"- {entry}" for entry in entries]
    if not lines:
        return ""
    if len(lines) > LINES_MAX:
        lines[LINES_MAX:] = [f"- and {len(lines) - LINES_MAX} more"]
    return "\n".join([title, *lines])


def _flat(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE_CHARS_MAX else f"{line[: LINE_CHARS_MAX - 1]}…"
