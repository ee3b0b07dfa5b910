"""What every test gets: virtual time, a clean environment, and a check for tasks left behind."""

import inspect
import os
from collections.abc import Generator
from typing import Any

import pytest

from brainpilot_rt.testing.leftovers import no_task_left_behind
from brainpilot_rt.testing.virtual_time import VirtualTimeLoop

OUTSIDE_WORLD = ("ANTHROPIC_", "BP_", "BRAINPILOT_", "OLLAMA_", "OPENAI_")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Virtual time by default; the ordinary loop for tests marked `realtime`."""
    if request.node.get_closest_marker("realtime"):
        return "asyncio", {"use_uvloop": False}
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail an async test that leaves tasks behind."""
    if inspect.iscoroutinefunction(pyfuncitem.obj) and not hasattr(pyfuncitem.obj, "hypothesis"):
        pyfuncitem.obj = no_task_left_behind(pyfuncitem.obj)
    return (yield)


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's keys and settings never reach a test."""
    for name in list(os.environ):  # noqa: TID251 - removes what settings would read
        if name.startswith(OUTSIDE_WORLD) or name == "PORT":
            monkeypatch.delenv(name)
