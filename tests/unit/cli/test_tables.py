"""Tables fit a terminal of eighty columns, whatever words they hold."""

from collections.abc import Iterator
from typing import Any

import pytest

from brainpilot_rt.cli.context import context_lines, turn_lines
from brainpilot_rt.cli.memory import item_lines, section_lines
from brainpilot_rt.cli.terminal import LINE_CHARS
from brainpilot_rt.cli.why import explained, reasoning
from brainpilot_rt.domain.memory import POLICIES

LONG = "word " * 200


def sections() -> list[dict[str, Any]]:
    """Every section as the daemon describes it, as full as it may be."""
    return [
        {
            "section": name,
            "items": 50_000,
            "tokens": 1_000_000,
            "budget": policy.tokens_max,
            "eviction": policy.eviction,
            "summarise": policy.summarise,
            "of": "agent" if policy.of_agent else "team",
            "derived": policy.derived,
            "ephemeral": policy.ephemeral,
        }
        for name, policy in POLICIES.items()
    ]


def everything() -> Iterator[tuple[str, list[str]]]:
    """Each table with words that are too long for it."""
    part = {"name": LONG, "tokens": 100_000, "budget": 100_000, "items": 1, "why": LONG}
    turn = {"n": 12_345, "agent": LONG, "intent": "plan", "program": "plan_execute", "model": LONG}
    turn |= {"at": "2026-01-02T03:04:05.000Z", "tokens": 123_456, "costUsd": 1234.5}
    item = {"id": "0" * 16, "section": "findings", "agent": LONG, "content": LONG, "tags": [LONG]}
    node = {"title": LONG, "type": "task", "status": "in_progress", "agent": LONG, "summary": LONG}
    edge = {"id": LONG, "relation": "depends_on", "explanation": LONG}
    node |= {"parents": [edge], "artifacts": [{"path": LONG}]}
    wait = {"waiting": LONG, "waited_for": LONG, "title": LONG}
    answer = {"kind": "answer", "text": LONG, "status": "completed", "id": "a"}
    run = {"kind": "run", "agent": LONG, "run_id": "r", "id": "r", "status": "failed"}
    call = {"kind": "call", "tool": LONG, "arguments": LONG, "run_id": "r", "id": "c"}
    letter = {"kind": "letter", "from": "user", "to": LONG, "text": LONG, "id": "l"}
    yield "memory", list(section_lines(sections()))
    yield "items", list(item_lines(item))
    yield "turns", list(turn_lines({"turns": [turn]}))
    context = turn | {"total": 12_345, "sections": [part]}
    yield "context", [line for one in context_lines(context) for line in one.split("\n")]
    yield "trace", reasoning({"nodes": [node]}, {"waits": [wait], "circle": [LONG]})
    yield "why", explained({"nodes": [letter, run, call, answer], "used_by": [node]})
    yield "why not", explained({"nodes": [{"kind": "file", "label": LONG, "status": "read"}]})


@pytest.mark.parametrize(("what", "lines"), [*everything()])
def test_no_line_of_a_table_is_longer_than_a_terminal_is_wide(what: str, lines: list[str]):
    assert lines, what
    assert max(map(len, lines)) <= LINE_CHARS, what


def test_a_policy_is_never_cut():
    assert not [line for line in section_lines(sections()) if line.endswith("…")]
