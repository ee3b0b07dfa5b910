"""The published clients of managed agents and of OpenAI, driving a running daemon unchanged."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.clients.venvs import drive
from tests.realtime.daemon.provider import Ask, Call, Reply, provider

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(400)]


async def scripted(ask: Ask) -> Reply:
    """What the model says: it calls what the user's words name, then says what came of it."""
    asked = next(one["content"] for one in ask.messages if one["role"] == "user")
    results = [str(one["content"]) for one in ask.messages if one["role"] == "tool"]
    latest = str(next(one["content"] for one in reversed(ask.messages) if one["role"] == "user"))
    if results:
        yield f"It came to: {'; '.join(results)}"
    elif "two weathers" in asked:
        yield Call("weather", {"city": "Turku"})
        yield Call("weather", {"city": "Oulu"})
    elif "write a note" in asked:
        yield Call("write", {"path": "note.txt", "content": "hello"})
    elif "hello" in latest:
        yield "You said "
        yield "hello."
    elif "take your time" in latest:
        yield "Hm"
        await ask.given_up.wait()
    else:
        yield "..."


@asynccontextmanager
async def daemon_of(root: Path) -> AsyncGenerator[RunningDaemon]:
    """A daemon whose model says what is scripted."""
    async with provider(scripted) as model:
        home = DaemonHome(root, env=model.env)
        # Nobody knows the price of this model; what is counted for a reply is some cents.
        home.configure("[budgets]\nassumed_output_usd = 5000\n")
        async with home.running() as daemon:
            yield daemon


@pytest.mark.parametrize("version", ["2.11.0", "0.96.0"])
async def test_anthropics_client_drives_agents_environments_sessions_and_events(
    tmp_path: Path, version: str
):
    async with daemon_of(tmp_path) as daemon:
        said = await drive(f"anthropic=={version}", "anthropic_client.py", daemon)
    assert said.count("ok ") >= 9


async def test_openais_client_asks_models_and_agents(tmp_path: Path):
    async with daemon_of(tmp_path) as daemon:
        said = await drive("openai==3.52.0", "openai_client.py", daemon)
    assert said.count("ok ") == 7
