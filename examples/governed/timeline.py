"""The events of a run as lines to read: when, what, and the part of it that matters."""

import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

Event = dict[str, Any]
Line = tuple[str, str, str]
"""What it is, the words, and their style."""
WIDTH = 116
INDENT = 23


def _shown(value: object, most: int = 60) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _running(event: Event) -> Line:
    return "running", str(event["agentId"]), "dim"


def _model(event: Event) -> Line:
    name, why = event["model"], f"{event['phase']}: {event['reason']}"
    if failed := event.get("insteadOf"):
        return "model", f"{name} instead of {failed['model']}  ({why})", "yellow"
    return "model", f"{name}  ({why})", "cyan"


def _guardrail(event: Event) -> Line:
    done = "was taken out" if event["action"] == "redact" else "was noted"
    where = {"output": "what it says", "tool_result": "a result"}.get(event["stage"], "")
    style = "bold magenta" if event["action"] == "redact" else "dim"
    return "guardrail", f"{event['reason']} in {where} {done} ({event['guardrail']})", style


def _says(event: Event) -> Line:
    return "says", f"“{event['text']}”", "bold"


def _calls(event: Event) -> Line:
    args = "  ".join(_shown(one, 30) for one in event["args"].values())
    asks = "  (a person is asked first)" if event["evaluated_permission"] == "ask" else ""
    return "calls", f"{event['toolName']}  {args}{asks}", "bold yellow" if asks else ""


def _result(event: Event) -> Line:
    style = "red" if event["isError"] else "dim"
    return "result", f"{event['toolName']}: {_shown(event['result'], 84)}", style


def _saved(event: Event) -> Line:
    cost, less = event["actualCostUsd"], event["savingsUsd"]
    beside = f"{usd(less)} less than {event['baselineModel']} would have"
    return "cost", f"{usd(cost)}, {beside}", "green"


def _warning(event: Event) -> Line:
    left = f"{usd(event['spentUsd'])} of {usd(event['capUsd'])} are spent"
    return "budget", f"WARNING, {event['threshold']:.0%} reached: {left}", "bold yellow"


def _idle(event: Event) -> Line:
    stop = event["stop_reason"]
    if stop["type"] == "requires_action":
        return "waits", ", ".join(stop["event_ids"]), "bold yellow"
    return "idle", str(stop["type"]), "dim"


def _ended(event: Event) -> Line:
    took = f"{event['totalTurns']} turns, {usd(event['totalCostUsd'])}"
    return "ended", f"{event['reason']}  ({took})", "bold red"


_LINES: dict[str, Callable[[Event], Line]] = {
    "session.status_running": _running,
    "br.model_selected": _model,
    "br.guardrail_intervention": _guardrail,
    "agent.message": _says,
    "agent.tool_use": _calls,
    "agent.tool_result": _result,
    "br.routing_savings": _saved,
    "br.budget_warning": _warning,
    "session.status_idle": _idle,
    "session.status_ended": _ended,
}


class Timeline:
    """Prints. Colours as the terminal and NO_COLOR, FORCE_COLOR say (`rich` looks)."""

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=True, quiet=quiet)
        self._began: datetime | None = None
        self._turn = -1

    def event(self, event: Event) -> None:
        """One event of the stream."""
        at = datetime.fromisoformat(event["processed_at"])
        self._began = self._began or at
        turn = event.get("turnIndex")
        head = f"{(at - self._began).total_seconds():6.2f} s "
        if turn is not None and turn > self._turn:
            self._turn = turn
            self.say(f"         turn {turn + 1}", "dim")
        what, words, style = _LINES[event["type"]](event)
        for number, line in enumerate(_wrapped(words)):
            start = f"{head} {what:<{INDENT - len(head) - 2}} " if not number else " " * INDENT
            self._print((start, "dim"), (line, style))

    def elsewhere(self, command: str, printed: str) -> None:
        """A command of another terminal, and what it printed."""
        self._print(("         │ ", "blue"), (f"another terminal $ {command}", "bold blue"))
        for line in printed.splitlines():
            self._print(("         │ ", "blue"), (_clipped(line), ""))

    def claim(self, what: str, *, holds: bool) -> None:
        """Something that was checked."""
        mark = ("  holds  ", "green") if holds else ("  FAILS  ", "bold red")
        self._print(mark, (what, ""))

    def say(self, words: str, style: str = "") -> None:
        """A line of our own."""
        self._print((words, style))

    def _print(self, *parts: tuple[str, str]) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(*parts), soft_wrap=True)


def usd(amount: float) -> str:
    """An amount of dollars, to a hundredth of a cent."""
    return f"${amount:.4f}"


def _wrapped(words: str) -> Iterator[str]:
    yield from textwrap.wrap(words, WIDTH - INDENT) or [""]


def _clipped(line: str) -> str:
    return line if len(line) <= WIDTH - 12 else line[: WIDTH - 13] + "…"
