"""`token`: the secret that lets a client in, where it is, and how it is replaced."""

import click

from brainpilot_rt.cli.client import NoDaemon
from brainpilot_rt.cli.options import Common, pass_common, with_data_dir, with_talk
from brainpilot_rt.supervision.tokens import TokenFile


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
    token = TokenFile(common.where)
    secret = token.read()
    if not secret:
        raise _none_yet(token)
    click.echo(secret)


@token_command.command("path")
@with_data_dir
@with_talk
@pass_common
def token_path(common: Common) -> None:
    """Print where the token file is."""
    click.echo(str(TokenFile(common.where).path))


@token_command.command("rotate")
@with_data_dir
@with_talk
@pass_common
def rotate_token(common: Common) -> None:
    """Replace the token; a running daemon takes the new one and refuses the old one at once."""
    token = TokenFile(common.where)
    if not token.path.exists():
        raise _none_yet(token)
    token.rotate()
    common.screen().say(f"replaced {token.path}; addresses with the old token are dead")


def _none_yet(token: TokenFile) -> NoDaemon:
    return NoDaemon(f"there is no token yet in {token.path.parent}: serve makes it")
