"""A pool of fake servers on virtual time."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.testing.desk import Desk
from brainpilot_rt.testing.fake_mcp import FakeMcp
from brainpilot_rt.tools.mcp.config import McpLimits, ServerConfig
from brainpilot_rt.tools.mcp.pool import McpPool, McpTool
from brainpilot_rt.tools.mcp.server import Surroundings
from brainpilot_rt.tools.registry import Registry, ToolOutput


@dataclass
class Pool:
    """A pool, its servers, and the changes it told of."""

    pool: McpPool
    desk: Desk
    changes: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)

    def states(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in self.pool.status()["servers"]}

    def told(self, name: str) -> dict[str, Any]:
        return next(one for one in self.pool.status()["servers"] if one["name"] == name)

    def tool(self, name: str) -> McpTool:
        return next(one for one in self.pool.tools() if one.name == name)

    async def call(self, name: str, **arguments: Any) -> ToolOutput:
        return await self.desk.use(Registry(self.pool.tools()), name, **arguments)


MakePool = Callable[..., Any]


@pytest.fixture
def pool_of(desk: Desk) -> MakePool:
    """Makes a loaded pool of the fakes given by name."""

    @asynccontextmanager
    async def made(
        limits: McpLimits | None = None, timeout_s: float | None = None, **fakes: FakeMcp
    ) -> AsyncGenerator[Pool]:
        tasks = TaskSet(on_crash=lambda name, error: pytest.fail(f"{name}: {error!r}"))
        changes: list[tuple[str, str, str | None, str | None]] = []
        around = Surroundings(
            tasks=tasks,
            dial=lambda config, connection: fakes[config.name].dial(config, connection),
            on_change=lambda server, tool, old, new: changes.append((server, tool, old, new)),
            dice=lambda: 0.5,
            version="1",
            limits=limits or McpLimits(),
        )
        pool = McpPool(around)
        await pool.use([config(name, timeout_s=timeout_s) for name in fakes])
        await pool.load()
        try:
            yield Pool(pool, desk, changes)
        finally:
            await pool.close()
            await tasks.close(1)

    return made


def config(name: str, **more: Any) -> ServerConfig:
    return ServerConfig(name=name, command="fake", **more)
