"""Commands in arguments are found, and everyday work is left alone: measured on labelled calls."""

import sys
from typing import Any

import pytest

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.inspections.commands import command_findings
from brainpilot_rt.governance.inspections.requests import Finding, FirewallConfig, ToolRequest
from tests.unit.governance.labelled_calls import HARMFUL, HARMLESS

pytestmark = pytest.mark.fault("S20")


def found(tool: str, arguments: dict[str, Any]) -> list[Finding]:
    request = ToolRequest(
        tool=tool,
        arguments=arguments,
        role="engineer",
        agent="engineer",
        allowed=frozenset({tool}),
        effect=Effect.IRREVERSIBLE,
    )
    return list(command_findings(request, FirewallConfig()))


def test_labelled_calls_are_told_apart(capsys: pytest.CaptureFixture[str]):
    missed = [call for call in HARMFUL if not found(*call)]
    wrong = [(call, found(*call)) for call in HARMLESS if found(*call)]
    hits = len(HARMFUL) - len(missed)
    precision, recall = hits / (hits + len(wrong)), hits / len(HARMFUL)
    with capsys.disabled():
        sys.stdout.write(
            f"\ncommand injection: {len(HARMFUL)} harmful and {len(HARMLESS)} harmless calls, "
            f"precision {precision:.3f}, recall {recall:.3f}\n"
        )
    assert min(len(HARMFUL), len(HARMLESS)) >= 150
    assert precision >= 0.99, wrong
    assert recall >= 0.98, missed


def test_a_finding_says_where_and_what_without_repeating_the_text():
    (one,) = found("mcp__git__add", {"files": ["a.py", "$(reboot) sk-secret"]})
    assert str(one) == "command_injection: files.1 holds a command"
    assert one.action == "block"


def test_a_dangerous_command_line_asks_a_person():
    (one,) = found("bash", {"command": "echo hi; rm -rf ~"})
    assert (one.action, one.detail) == ("ask", "command removes everything below a root")
