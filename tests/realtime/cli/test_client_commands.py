"""Commands that ask a running daemon, one daemon for all of them."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.realtime.cli.shell import Shell, end

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


def record(shell: Shell) -> dict[str, Any]:
    return json.loads((shell.data / "daemon.json").read_text())


@pytest.fixture
def session(served: Shell) -> str:
    """A session in which something has happened."""
    asked = served.run("up", "--once", "--json", "--quiet", "hello")
    assert asked.code == 0, asked.err
    return asked.last["session"]


def test_ask_streams_to_stderr_and_answers_on_stdout(served: Shell, session: str) -> None:
    asked = served.run("ask", "--session", session, "What is the Gate?")
    assert asked.code == 0, asked.err
    assert "Gate" in asked.out
    assert "-> librarian" in asked.err
    assert "-> librarian" not in asked.out


def test_ask_can_be_quiet(served: Shell, session: str) -> None:
    asked = served.run("ask", "--quiet", "--json", "--session", session, "What is the Gate?")
    assert asked.err == ""
    assert asked.last["session"] == session


def test_an_empty_question_is_wrong_usage(served: Shell) -> None:
    assert served.run("ask", "  ").code == 2


def test_sessions_are_listed_shown_renamed_and_deleted(served: Shell, session: str) -> None:
    assert served.run("sessions", "rename", session, "renamed \x1b[31m").code == 0
    listed = served.run("sessions")
    assert session in listed.out
    assert "\x1b" not in listed.out
    assert served.run("sessions", "show", session, "--json").last["sessionId"] == session
    assert "agent principal: idle" in served.run("sessions", "show", session).out
    assert served.run("sessions", "delete", session).code == 0
    gone = served.run("sessions", "show", session)
    assert (gone.code, gone.out) == (1, "")


def test_agents_are_shown_and_an_unknown_session_is_an_error(served: Shell, session: str) -> None:
    names = [one["name"] for one in served.run("agents", "--session", session, "--json").last]
    assert "principal" in names
    assert served.run("agents", "--session", "nobody").code == 1


def test_stop_of_an_idle_session_says_that_nothing_ran(served: Shell, session: str) -> None:
    stopped = served.run("stop", "--session", session, "--json")
    assert stopped.last["interrupted"] is False
    assert served.run("stop", "--agent", "writer").code == 2


def test_a_session_is_exported_while_the_daemon_runs(served: Shell, session: str) -> None:
    lines = [json.loads(line) for line in served.run("export", session).out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[0]["type"] == "session_created"


def test_a_letter_is_sent_and_checked(served: Shell, session: str) -> None:
    sent = served.run("send", "--session", session, "--to", "principal", "hi", "--json")
    assert sent.last["path"].endswith(f"{sent.last['letter_id']}.json")
    lost = served.run("send", "--session", session, "--to", "principle", "hi")
    assert lost.code == 1
    assert "principal" in lost.err
    checked = served.run("mailbox", "check", record(served)["mailbox_dir"], "--json")
    assert (checked.code, checked.last[0]["ok"]) == (0, True)


def test_doctor_finds_nothing_wrong(served: Shell) -> None:
    report = served.run("doctor", "--json")
    assert report.code == 0, report.out
    assert report.last["ok"] is True


def test_doctor_fails_on_a_folder_open_to_others_and_explains_unknown_keys(shell: Shell) -> None:
    shell.data.mkdir(mode=0o755)
    (shell.data / "config.toml").write_text("[htp]\nport = 1\n")
    report = shell.run("doctor")
    assert report.code == 1
    assert "open to others" in report.out
    assert "did you mean 'http'?" in report.out


def test_a_token_is_replaced_and_the_old_one_refused(shell: Shell) -> None:
    process, ready = shell.serve()
    old = shell.run("token").out.strip()
    assert shell.run("token", "path").out.strip() == ready["token_file"]
    assert shell.run("token", "rotate").code == 0
    assert shell.run("token", "show").out.strip() != old
    assert shell.run("sessions").code == 0
    ask = urllib.request.Request(
        f"{ready['url']}/sessions", headers={"Authorization": f"Bearer {old}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(ask)
    refused.value.close()
    assert refused.value.code == 401
    end(process)


def test_a_daemon_can_be_named_by_its_address(served: Shell, shell: Shell) -> None:
    there = record(served)
    shell.env["BP_URL"] = there["url"]
    assert shell.run("sessions").code == 1
    shell.env["BP_TOKEN"] = served.run("token").out.strip()
    assert shell.run("sessions").code == 0
    del shell.env["BP_TOKEN"]
    shell.env["BP_URL"] = f"{there['url']}/c/{served.run('token').out.strip()}/"
    assert shell.run("sessions", "--json").code == 0
    assert shell.run("sessions", "--url", "not an address").code == 2


@pytest.mark.parametrize("words", [["sessions"], ["ask", "x"], ["tail"], ["agents"], ["stop"]])
def test_without_a_daemon_the_way_to_start_one_is_told(shell: Shell, words: list[str]) -> None:
    result = shell.run(*words)
    assert (result.code, result.out) == (1, "")
    assert "brainpilot-rt serve" in result.err


def test_version_and_help_need_nothing(shell: Shell) -> None:
    assert shell.run("version", "--json").last["version"]
    assert shell.run("--help").code == 0
    assert shell.run("nonsense").code == 2
    assert not shell.data.exists()


def test_an_export_that_follows_gives_every_event_once(served: Shell, session: str) -> None:
    follower = served.start("export", session, "--follow")
    assert follower.stdout is not None
    seqs: list[int] = []
    for number, line in enumerate(follower.stdout):
        if number == 0:
            served.run("ask", "--quiet", "--session", session, "What is the Gate?")
        event = json.loads(line)
        seqs.append(event["seq"])
        if event["type"] == "host_turn_finished" and "Gate" in event["answer"]:
            break
    assert seqs == list(range(1, len(seqs) + 1))
    end(follower)
