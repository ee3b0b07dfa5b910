"""The command `brainpilot-rt`: a table of commands, each imported when it is called.

Only click is imported here, so that `--help` and `version` answer at once; a command's module is
loaded when the command runs, and its one line of help stands in the table so that listing the
commands loads none of them.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 another daemon works on the same data,
130 interrupted. Data goes to stdout, talk to stderr.
"""

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click
from typing_extensions import override

FAILED = 1
INTERRUPTED = 130


class Entry(NamedTuple):
    """Where a command lives, and the line `--help` shows for it."""

    module: str
    help: str


COMMANDS = {
    "up": Entry("up", "Start a team, ask it a question, watch it work."),
    "serve": Entry("serve", "Run the daemon in the foreground."),
    "ask": Entry("ask", "Ask the team a question and wait for the answer."),
    "why": Entry("why", "Explain an answer: who did what, which lines, what it cost."),
    "trace": Entry("why", "Show or draw the reasoning of a session."),
    "approvals": Entry("approvals", "Show calls that wait for your word; approve or deny them."),
    "mcp": Entry("mcp", "Show MCP servers and their tools; allow those of a work tree."),
    "tail": Entry("tail", "Follow what happens, in one session or in all."),
    "send": Entry("mail", "Put a letter into a mailbox, as another process would."),
    "sessions": Entry("sessions", "List, show, rename or delete sessions."),
    "agents": Entry("agents", "Show the agents of a session."),
    "context": Entry("context", "Show what the model read in a turn, and what changed."),
    "memory": Entry("memory", "Show, search and change what a session remembers."),
    "skills": Entry("skills", "List the skills agents find, and check skills."),
    "stop": Entry("stop", "Stop an agent, a session's work, or the daemon."),
    "budget": Entry("budget", "Show what was spent and what is left."),
    "route": Entry("route", "Show which model does what; replay last week under another policy."),
    "doctor": Entry("doctor", "Check this machine, the settings, the log and the mailboxes."),
    "token": Entry("token", "Show, replace or locate the daemon's token."),
    "mailbox": Entry("mail", "Check mailbox directories against the protocol."),
    "export": Entry("export", "Write a session's events as JSON lines."),
    "version": Entry("version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group whose commands are attributes `<name>_command` of modules loaded on demand."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        gc.disable()  # imports make little garbage, and looking for it is a tenth of a start
        try:
            module = importlib.import_module(f"brainpilot_rt.cli.{entry.module}")
        finally:
            gc.enable()
        return getattr(module, f"{cmd_name}_command")

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def commands(ctx: click.Context) -> None:
    """A team of agents on this machine, with letters on disk and one durable log."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> None:
    """Run one command and leave the process with its exit code.

    Args:
        args: The words after the program's name; the process's own when omitted.
    """
    try:
        code = commands.main(args, prog_name="brainpilot-rt", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `| head` does: nothing is wrong, nothing to say.
        sys.stderr.close()
        code = FAILED
    except OSError as error:
        click.echo(f"Error: {error}", err=True)
        code = FAILED
    sys.exit(code if isinstance(code, int) else 0)
