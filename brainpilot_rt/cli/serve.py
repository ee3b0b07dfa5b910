"""`serve`: the daemon in the foreground; the one command that builds a daemon."""

import dataclasses
import logging
import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from brainpilot_rt.aiokit.files import UnsafeFile, UnsafeReason
from brainpilot_rt.aiokit.lock import AlreadyOwned
from brainpilot_rt.aiokit.logs import CalmHandler, occupy_standard_descriptors
from brainpilot_rt.cli.options import (
    Common,
    json_option,
    pass_common,
    print_json,
    with_data_dir,
    with_mailbox_dir,
    with_talk,
)
from brainpilot_rt.cli.terminal import Screen
from brainpilot_rt.daemon import main as daemon
from brainpilot_rt.daemon.listener import PortTaken
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.supervision.whereabouts import Ready

_log = logging.getLogger(__name__)

_UNSAFE: Final[Mapping[UnsafeReason, str]] = {
    "symlink": "is a symbolic link; name the folder itself",
    "not_directory": "is not a folder",
    "foreign_owner": "belongs to another user",
    "writable_by_others": "can be written by other users; run chmod 700 on it",
}
"""What is wrong with a folder the daemon was told to keep its own in."""


class Owned(click.ClickException):
    """Another daemon has the data directory or the mailboxes; the message names its process."""

    exit_code = 3


@click.command("serve")
@click.option("--host", help="Address to listen on; 127.0.0.1 unless told otherwise.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one.")
@json_option
@with_mailbox_dir
@with_data_dir
@with_talk
@pass_common
def serve_command(
    common: Common,
    host: str | None,
    port: int | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    --json prints one line when it is ready: url, pid, token_file, data_dir, mailbox_dir, version.
    Everything else goes to stderr. Exit code 3: another daemon works on this data.
    """
    occupy_standard_descriptors()
    settings = common.settings(host=host, port=port)
    screen = common.screen()
    level = logging.WARNING if common.quiet else logging.INFO
    logging.basicConfig(
        level=level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[CalmHandler(2)],
    )
    for chatty in ("httpx", "uvicorn", "watchfiles"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if os.geteuid() == 0:
        _log.warning("running as root: no limit on the number of processes binds a command")
    for warning in settings.warnings:
        screen.say(f"warning: {warning}")

    def on_ready(ready: Ready) -> None:
        try:
            if as_json:
                print_json(dataclasses.asdict(ready))
            else:
                _greet(screen, ready)
        except OSError:  # whoever wanted to know has left; others find daemon.json
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    try:
        sys.exit(daemon.run(settings, on_ready=on_ready))
    except UnsafeFile as error:
        raise click.ClickException(
            f"{error.name} {_UNSAFE.get(error.reason, error.reason)}"
        ) from None
    except AlreadyOwned as error:
        raise Owned(str(error)) from None
    except (PortTaken, RuntimeFault, OSError) as error:
        raise click.ClickException(str(error)) from None


def _greet(screen: Screen, ready: Ready) -> None:
    """Say where the daemon is. Its secret address is for a person's eyes, not for a log file."""
    if not screen.err.isatty():
        _log.info("listening on %s (data in %s)", ready.url, ready.data_dir)
    else:
        screen.say(f"listening on {ready.url} (data in {ready.data_dir})")
        with open(ready.token_file, encoding="ascii") as file:  # noqa: PTH123 - a path as text
            screen.say(f"open {ready.url}/c/{file.read().strip()}/")
