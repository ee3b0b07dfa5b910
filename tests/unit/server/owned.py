"""A server with records, a vault and agents with tokens of their own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.testing.fake_backend import FakeBackend
from brainpilot_rt.testing.sources import ManualClock, SequentialIds
from tests.unit.server.test_memory import call
from tests.unit.server.world import Server, serving


@asynccontextmanager
async def owned(folder: Path) -> AsyncGenerator[Server]:
    """The server; what it keeps lies in the folder."""
    clock = ManualClock()
    backend = FakeBackend(clock, SequentialIds(), folder)
    await backend.records.load()
    async with serving(backend, clients=ClientTokens(folder, clock.now_ms).read) as server:
        yield server
    await backend.log.close()


async def token_of_agent(server: Server) -> str:
    """The token of an agent that is registered for it."""
    status, made = await call(server, "POST", "/v1/agent/bootstrap", {"agent_id": "helper-01"})
    assert status == 201, made
    return made["jwt"]
