"""The web page in a real browser: a person sees what would run, and decides with a click."""

from pathlib import Path

import pytest

from tests.realtime.cli.test_approvals_command import beside, settled
from tests.realtime.server.test_browser import BROWSER, browsing
from tests.unit.server.agent_world import TOKEN

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine"),
]

FORM = "document.getElementById('approvals')"


def click(number: int, text: str) -> str:
    """Press a button of a panel; true once it is there."""
    buttons = f"[...({FORM}.children[{number}]?.querySelectorAll('button') ?? [])]"
    found = f"{buttons}.find(one => one.textContent === '{text}')"
    return f"(button => button && (button.click(), true))({found})"


async def test_a_person_sees_exactly_what_would_run_and_decides_with_a_click(tmp_path: Path):
    async with beside(tmp_path) as terminal, browsing(tmp_path / "browser") as browser:
        desk = terminal.desk
        await desk.ask("apr_1")
        markup = {"command": "<img src=x onerror=alert(1)>"}
        await desk.ask("apr_2", arguments=markup, reasons=("command_injection: a pipe",))
        await browser.open(f"{terminal.env['BP_URL']}/c/{TOKEN}/")
        page = await browser.dom_when(f"{FORM}.children.length === 2")
        assert "  | rm -rf build\n  | ls \\u{202e}evil" in page
        assert "&lt;img src=x" in page
        assert "<img" not in page
        assert page.count("Approve for this session") == 1  # a suspicion is decided once only
        await browser.dom_when(click(0, "Approve for this session"))
        await settled(desk, 1)
        await browser.dom_when(f"{FORM}.children.length === 1")
        await browser.dom_when(click(0, "Deny"))
        await settled(desk, 2)
        await browser.dom_when(f"{FORM}.hidden")
        heard = {key: (word.decision, word.scope) for key, word in desk.heard.items()}
        assert heard == {"apr_1": ("approved", "session"), "apr_2": ("denied", "once")}
