"""A running agent whose calls wait for a person, behind HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, CallId
from brainpilot_rt.testing.team import SESSION
from tests.unit.server.agent_world import World, world
from tests.unit.server.world import until

COMMAND: Final = {"command": "rm -rf build\nls \u202eevil", "timeout_s": 5}


@dataclass
class Desk:
    """The server, and what the run that waits has heard."""

    at: World
    group: asyncio.TaskGroup
    heard: dict[str, ev.ApprovalDecided] = field(default_factory=dict[str, ev.ApprovalDecided])

    async def ask(self, key: str = "apr_1", **more: Any) -> None:
        """The run asks, and waits for the word."""
        run = next(iter(self.at.crew.state().runs.values()))
        wanted: dict[str, Any] = {
            "arguments": COMMAND,
            "definition": "def",
            "reasons": ("needs_approval: it runs commands",),
            "expires_ms": None,
        }
        asked = cmd.RequestApproval(
            approval_id=key,
            run_id=run.run_id,
            agent=run.agent,
            call_id=CallId(f"call_{key}"),
            tool="bash",
            digest=f"digest-{key}",
            **(wanted | more),
        )

        async def wait() -> None:
            self.heard[key] = await self.at.crew.backend.approvals.ask(SESSION, asked)

        self.group.create_task(wait())
        await until(lambda: key in self.at.crew.state().approvals)

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """GET as the owner."""
        answer = await self.at.http.get(path)
        return answer.status_code, answer.json()

    async def state(self) -> dict[str, Any]:
        """What is going on, as BrainPilot reads it."""
        return (await self.get(f"/sessions/{SESSION}/state"))[1]

    async def frame(self, kind: str) -> dict[str, Any]:
        """The newest frame of a kind."""
        frames = (await self.get(f"/sessions/{SESSION}/history?limit=0"))[1]["events"]
        return next(one for one in reversed(frames) if one["type"] == kind)

    async def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """POST as the owner, or whoever the headers say."""
        answer = await self.at.http.post(path, json=body or {}, headers=headers)
        return answer.status_code, answer.json()


@asynccontextmanager
async def waiting(folder: Path) -> AsyncGenerator[Desk]:
    """A principal at work, so that something of it can be asked."""
    async with world(folder) as at, asyncio.TaskGroup() as group:
        gate = at.model.hang(PRINCIPAL)
        await at.crew.create()
        await at.crew.post("go")
        await gate.reached.wait()
        yield Desk(at, group)
        gate.open()
        await at.crew.settled()
