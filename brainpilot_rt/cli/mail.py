"""`send` and `mailbox check`: the mailbox as any other process meets it, without HTTP."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import ValidationError

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.cli.client import NoDaemon, endpoint_of
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    pass_common,
    print_json,
    with_data_dir,
    with_mailbox_dir,
    with_talk,
)
from brainpilot_rt.cli.terminal import clean
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.letters import ForeignLetter, LetterKind
from brainpilot_rt.mailbox.check import MailboxReport, check_tree
from brainpilot_rt.mailbox.sender import send_letter


@click.command("send")
@click.argument("content", metavar="TEXT")
@click.option("--session", required=True, help="Session of the recipient.")
@click.option("--to", required=True, metavar="AGENT", help="The recipient.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in LetterKind]),
    help="Kind of the letter; without it a user_message, or the result of the task named.",
)
@click.option("--task-id", help="Task this letter answers or opens.")
@json_option
@with_mailbox_dir
@with_data_dir
@with_talk
@pass_common
def send_command(
    common: Common,
    session: str,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
    **fields: str | None,
) -> None:
    """Put a letter with TEXT into an agent's mailbox; a single - reads it from stdin.

    It is written as any other process would write it, whether or not a daemon runs. When this
    returns it is on the disk; it counts as accepted when the daemon has taken it up.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if given["content"] == "-":
        given["content"] = sys.stdin.read()
    if not given["content"].strip():
        raise click.UsageError("an empty letter")
    try:
        letter = ForeignLetter.model_validate(given)
        sent = send_letter(_root(common), session, letter, new_id=UlidSource(SystemClock()))
    except ValidationError as error:
        raise click.UsageError(str(error.errors(include_url=False)[0]["msg"])) from None
    except (RuntimeFault, OSError) as error:
        raise click.ClickException(clean(str(error))) from None
    if as_json:
        print_json({"letter_id": sent.letter_id, "path": str(sent.path)})
    else:
        click.echo(sent.letter_id)


def _root(common: Common) -> Path:
    """Where the mailboxes are: as told, else where the daemon of the data directory has them."""
    settings = common.settings()
    if common.mailbox_dir is None:
        try:
            told = endpoint_of(settings.data_dir).mailbox_dir
        except NoDaemon:
            told = None
        if told is not None:
            return told
    return settings.mailbox_dir


@click.group("mailbox")
def mailbox_command() -> None:
    """Mailbox directories."""


@mailbox_command.command("check")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def check(folder: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Check FOLDER against the protocol: one mailbox, a session's, or all; changes nothing.

    Exit code 0 when everything would be accepted, 1 when something would be refused or is missing.
    """
    try:
        reports = check_tree(folder)
    except (RuntimeFault, OSError) as error:
        raise click.ClickException(clean(str(error))) from None
    if as_json:
        print_json([_as_json(report) for report in reports])
    else:
        _print(reports)
    if not all(report.ok for report in reports):
        sys.exit(1)


def _as_json(report: MailboxReport) -> dict[str, object]:
    return {
        "path": str(report.path),
        "ok": report.ok,
        "problems": list(report.problems),
        "files": [dataclasses.asdict(file) for file in report.files],
    }


def _print(reports: Sequence[MailboxReport]) -> None:
    for report in reports:
        click.echo(f"{clean(str(report.path))}: {'ok' if report.ok else 'not ok'}")
        for problem in report.problems:
            click.echo(f"  {clean(problem)}")
        for file in report.files:
            why = f": {file.reason} {file.detail}" if file.reason else ""
            click.echo(f"  {clean(file.file)}: {file.verdict}{clean(why)}")
