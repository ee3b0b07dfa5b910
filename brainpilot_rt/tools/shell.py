"""`bash`: a command in the work tree, in the sandbox where there is one.

How it may run is a setting, and never quietly less than it says (D22):

    sandbox       offered only where the sandbox was found to hold
    ask           the user is asked before each command; sandboxed where possible
    unsandboxed   as the user who runs the daemon; chosen on purpose
    off           not offered

A command has no deadline unless its caller sets one (D6). Its output is bounded; the whole of it is
kept in the work tree when it had to be cut. When the call ends, for whatever reason, so has every
process it started.
"""

import asyncio
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Annotated, Final, Literal, TypeAlias

from pydantic import Field

from brainpilot_rt.aiokit import process
from brainpilot_rt.domain.errors import CommandRejected, RuntimeFault
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.tools.context import ToolContext
from brainpilot_rt.tools.registry import Arguments, Tool, ToolOutput, tool
from brainpilot_rt.tools.sandbox import NotEnforceable, Sandbox, limited

ShellMode: TypeAlias = Literal["sandbox", "ask", "unsandboxed", "off"]

MARKER: Final = "BRAINPILOT_CALL"
"""The environment entry by which processes of a call are found; its value begins with the prefix of
`ShellPolicy`, so that the next start of a daemon can sweep what a killed one left."""

_ENDS_BYTES: Final = 96 * 1024
_SPILL_BYTES_MAX: Final = 32 * 1024 * 1024
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_YES: Final = "Run it"
_NO: Final = "Do not run it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellPolicy:
    """How commands may run."""

    mode: ShellMode
    sandbox: Sandbox | NotEnforceable
    marker_prefix: str
    """Unique to this daemon's data directory."""
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": _PATH, "LANG": "C.UTF-8"})
    """The whole environment of a command: PATH, HOME, LANG, TERM, USER and the like, no secret."""


class Bash(Arguments):
    """Run a bash command in the workspace folder and return its output and exit code.

    No input, no terminal; processes it leaves running are ended with it. There is no time limit
    unless you set timeout_s.
    """

    command: Annotated[str, Field(min_length=1, max_length=100_000)]
    timeout_s: Annotated[
        float | None, Field(gt=0, description="End the command after so many seconds.")
    ] = None


def shell_tool(policy: ShellPolicy) -> Tool | None:
    """The bash tool, or None where the policy does not allow it or cannot be kept."""
    if policy.mode == "off":
        return None
    if policy.mode == "sandbox" and isinstance(policy.sandbox, NotEnforceable):
        return None

    async def run(context: ToolContext, wanted: Bash) -> ToolOutput:
        return await _bash(policy, context, wanted)

    return tool(run, Bash, name="bash", effect=Effect.IRREVERSIBLE)


async def _bash(policy: ShellPolicy, context: ToolContext, wanted: Bash) -> ToolOutput:
    if "\0" in wanted.command:
        return ToolOutput("A command cannot hold a NUL character.", failed=True)
    confined = isinstance(policy.sandbox, Sandbox) and policy.mode != "unsandboxed"
    if policy.mode == "ask":
        question, free_text = _question(context, wanted.command, confined), False
        answer = await context.ask(question, (_YES, _NO), free_text)
        if answer.strip() != _YES:
            return ToolOutput("The user did not allow this command; it was not run.", failed=True)
    await asyncio.to_thread(context.workspace.create)
    command = await asyncio.to_thread(_command, policy, context, wanted)
    limits = process.OutputLimits(
        head_bytes=_ENDS_BYTES, tail_bytes=_ENDS_BYTES, spill_bytes_max=_SPILL_BYTES_MAX
    )
    # Without a name from its first moment: nothing is left of it after a crash.
    with tempfile.TemporaryFile() as spill:
        finished = await process.run(command, limits, spill.fileno())
        kept_at = None
        if finished.output.omitted_bytes:
            kept_at, ends = await _keep(context, spill, finished.output)
            finished = replace(finished, output=ends)
    return ToolOutput(
        _report(finished, wanted.timeout_s, kept_at), finished.exit_code != 0, kept_at
    )


def _command(policy: ShellPolicy, context: ToolContext, wanted: Bash) -> process.Command:
    marker = (MARKER, f"{policy.marker_prefix}:{context.session}:{context.call_id}")
    if isinstance(policy.sandbox, Sandbox) and policy.mode != "unsandboxed":
        argv = policy.sandbox.argv(
            context.workspace,
            wanted.command,
            {**policy.env, marker[0]: marker[1]},
            has_git=_has_git(context),
        )
    else:
        argv = limited(wanted.command, processes=False)
    return process.Command(
        argv=argv,
        cwd=context.workspace.root,
        env=policy.env,
        marker=marker,
        deadline_s=wanted.timeout_s,
    )


def _has_git(context: ToolContext) -> bool:
    try:
        return context.workspace.stat("/workspace/.git/hooks").type == "folder"
    except CommandRejected:
        return False


async def _keep(
    context: ToolContext, spill: IO[bytes], output: process.Output
) -> tuple[str | None, process.Output]:
    """Where the whole output is kept, without secrets, and its ends taken from that.

    Where a secret was cut in two by leaving out the middle, neither part would be recognised.
    """

    def keep() -> tuple[str | None, process.Output]:
        spill.seek(0)
        stamp = context.clock.now().strftime("%Y%m%dT%H%M%S%f")[:-3]
        text = context.redact(spill.read().decode("utf-8", "surrogateescape"))
        data = text.encode("utf-8", "surrogateescape")
        ends = output
        if output.spilled_bytes == output.total_bytes:
            tail = data[max(_ENDS_BYTES, len(data) - _ENDS_BYTES) :]
            ends = replace(output, head=data[:_ENDS_BYTES], tail=tail)
        try:
            return context.workspace.spill("bash", stamp, data), ends
        except RuntimeFault:
            return None, ends

    return await asyncio.to_thread(keep)


def _report(finished: process.Finished, timeout_s: float | None, kept_at: str | None) -> str:
    output = finished.output
    text = output.head.decode("utf-8", "replace")
    if output.omitted_bytes:
        where = f"the whole output is in {kept_at}" if kept_at else "they could not be kept"
        if kept_at and output.spilled_bytes < output.total_bytes:
            where = f"the first {output.spilled_bytes:,} bytes of the output are in {kept_at}"
        text += f"\n\n[... {output.omitted_bytes:,} bytes left out; {where} ...]\n\n"
    text += output.tail.decode("utf-8", "replace")
    notes: list[str] = []
    if finished.deadline_passed:
        notes.append(f"stopped after the {timeout_s:g} s that were set")
    if finished.exit_code != 0 or not text.strip():
        notes.append(f"exit code {finished.exit_code}")
    if finished.survivors:
        notes.append(f"{len(finished.survivors)} processes could not be ended")
    note = f"[{'; '.join(notes)}]" if notes else ""
    return "\n".join(part for part in (text.rstrip("\n"), note) if part)


def _question(context: ToolContext, command: str, confined: bool) -> str:  # noqa: FBT001 - a label
    where = "in the sandbox" if confined else "WITHOUT a sandbox, as you"
    return f"{context.agent} wants to run this command {where}:\n\n{_visible(command)}"


def _visible(text: str) -> str:
    """The text with control and direction characters spelled out, so that it cannot pose."""
    return "".join(
        one if one in "\n\t" or unicodedata.category(one)[0] != "C" else f"\\u{{{ord(one):x}}}"
        for one in text
    )
