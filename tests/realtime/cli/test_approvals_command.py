"""`approvals` beside a team at work: a person decides what its run waits for."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from brainpilot_rt.daemon.listener import HttpServer, uvicorn_config
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.settings import HttpSettings
from brainpilot_rt.testing.team import SESSION, LoopClock
from tests.realtime.cli.shell import COMMAND, ROOT, Result
from tests.unit.server.agent_world import TOKEN
from tests.unit.server.approval_world import Desk, waiting
from tests.unit.server.world import until

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


@dataclass
class Terminal:
    """Somebody who types commands beside the team."""

    desk: Desk
    env: dict[str, str]

    async def run(self, *words: str, typed: str | None = None) -> Result:
        """Run a command to its end. `typed`: what the person types; None: there is no terminal."""
        ours, theirs = os.openpty()
        source = theirs if typed is not None else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            env=self.env,
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            os.write(ours, (typed or "").encode())
            out, err = await process.communicate()
        finally:
            os.close(theirs)
            os.close(ours)
        return Result(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def beside(folder: Path) -> AsyncGenerator[Terminal]:
    """A team whose server listens on a port."""
    async with waiting(folder) as desk:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            config = ServerConfig(
                http=HttpSettings(), hosts=hosts_of(port), token=lambda: TOKEN, clock=LoopClock()
            )
            app = build_app(desk.at.crew.backend, config)
            server = HttpServer(uvicorn_config(app))
            serving = desk.group.create_task(server.serve(sockets=[listener]))
            await server.listening.wait()
            env = {
                "HOME": str(folder),
                "PATH": os.defpath,
                "PYTHONPATH": str(ROOT),
                "BP_DATA_DIR": str(folder / "data"),
                "BP_URL": f"http://127.0.0.1:{port}",
                "BP_TOKEN": TOKEN,
            }
            yield Terminal(desk, env)
            app.state.streams.close()
            server.should_exit = True
            async with asyncio.timeout(10):
                await serving


async def test_what_waits_is_listed_shown_and_approved_by_its_whole_id(tmp_path: Path):
    async with beside(tmp_path) as terminal:
        assert "nothing waits" in (await terminal.run("approvals")).err
        await terminal.desk.ask("apr_one")
        listed = await terminal.run("approvals", "--session", SESSION)
        assert "apr_one" in listed.out
        assert "| ls \\u{202e}evil" in listed.out
        assert (await terminal.run("approvals", "list", "--json")).last[0]["id"] == "apr_one"
        assert (await terminal.run("approvals", "show", "apr_one", "--json")).last["digest"]
        words = ("--scope", "session", "--for", "30m", "--note", "fine", "--json")
        done = await terminal.run("approvals", "approve", "apr_one", *words)
        assert (done.code, done.last["status"]) == (0, "approved"), done.err
        await until(lambda: terminal.desk.heard)
        word = terminal.desk.heard["apr_one"]
        assert (word.decision, word.scope, word.note) == ("approved", "session", "fine")
        assert word.until_ms is not None
        late = await terminal.run("approvals", "deny", "apr_one")
        assert (late.code, "approved already, by user" in late.err) == (1, True)
        assert "approved by user" in (await terminal.run("approvals", "show", "apr_one")).out


async def test_the_beginning_of_an_id_is_asked_about_once_more_and_only_at_a_terminal(
    tmp_path: Path,
):
    async with beside(tmp_path) as terminal:
        await terminal.desk.ask("apr_one")
        await terminal.desk.ask("apr_other")
        unsure = await terminal.run("approvals", "approve", "o")
        assert (unsure.code, "2 approvals begin like this" in unsure.err) == (1, True)
        assert (await terminal.run("approvals", "approve", "apr_on")).code == 2
        no = await terminal.run("approvals", "approve", "on", typed="n\n")
        assert no.code == 130
        assert "| rm -rf build" in no.err
        assert not terminal.desk.heard
        assert (await terminal.run("approvals", "approve", "on", typed="y\n")).code == 0
        assert (await terminal.run("approvals", "deny", "ot", typed="y\n")).code == 0
        await until(lambda: len(terminal.desk.heard) == 2)
        heard = {key: word.decision for key, word in terminal.desk.heard.items()}
        assert heard == {"apr_one": "approved", "apr_other": "denied"}


async def test_whoever_watches_is_shown_each_call_and_decides_it_at_the_prompt(tmp_path: Path):
    async with beside(tmp_path) as terminal:
        await terminal.desk.ask("apr_one")
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("approvals", "watch"),
            env=terminal.env,
            stdin=(pair := os.openpty())[1],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            os.write(pair[0], b"a\n\n")
            await settled(terminal.desk, 1)
            await terminal.desk.ask("apr_two", reasons=("command_injection: a pipe",))
            os.write(pair[0], b"s\nd\ntoo much\n")  # s is not possible for a suspicion
            await settled(terminal.desk, 2)
        finally:
            process.terminate()
            out, _ = await process.communicate()
            for end in pair:
                os.close(end)
        assert out.decode().count("| rm -rf build") == 2
        heard = terminal.desk.heard
        assert (heard["apr_one"].decision, heard["apr_one"].scope) == ("approved", "once")
        assert (heard["apr_two"].decision, heard["apr_two"].note) == ("denied", "too much")


async def settled(desk: Desk, count: int) -> None:
    """Until so many words were given."""
    async with asyncio.timeout(30):
        while len(desk.heard) < count:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("approve", "nobody"), 1),
        (("deny", "nobody"), 1),
        (("show", "nobody"), 1),
        (("approve", "x", "--for", "soon", "--scope", "run"), 2),
        (("approve", "x", "--for", "30m"), 2),
        (("approve", "x", "--scope", "ever"), 2),
        (("--json", "approve", "x"), 2),
    ],
)
async def test_what_can_not_be_done_is_said_with_its_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int
):
    async with beside(tmp_path) as terminal:
        wrong = await terminal.run("approvals", *words)
        assert (wrong.code, wrong.out) == (code, "")
        assert wrong.err
