"""`context`: what the model read, also after a restart, and what changed since another turn."""

import pytest

from tests.realtime.cli.shell import Shell, end

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


def test_a_context_is_shown_with_its_texts_and_against_another_one_after_a_restart(
    shell: Shell,
) -> None:
    process, _ = shell.serve()
    asked = shell.run("ask", "--json", "--quiet", "hello")
    assert asked.code == 0, asked.err
    session = asked.last["session"]
    (shell.data / "workspaces" / session / "AGENTS.md").write_text("Use metric units.\n")
    assert shell.run("ask", "--quiet", "--session", session, "hello again").code == 0
    shown = shell.run("context", "--text")
    assert "Use metric units." in shown.out
    assert "conversation" in shown.out
    assert end(process).code == 0

    process, _ = shell.serve()
    total = shell.run("context", "--session", session, "--json").last["total"]
    assert len(shell.run("context", "--list").out.splitlines()) == total
    changed = shell.run("context", "latest", "--diff", "1").out
    assert "+Use metric units." in changed
    first = shell.run("context", "1", "--json").last
    assert first["sections"][0]["name"] == "persona"
    assert all(one["text"] for one in first["sections"] if one["digest"])
    lost = shell.run("context", str(total + 1))
    assert (lost.code, lost.out) == (1, "")
    assert f"{total} turns" in lost.err
    assert shell.run("context", "nonsense").code == 2
    assert end(process).code == 0
