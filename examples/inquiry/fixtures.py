"""What the mock models say in the inquiry, as fixtures of aimock.

Every citation is looked up in the corpus while the fixtures are made: line numbers differ from one
Python to the next. A model's words are found by its system prompt and the number of its turn.
"""

import json
import re
from pathlib import Path
from typing import Any

TASKS = "asyncio/tasks.py"
GROUPS = "asyncio/taskgroups.py"
QUOTES = (
    ("A task is asked to cancel itself", TASKS, "Request that this task cancel itself."),
    ("A future can be kept from cancellation", TASKS,
     "Wait for a future, shielding it from cancellation."),
    ("A group waits for all of its tasks", GROUPS,
     "Asynchronous context manager for managing groups of tasks."),
)  # fmt: skip
STEPS = (
    "The librarian finds what the sources say about cancelling a task and holding that back.",
    "The auditor reads the cited lines again.",
    "The writer puts the report together.",
)


def cited(folder: Path, path: str, quote: str) -> str:
    """A citation of words that stand in a file, wherever they stand in this Python."""
    text = (folder / path).read_text(encoding="utf-8")
    found = re.search(r"\s+".join(map(re.escape, quote.split())), text)
    if found is None:
        raise SystemExit(f"{path} of this Python does not say {quote!r}")
    first = text.count("\n", 0, found.start()) + 1
    return f'[{path}:{first}-{first + found.group().count(chr(10))} "{quote}"]'


def fixtures(folder: Path) -> dict[str, Any]:
    """All of them, for the corpus in a folder."""
    lines = [f"{claim}. {cited(folder, path, quote)}" for claim, path, quote in QUOTES]
    findings = "\n".join(f"- {line}" for line in lines)
    shield = f"The outer wait ends, the inner task goes on. {cited(folder, *QUOTES[1][1:])}"
    said = {
        "principal": [
            call("propose_plan", goal="A cited report on cancellation", steps=list(STEPS)),
            delegate("librarian", "Find what the sources say about cancelling a task."),
            text("The librarian is at work."),
            text("The librarian found three passages."),
            delegate("auditor", f"Read the cited lines again:\n{findings}"),
            text("The auditor is at work."),
            text("All three hold."),
            delegate("writer", f"Write a short report from these findings:\n{findings}"),
            text("The writer is at work."),
            text("The report is written."),
            text(f"Report: how a task is cancelled, and what holds that back.\n\n{findings}"),
            text(shield),
            text(shield),
        ],
        "librarian": [
            call("search", query="cancel task shield group"),
            deliver(findings),
            text("Delivered."),
        ],
        "auditor": [
            call("read", path=TASKS, offset=1, limit=40),
            deliver(f"They hold:\n{findings}"),
            text("Delivered."),
        ],
        "writer": [deliver(f"The report:\n\n{findings}"), text("Delivered.")],
    }
    spoken = [
        {"match": {"systemMessage": f'You are "{agent}"', "turnIndex": turn}, "response": reply}
        for agent, replies in said.items()
        for turn, reply in enumerate(replies)
    ]
    return {"fixtures": [*judged(), *spoken]}


def judged() -> list[dict[str, Any]]:
    """What the classifier says of each message."""
    wanted = {"First gather": "plan", "What does shield": "research", "": "tool_use"}
    return [
        {
            "match": {"systemMessage": "Your only job is to say what a message wants"}
            | ({"userMessage": words} if words else {}),
            "response": text(
                json.dumps({"intent": intent, "confidence": 0.9, "reasoning": "mock"})
            ),
        }
        for words, intent in wanted.items()
    ]


def text(content: str) -> dict[str, Any]:
    """A reply of words."""
    return {"content": content}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A reply that calls a tool."""
    return {"content": "", "toolCalls": [{"name": name, "arguments": json.dumps(arguments)}]}


def delegate(to: str, content: str) -> dict[str, Any]:
    """A reply that gives somebody a task."""
    return call("send_message", to=to, content=content, msg_type="task_delegate")


def deliver(content: str) -> dict[str, Any]:
    """A reply that delivers a task."""
    return call("send_message", to="principal", content=content, msg_type="result_deliver")
