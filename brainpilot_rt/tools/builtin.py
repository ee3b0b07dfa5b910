"""Every tool that comes with the daemon, in the order models are offered them."""

from collections.abc import Sequence
from pathlib import Path

from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.finding import finding_tools
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.retrieving import search_tool
from brainpilot_rt.tools.shell import ShellPolicy, shell_tool
from brainpilot_rt.tools.skills import skill_tool
from brainpilot_rt.tools.team import team_tools
from brainpilot_rt.tools.tracing import graph_tools


def builtin_tools(shell: ShellPolicy, skill_libraries: Sequence[Path]) -> Registry:
    """All of them; `bash` only where its policy allows it. Narrow it with `Registry.only`."""
    bash = shell_tool(shell)
    return Registry(
        (
            *team_tools(),
            search_tool(),
            *editing_tools(),
            *((bash,) if bash else ()),
            *finding_tools(),
            skill_tool(skill_libraries),
            *graph_tools(),
        )
    )
