"""bash, with and without a sandbox."""

import asyncio
import os
from pathlib import Path

import pytest

from brainpilot_rt.testing.desk import Desk, Put
from brainpilot_rt.tools.registry import ToolOutput
from brainpilot_rt.tools.sandbox import NotEnforceable, Sandbox, probe
from brainpilot_rt.tools.shell import ShellMode, ShellPolicy, shell_tool
from brainpilot_rt.workspace.files import Workspace

PATH = "/usr/local/bin:/usr/bin:/bin"

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(30)]


async def bash(desk: Desk, mode: ShellMode, command: str, **more: object) -> ToolOutput:
    sandbox: Sandbox | NotEnforceable = NotEnforceable("not asked for")
    if mode == "sandbox":
        sandbox = await probe(PATH)
        if isinstance(sandbox, NotEnforceable):
            pytest.skip(f"no sandbox here: {sandbox.reason}")
    found = shell_tool(ShellPolicy(mode=mode, sandbox=sandbox, marker_prefix="test"))
    assert found is not None
    arguments = found.arguments.model_validate({"command": command, **more})
    return await found.run(desk.context(), arguments)


async def test_output_and_exit_code_come_back(desk: Desk):
    done = await bash(desk, "unsandboxed", "echo out; echo err >&2; exit 3")
    assert (done.failed, done.content) == (True, "out\nerr\n[exit code 3]")
    assert (await bash(desk, "unsandboxed", "true")).content == "[exit code 0]"
    assert (await bash(desk, "unsandboxed", "pwd")).content == str(desk.root)


async def test_no_input_and_no_inherited_environment(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY_KEY", "secret")
    done = await bash(desk, "unsandboxed", "cat; env")
    assert "secret" not in done.content
    assert "PATH=" in done.content


async def test_a_deadline_is_kept_only_when_set(desk: Desk):
    done = await bash(desk, "unsandboxed", "echo begun; sleep 60", timeout_s=0.3)
    assert done.failed
    assert done.content.startswith("begun\n[stopped after the 0.3 s")


@pytest.mark.fault("H10")
async def test_a_flood_is_bounded_and_kept_in_the_work_tree(desk: Desk):
    done = await bash(desk, "unsandboxed", "seq 1 200000")
    assert done.content.startswith("1\n2\n")
    assert done.content.endswith("199999\n200000")
    assert len(done.content) < 250_000
    assert done.full_output_path is not None
    assert desk.workspace.read_text(done.full_output_path).count("\n") == 200_000


async def test_stopping_leaves_no_process(desk: Desk):
    beat = desk.root / "beat"
    async with asyncio.TaskGroup() as group:
        command = "(setsid bash -c 'while :; do date +%N > beat; sleep 0.05; done' &) ; sleep 60"
        work = group.create_task(bash(desk, "unsandboxed", command))
        while not beat.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
        work.cancel()
        await asyncio.wait([work])
    last = beat.read_text()
    await asyncio.sleep(0.2)
    assert beat.read_text() == last


@pytest.mark.fault("S20")
async def test_asking_shows_the_command_as_it_is_and_no_means_no(desk: Desk):
    desk.answer = "Do not run it"
    done = await bash(desk, "ask", "touch made\x1b[2K; \u202e true")
    assert done.failed
    assert not (desk.root / "made").exists()
    question, options, free = desk.asked[0]
    assert "WITHOUT a sandbox" in question
    assert "touch made\\u{1b}[2K; \\u{202e} true" in question
    assert (options, free) == (("Run it", "Do not run it"), False)
    desk.answer = "Run it"
    await bash(desk, "ask", "touch made")
    assert (desk.root / "made").exists()


async def test_the_sandbox_shows_the_work_tree_under_its_logical_name(desk: Desk, put: Put):
    put("a.txt", "hello")
    done = await bash(desk, "sandbox", "pwd; cat a.txt; echo new > b.txt; cat /workspace/b.txt")
    assert done.content == "/workspace\nhellonew"
    assert (desk.root / "b.txt").read_text() == "new\n"


@pytest.mark.fault("S8", "S19", "S22")
@pytest.mark.parametrize(
    "attempt",
    [
        "cat {secret}",
        "cat /workspace/link",
        "cat /workspace/.hidden/token",
        "echo x > {secret}",
        "echo x > /etc/made",
        "echo x > /usr/made",
        "mount -t tmpfs none /etc",
        "cat /proc/1/environ | grep -q CANARY_KEY",
        "kill -0 {pid}",
        "exec 3<>/dev/tcp/127.0.0.1/{port}",
        "find /home /root -mindepth 2 | grep .",
        "ls /run/docker.sock /run/user /var/run",
        "test -r /dev/sda",
        "cat /proc/{pid}/root{secret}",
        "echo evil > .git/hooks/pre-commit; test -e {root}/.git/hooks/pre-commit",
    ],
)
async def test_nothing_leads_out_of_the_sandbox(desk: Desk, put: Put, tmp_path: Path, attempt: str):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    put(".hidden/token", "s3cret")
    put(".git/hooks/sample", "")
    (desk.root / "link").symlink_to(secret)
    desk.hidden = (desk.root / ".hidden",)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        command = attempt.format(secret=secret, pid=os.getpid(), port=port, root=desk.root)
        done = await bash(desk, "sandbox", command)
    assert done.failed, done.content
    assert "s3cret" not in done.content
    assert secret.read_text() == "s3cret"
    assert not (desk.root / ".git" / "hooks" / "pre-commit").exists()


@pytest.mark.fault("S23")
async def test_the_environment_of_the_sandbox_is_the_listed_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CANARY_KEY", "secret")
    names = {
        line.partition("=")[0] for line in (await bash(desk, "sandbox", "env")).content.split("\n")
    }
    assert names <= {
        "PATH",
        "LANG",
        "HOME",
        "TMPDIR",
        "PWD",
        "SHLVL",
        "_",
        "BRAINPILOT_CALL",
        "OLDPWD",
    }


async def test_what_a_sandboxed_command_leaves_running_ends_with_it(desk: Desk):
    command = "setsid bash -c 'while :; do date +%N > beat; sleep 0.05; done' & sleep 0.3"
    await bash(desk, "sandbox", command)
    last = (desk.root / "beat").read_text()
    await asyncio.sleep(0.2)
    assert (desk.root / "beat").read_text() == last


@pytest.mark.fault("S21")
async def test_without_bubblewrap_there_is_no_sandbox(tmp_path: Path):
    missing = await probe(str(tmp_path))
    assert isinstance(missing, NotEnforceable)
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nshift $(($# - 1))\nexec bash -c "$1"\n')
    fake.chmod(0o755)
    weaker = await probe(f"{tmp_path}:{PATH}")
    assert isinstance(weaker, NotEnforceable)
    assert "does not confine" in weaker.reason


def test_hidden_folders_are_covered_under_every_name(tmp_path: Path):
    workspace = Workspace(
        tmp_path / "w", hidden=(tmp_path / "w" / "d", Path("/opt/bp"), Path("/x"))
    )
    argv = Sandbox(Path("/bwrap")).argv(workspace, "true", {})
    covers = [argv[at + 1] for at, word in enumerate(argv) if word == "--tmpfs"]
    covers = [one for one in covers if not one.startswith("/etc/")]
    assert covers[-2:] == ["/workspace/d", "/opt/bp"]
