"""`token`: the secret that lets a client in, where it is, and how it is replaced."""

import secrets

import click

from brainpilot_rt.aiokit.files import DirHandle, replace_atomic
from brainpilot_rt.cli.client import NoDaemon
from brainpilot_rt.cli.options import Common, pass_common, with_data_dir, with_talk

TOKEN_FILE = "token"  # noqa: S105 - the name of a file
TOKEN_BYTES = 32


@click.group("token", invoke_without_command=True)
@with_data_dir
@with_talk
@click.pass_context
def token_command(ctx: click.Context) -> None:
    """Without a command: show the token."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_token)


@token_command.command("show")
@with_data_dir
@with_talk
@pass_common
def show_token(common: Common) -> None:
    """Print the token of the data directory's daemon."""
    path = common.where / TOKEN_FILE
    try:
        click.echo(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise NoDaemon(f"there is no token yet in {path.parent}: serve makes it") from None


@token_command.command("path")
@with_data_dir
@with_talk
@pass_common
def token_path(common: Common) -> None:
    """Print where the token file is."""
    click.echo(str(common.where / TOKEN_FILE))


@token_command.command("rotate")
@with_data_dir
@with_talk
@pass_common
def rotate_token(common: Common) -> None:
    """Replace the token; a running daemon takes the new one and refuses the old one at once."""
    home = common.where
    if not (home / TOKEN_FILE).exists():
        raise NoDaemon(f"there is no token yet in {home}: serve makes it")
    with DirHandle.open(home) as directory:
        fresh = secrets.token_urlsafe(TOKEN_BYTES)
        replace_atomic(directory, TOKEN_FILE, f"{fresh}\n".encode(), sync=True)
    common.screen().say(f"replaced; capability addresses with the old token are dead: {home}")
