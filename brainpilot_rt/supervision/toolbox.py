"""The tools there are, built once from the settings; which of them an agent gets is governance."""

import hashlib
import logging
from dataclasses import replace

from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.liveness import Liveness
from brainpilot_rt.supervision.memories import Memories
from brainpilot_rt.supervision.skills import Skills
from brainpilot_rt.tools import sandbox
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.editing import editing_tools
from brainpilot_rt.tools.finding import finding_tools
from brainpilot_rt.tools.memory import memory_tools
from brainpilot_rt.tools.planning import planning_tools
from brainpilot_rt.tools.registry import Arguments, Registry, Tool, ToolOutput
from brainpilot_rt.tools.retrieving import search_tool
from brainpilot_rt.tools.shell import ShellPolicy, shell_tool
from brainpilot_rt.tools.skills import skill_tool
from brainpilot_rt.tools.team import team_tools
from brainpilot_rt.tools.tracing import graph_tools

_log = logging.getLogger(__name__)


async def toolbox(
    settings: Settings, skills: Skills, memories: Memories, liveness: Liveness
) -> Registry:
    """Every tool there is; which of them an agent is offered is decided per role."""
    policy = await shell_policy(settings)
    shell = shell_tool(policy)
    if policy.mode == "sandbox" and isinstance(policy.sandbox, sandbox.NotEnforceable):
        liveness.no_shell = policy.sandbox.reason
        _log.warning("agents can not run commands: %s", liveness.no_shell)
    return Registry(
        [
            *editing_tools(),
            *finding_tools(),
            *team_tools(),
            *graph_tools(),
            *memory_tools(memories),
            *planning_tools(),
            search_tool(),
            skill_tool(skills),
            *([_leased(shell, liveness)] if shell else []),
        ]
    )


async def shell_policy(settings: Settings) -> ShellPolicy:
    """How commands run here, the sandbox tried."""
    return ShellPolicy(
        mode=settings.agents.shell,
        sandbox=await sandbox.probe(settings.environment.get("PATH", "")),
        marker_prefix=marker(settings),
    )


def _leased(shell: Tool, liveness: Liveness) -> Tool:
    """The shell, keeping the daemon alive for as long as a command of it runs."""

    async def run(context: ToolContext, wanted: Arguments) -> ToolOutput:
        with liveness.hold("child_process"):
            return await shell.run(context, wanted)

    return replace(shell, run=run)


def marker(settings: Settings) -> str:
    """What marks the processes of this data directory's daemon, whichever life it is in."""
    digest = hashlib.sha256(str(settings.data_dir).encode()).hexdigest()
    return f"bp-{digest[:16]}-"
