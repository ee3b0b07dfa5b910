"""Options that several commands share, collected in one value that commands are given.

Where the daemon is: `--url` (`BP_URL`, with the token in `BP_TOKEN`), else the data directory of
the settings. How to talk: `--quiet`, `NO_COLOR`, `FORCE_COLOR`.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from brainpilot_rt import settings
from brainpilot_rt.cli.client import Client, Endpoint, NoDaemon, endpoint_of, is_listening
from brainpilot_rt.cli.terminal import Screen, columns, wants_colour

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


@dataclass(slots=True)
class Common:
    """What the shared options say."""

    data_dir: str | None = None
    mailbox_dir: str | None = None
    url: str | None = None
    token: str | None = None
    quiet: bool = False
    no_color: str | None = None
    force_color: str | None = None

    def settings(self, *, host: str | None = None, port: int | None = None) -> settings.Settings:
        """Load the settings; a bad one is wrong usage (exit code 2)."""
        try:
            return settings.load(
                data_dir=self.data_dir, mailbox_dir=self.mailbox_dir, host=host, port=port
            )
        except settings.BadSettings as error:
            raise click.UsageError(str(error)) from None

    def client(self) -> Client:
        """A client of the daemon that the options name."""
        if self.url is None:
            data_dir = self.settings().data_dir
            return Client(lambda: endpoint_of(data_dir))
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise click.UsageError(f"not an address of a daemon: {self.url}")
        there = Endpoint(url=self.url.rstrip("/"), token=self.token)
        return Client(lambda: there)

    def running(self) -> Client | None:
        """The client if a daemon answers, None if there is none. A `--url` must answer."""
        client = self.client()
        try:
            there = client.endpoint()
        except NoDaemon:
            return None
        if is_listening(there):
            return client
        if self.url is not None:
            raise NoDaemon(f"no answer from {self.url}")
        return None

    def screen(self) -> Screen:
        """The two streams, with colour where talk may have it."""
        colour = wants_colour(sys.stderr, self.no_color, self.force_color)
        return Screen(colour=colour, quiet=self.quiet, width=columns(sys.stderr))

    @property
    def where(self) -> Path:
        """The data directory of the settings."""
        return self.settings().data_dir


def _store(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value:
        setattr(ctx.ensure_object(Common), str(param.name), value)


def _shared(
    *names: str, envvar: str | None = None, **more: Any
) -> Callable[[AnyCommand], AnyCommand]:
    return click.option(*names, envvar=envvar, expose_value=False, callback=_store, **more)


def with_talk(command: AnyCommand) -> AnyCommand:
    """Add `--quiet` and the colour variables."""
    command = _shared("--no-color", envvar="NO_COLOR", hidden=True, metavar="ANY")(command)
    command = _shared("--force-color", envvar="FORCE_COLOR", hidden=True, metavar="ANY")(command)
    return _shared("--quiet", "-q", is_flag=True, help="Say nothing but data and errors.")(command)


def with_data_dir(command: AnyCommand) -> AnyCommand:
    """Add `--data-dir`."""
    return _shared("--data-dir", metavar="DIR", help="Data directory of the daemon (BP_DATA_DIR).")(
        command
    )


def with_mailbox_dir(command: AnyCommand) -> AnyCommand:
    """Add `--mailbox-dir`."""
    return _shared("--mailbox-dir", metavar="DIR", help="Root of the mailboxes (BP_MAILBOX_DIR).")(
        command
    )


def with_daemon(command: AnyCommand) -> AnyCommand:
    """Add `--data-dir`, `--url` and the token that goes with it."""
    command = _shared("--token", envvar="BP_TOKEN", hidden=True)(command)
    command = _shared(
        "--url", envvar="BP_URL", help="Address of the daemon (BP_URL; its token in BP_TOKEN)."
    )(command)
    return with_data_dir(command)


pass_common = click.make_pass_decorator(Common, ensure=True)


def of_daemon(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command has that talks to the daemon; it is given `Common` first."""
    return with_daemon(with_talk(pass_common(command)))


def list_or_go_on(ctx: click.Context, listing: click.Command, **said: object) -> None:
    """What a group does without a command: `listing`. With one, options go after that."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(listing, **said)
    elif any(one not in (None, False) for one in said.values()):
        named = f"{ctx.info_name} {ctx.invoked_subcommand}"
        raise click.UsageError(f"options go after the command: {named} ...")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """Print one JSON value on one line of stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))
