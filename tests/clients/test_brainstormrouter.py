"""The published client of agent runs, every method of every resource, against a running daemon."""

from pathlib import Path

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

from brainpilot_rt.testing.daemon import DaemonHome
from tests.clients.venvs import drive
from tests.realtime.mcp.test_http import served

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(400)]


async def test_every_method_answers_with_data_of_this_daemon_or_a_typed_refusal(tmp_path: Path):
    home = DaemonHome(tmp_path, env={"BP_OFFLINE": "1"})
    async with served(sums()) as url, home.running() as daemon:
        said = await drive("brainstormrouter==0.1.0", "brainstormrouter_client.py", daemon, url)
        assert said.count("ok ") == said.count("\n") == 11
        await daemon.stop()
        kept = [path for path in home.data_dir.rglob("*") if path.is_file()]
        holding = {path.name for path in kept if b"sesame-" in path.read_bytes()}
        assert not holding, "a key of what was removed is still somewhere"


def sums() -> MCPServer:
    """A server that adds."""
    server = MCPServer("sums")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server
