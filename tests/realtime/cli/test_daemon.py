"""`serve`, `up`, `stop` and `send` as processes: ready line, exit codes, what is left behind."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.realtime.cli.shell import ROOT, Shell, end

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]
ROOM = ROOT / "examples" / "reading-room"


def assert_checkable(answer: dict[str, Any], folder: Path) -> None:
    """Every quote occurs in the lines it cites."""
    assert answer["citations"]
    for one in answer["citations"]:
        lines = (folder / one["path"]).read_text().splitlines()
        cited = " ".join(" ".join(lines[one["start_line"] - 1 : one["end_line"]]).split())
        assert one["quote"] in cited


def test_serve_says_one_line_when_ready_and_leaves_cleanly(shell: Shell) -> None:
    process, ready = shell.serve()
    assert set(ready) == {"url", "pid", "token_file", "data_dir", "mailbox_dir", "version"}
    assert ready["pid"] == process.pid
    record = shell.data / "daemon.json"
    assert json.loads(record.read_text())["url"] == ready["url"]
    assert {path.stat().st_mode & 0o777 for path in (record, shell.data / "token")} == {0o600}
    left = end(process)
    assert (left.code, left.out) == (0, "")
    assert not record.exists()


@pytest.mark.fault("F5")
def test_a_second_daemon_on_the_same_data_is_refused_with_the_process_named(shell: Shell) -> None:
    process, ready = shell.serve()
    second = shell.run("serve", "--port", "0", "--json")
    assert (second.code, second.out) == (3, "")
    assert str(ready["pid"]) in second.err
    end(process)


@pytest.mark.fault("F8")
def test_a_port_in_use_is_a_clear_error(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = shell.run("serve", "--port", str(port))
    assert refused.code == 1
    assert str(port) in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.fault("F8", "F6")
def test_no_token_goes_to_a_stranger_at_the_port_of_a_daemon_that_died(shell: Shell) -> None:
    process, ready = shell.serve()
    record = shell.data / "daemon.json"
    left = json.loads(record.read_text())
    process.kill()
    process.communicate()
    with socket.create_server(("127.0.0.1", int(ready["url"].rpartition(":")[2]))) as stranger:
        stranger.settimeout(0)
        # The number may belong to another program by then, here to the test.
        for pid in (ready["pid"], os.getpid(), 1):
            record.write_text(json.dumps({**left, "pid": pid}))
            for words in (["sessions"], ["stop"], ["tail", "--session", "s"], ["doctor"]):
                refused = shell.run(*words)
                assert "Traceback" not in refused.err
            with pytest.raises(BlockingIOError):
                stranger.accept()


@pytest.mark.fault("F10")
@pytest.mark.timeout(150)
def test_starts_that_fail_again_and_again_change_nothing(shell: Shell) -> None:
    session = shell.run("up", "--once", "--json", "--quiet").last["session"]
    before = shell.run("export", session).out
    config = shell.data / "config.toml"
    for broken in ("[http]\nstreams_max = 'x'\n", "[http\n", "mem_limit_mb = []\n"):
        config.write_text(broken)
        assert shell.run("serve", "--port", "0").code == 2
    config.unlink()
    for point in ("boot.log.after", "boot.sweep.before", "boot.listen.after") * 2:
        shell.env["FAILPOINTS"] = f"{point}=kill"
        assert shell.run("serve", "--port", "0").code == -signal.SIGKILL
    del shell.env["FAILPOINTS"]
    assert shell.run("export", session).out == before
    assert shell.run("doctor").code == 0
    process, _ = shell.serve()
    assert end(process).code == 0


@pytest.mark.fault("F14", "S25")
def test_whatever_the_umask_is_the_data_are_the_owners_alone(shell: Shell) -> None:
    before = os.umask(0)
    try:
        shell.run("up", "--once", "--json", "--quiet")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in [shell.data, *shell.data.rglob("*")]}
    assert [path for path, mode in modes.items() if mode & 0o077] == []


@pytest.mark.parametrize("port", ["x", "70000"])
def test_a_bad_setting_is_wrong_usage(shell: Shell, port: str) -> None:
    shell.env["PORT"] = port
    refused = shell.run("serve")
    assert refused.code == 2
    assert "PORT" in refused.err


def test_a_folder_that_is_not_safe_is_named_in_one_line(shell: Shell) -> None:
    real, link, shared = (shell.home / name for name in ("real", "link", "shared"))
    real.mkdir()
    link.symlink_to(real)
    shared.mkdir()
    shared.chmod(0o777)
    for words, reason in (
        (("--data-dir", str(link)), "symbolic link"),
        (("--mailbox-dir", str(shared)), "chmod 700"),
    ):
        refused = shell.run("serve", *words)
        assert refused.code == 1
        assert refused.err.splitlines()[-1].startswith(f"Error: {words[1]} ")
        assert reason in refused.err
        assert "Traceback" not in refused.err


def test_up_once_answers_with_citations_that_can_be_checked(shell: Shell) -> None:
    result = shell.run("up", "--once", "--json")
    assert result.code == 0, result.err
    answer = result.last
    keys = {"session", "answer", "citations", "cost_usd", "letters", "runs", "url"}
    assert set(answer) == keys
    assert "/c/" not in answer["url"]
    assert answer["letters"] >= 3
    assert answer["cost_usd"] == 0
    assert_checkable(answer, ROOM)
    assert "-> librarian task_delegate" in result.err
    assert f"data/mailbox/{answer['session']}/librarian/" in result.err
    assert "\x1b" not in result.err
    assert not (shell.data / "daemon.json").exists()


def test_up_once_works_on_any_folder_of_text(shell: Shell) -> None:
    folder = shell.home / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("The ferry leaves at nine.\nThe mill is closed on Mondays.\n")
    result = shell.run("up", "--once", "--json", "--workspace", "notes", "When does the ferry go?")
    assert result.code == 0, result.err
    assert_checkable(result.last, folder)
    assert "nine" in result.last["answer"]


def test_up_on_a_folder_that_is_not_there_is_wrong_usage(shell: Shell) -> None:
    result = shell.run("up", "--once", "--workspace", "nowhere", "what?")
    assert result.code == 2
    assert not shell.data.exists()


def test_up_in_an_empty_folder_answers_honestly(shell: Shell) -> None:
    (shell.home / "empty").mkdir()
    result = shell.run("up", "--once", "--json", "--workspace", "empty", "What is here?")
    assert result.code == 0, result.err
    assert result.last["citations"] == []
    assert result.last["answer"]


def test_up_uses_a_daemon_that_runs_and_leaves_it_running(shell: Shell) -> None:
    process, ready = shell.serve()
    result = shell.run("up", "--once", "--json", "--quiet")
    assert result.last["url"] == ready["url"]
    assert process.poll() is None
    end(process)


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"it ended without saying {words!r}")


def test_up_interrupted_before_the_answer_says_so_and_leaves_no_daemon(shell: Shell) -> None:
    process = shell.start("up")
    wait_for(process, "starting the daemon")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not (shell.data / "daemon.json").exists()
    assert shell.run("doctor").code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_serves_until_it_is_stopped(shell: Shell, number: signal.Signals) -> None:
    process = shell.start("up")
    wait_for(process, "serving until Ctrl-C")
    record = json.loads((shell.data / "daemon.json").read_text())
    os.kill(record["pid"], 0)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(record["pid"], 0)


def test_stop_ends_the_daemon_and_returns_when_it_is_gone(shell: Shell) -> None:
    process, _ = shell.serve()
    stopped = shell.run("stop", "--json")
    assert (stopped.code, stopped.last) == (0, {"stopped": True})
    assert process.wait(timeout=1) == 0
    process.communicate()
    again = shell.run("stop")
    assert again.code == 1
    assert "no daemon is running" in again.err


def test_a_letter_sent_while_the_daemon_is_down_is_answered_when_it_is_up(shell: Shell) -> None:
    session = shell.run("up", "--once", "--json", "--quiet").last["session"]
    sent = shell.run("send", "--session", session, "--to", "principal", "Who is Captain Rask?")
    assert sent.code == 0, sent.err
    process, _ = shell.serve()
    follower = shell.start("tail", "--session", session, "--json")
    assert follower.stdout is not None
    answers = (
        frame["value"]["answer"]
        for frame in map(json.loads, follower.stdout)
        if frame.get("name") == "host_turn" and frame["value"]["op"] == "finished"
    )
    assert next(answers)
    assert "Rask" in next(answers)
    end(follower)
    end(process)


def test_the_log_at_rest_is_exported_whole(shell: Shell) -> None:
    session = shell.run("up", "--once", "--json", "--quiet").last["session"]
    exported = shell.run("export", session)
    lines = [json.loads(line) for line in exported.out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert all(list(line)[:3] == ["seq", "ts", "type"] for line in lines)
    assert {"session_created", "letter_accepted", "host_turn_finished"} <= {
        line["type"] for line in lines
    }
    missing = shell.run("export", "nobody")
    assert (missing.code, missing.out) == (1, "")
