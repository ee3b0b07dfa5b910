"""A daemon whose input is bad, and what has to be so however bad it was."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Provider, Reply, Script, provider
from tests.realtime.daemon.world import (
    finished,
    get,
    history,
    log_lines,
    of_type,
    say,
    session,
    until,
    violations,
)

Json = dict[str, Any]

NEXT = "Are you there?"
HERE = "Here I am."


@dataclass
class World:
    """A daemon, its home, its provider."""

    home: DaemonHome
    daemon: RunningDaemon
    told: Provider

    async def session(self) -> str:
        """A new session."""
        return await session(self.daemon)

    def work(self, name: str) -> Path:
        """The work tree of a session."""
        work = self.home.data_dir / "workspaces" / name
        work.mkdir(parents=True, exist_ok=True)
        return work

    async def seen(self, name: str, text: str, *, calls: int) -> "Seen":
        """What one message led to, and the proof that the next one still works.

        `calls`: more requests for a reply than that would be a loop.
        """
        before = len(self.told.asks)
        turns = len(of_type(await log_lines(self.daemon, name), "host_turn_finished"))
        await say(self.daemon, name, text)
        lines = await finished(self.daemon, name, turns=turns + 1)
        last = (await history(self.daemon, name))[-1]
        events = await until(self.daemon, name, lambda frame: frame == last)
        asks = self.told.asks[before:]
        assert len(asks) <= calls, [ask.last[-200:] for ask in asks]
        await say(self.daemon, name, NEXT)
        after = await finished(self.daemon, name, turns=turns + 2)
        assert violations(after) == []
        assert of_type(after, "host_turn_finished")[-1]["answer"] == HERE
        assert len(self.told.asks) <= before + len(asks) + 2
        return Seen(lines, events, asks)


@dataclass
class Seen:
    """The log of a session after a message, its frames as a client got them, the requests."""

    lines: list[Json]
    events: list[Json]
    asks: list[Ask]

    def facts(self, name: str) -> list[Json]:
        """Events of that name as the stream shows them; the log has as many."""
        shown: list[Json] = [one["value"] for one in self.events if one.get("name") == name]
        assert len(shown) == len(of_type(self.lines, name)), name
        return shown

    @property
    def end(self) -> Json:
        """How the last host turn of the message ended."""
        return of_type(self.lines, "host_turn_finished")[-1]

    @property
    def results(self) -> list[str]:
        """What the tools answered, in order."""
        return [str(one.get("content", "")) for one in of_type(self.lines, "tool_finished")]


def with_next(script: Script) -> Script:
    """The script, which also answers the next message."""

    async def both(ask: Ask) -> Reply:
        said = [str(one["content"]) for one in ask.messages if one["role"] == "user"]
        if said and NEXT in said[-1]:
            yield HERE
            return
        async for piece in script(ask):
            yield piece

    return both


@asynccontextmanager
async def world(root: Path, script: Script, config: str = "", **env: str) -> AsyncGenerator[World]:
    """A daemon for as long as the block runs; whatever came in, it is well at the end."""
    async with provider(with_next(script)) as told:
        home = DaemonHome(root, env={**told.env, **env})
        home.configure(config)
        async with home.running() as daemon:
            yield World(home, daemon, told)
            facts = await get(daemon, "/metrics")
            assert (facts["runningAgents"], facts["auditViolations"]) == (0, 0)
            checked = await home.command("doctor", "--json")
            assert checked.code == 0, checked.out + checked.err
        said = daemon.said()
        assert "Traceback" not in said, said
        assert " ERROR " not in said, said
