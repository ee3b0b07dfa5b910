"""The server over a whole team with a scripted model, and readers of its agent runs."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.settings import HttpSettings
from brainpilot_rt.supervision.tokens import ClientTokens
from brainpilot_rt.testing.bridge import BridgeTransport
from brainpilot_rt.testing.models import ScriptedModel
from brainpilot_rt.testing.team import LoopClock, Setup, Team, team

TOKEN = "a-token-of-the-tests"
PORT = 8081
BOT = "research-01"


@dataclass(frozen=True)
class Seen:
    """One SSE frame of an agent run."""

    event: str
    data: dict[str, Any]
    key: str


@dataclass
class World:
    """A team behind HTTP. `http` carries the owner's token."""

    app: Starlette
    crew: Team
    http: httpx.AsyncClient
    model: ScriptedModel

    async def bootstrap(self, agent: str = BOT, **more: Any) -> dict[str, Any]:
        """Register an agent; the whole answer."""
        answer = await self.http.post("/v1/agent/bootstrap", json={"agent_id": agent, **more})
        assert answer.status_code in (200, 201), answer.text
        body: dict[str, Any] = answer.json()
        return body

    @asynccontextmanager
    async def running(self, message: str = "go", **more: Any) -> AsyncGenerator["Reader"]:
        """The stream of a new run."""
        body = {"message": message, **more}
        async with self.http.stream("POST", f"/v1/agents/{BOT}/run", json=body) as response:
            yield Reader(response)

    async def run(self, message: str = "go", **more: Any) -> list[Seen]:
        """All frames of a run, to its end."""
        async with self.running(message, **more) as reader:
            assert reader.response.status_code == 200, await reader.response.aread()
            return [seen async for seen in reader]

    async def steer(self, session: str, **event: Any) -> httpx.Response:
        """Send one event as curl's `-d` does: JSON that says it is a form."""
        return await self.http.post(
            f"/v1/agents/{BOT}/sessions/{session}/events",
            content=json.dumps(event),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )

    async def events(self, session: str, **query: Any) -> dict[str, Any]:
        """A page of what happened."""
        answer = await self.http.get(f"/v1/agents/{BOT}/sessions/{session}/events", params=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


class Reader:
    """Reads frames one by one; `comments` counts the signs of life between them."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments = 0
        self._blocks = self._read()

    @property
    def session(self) -> str:
        """The session that the answer names."""
        return self.response.headers["x-session-id"]

    def __aiter__(self) -> AsyncIterator[Seen]:
        return self

    async def __anext__(self) -> Seen:
        return await anext(self._blocks)

    async def until(self, event: str) -> list[Seen]:
        """Frames up to the first of this name."""
        found: list[Seen] = []
        async for seen in self:
            found.append(seen)
            if seen.event == event:
                return found
        raise AssertionError(f"no {event} in {[one.event for one in found]}")

    async def _read(self) -> AsyncGenerator[Seen]:
        rest = b""
        async for chunk in self.response.aiter_raw():
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                if block.startswith(b":"):
                    self.comments += 1
                    continue
                fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
                yield Seen(fields["event"], json.loads(fields["data"]), fields["id"])


@asynccontextmanager
async def world(folder: Path, setup: Setup | None = None) -> AsyncGenerator[World]:
    """Build it, serve, and take it down."""
    clock = LoopClock()
    log = MemoryEventLog(clock=clock)
    model = ScriptedModel()
    config = ServerConfig(
        http=HttpSettings(),
        hosts=hosts_of(PORT),
        token=lambda: TOKEN,
        clients=ClientTokens(folder, clock.now_ms).read,
        clock=clock,
    )
    async with team(log, model.stream, folder, setup) as crew:
        app = build_app(crew.backend, config)
        async with httpx.AsyncClient(
            transport=BridgeTransport(app),
            base_url=f"http://127.0.0.1:{PORT}",
            headers={"authorization": f"Bearer {TOKEN}"},
        ) as http:
            yield World(app, crew, http, model)
            app.state.streams.close()
    await log.close()


def names(frames: list[Seen]) -> list[str]:
    """What the frames are, without those about models, money and guardrails."""
    return [one.event for one in frames if not one.event.startswith("br.")]


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"authorization": f"Bearer {token}"}
