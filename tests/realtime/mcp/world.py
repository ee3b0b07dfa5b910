"""Pools of real servers."""

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.testing.desk import Desk
from brainpilot_rt.tools.mcp.config import McpLimits, ServerConfig
from brainpilot_rt.tools.mcp.pool import McpPool, dialer
from brainpilot_rt.tools.mcp.server import Surroundings
from brainpilot_rt.tools.registry import Registry, ToolOutput

CHAOS = Path(__file__).with_name("chaos.py")


def chaos(name: str = "chaos", mode: str = "", **more: Any) -> ServerConfig:
    """The program that speaks badly."""
    return ServerConfig(name=name, command=sys.executable, args=(str(CHAOS), mode), **more)


@asynccontextmanager
async def pool_of(
    *configs: ServerConfig, folder: Path, limits: McpLimits | None = None
) -> AsyncGenerator[McpPool]:
    """A loaded pool."""
    limits = limits or McpLimits()
    tasks = TaskSet(on_crash=lambda name, error: pytest.fail(f"{name}: {error!r}"))
    around = Surroundings(
        tasks=tasks,
        dial=dialer(
            limits, cwd=folder, marker_prefix=str(folder), new_id=UlidSource(SystemClock())
        ),
        on_change=lambda _server, _tool, _old, _new: None,
        dice=lambda: 0.0,
        version="1",
        limits=limits,
    )
    pool = McpPool(around)
    await pool.use(configs)
    await pool.load()
    try:
        yield pool
    finally:
        await pool.close()
        await tasks.close(1)


async def call(pool: McpPool, folder: Path, name: str, **arguments: Any) -> ToolOutput:
    """Call a tool as the runner would."""
    return await Desk(folder).use(Registry(pool.tools()), name, **arguments)


def told(pool: McpPool, name: str) -> Mapping[str, Any]:
    """What the status says of a server."""
    return next(one for one in pool.status()["servers"] if one["name"] == name)
