"""`token`: the secret that lets a client in, where it is, and how it is replaced."""

import click

from brainpilot_rt.cli.client import NoDaemon
from brainpilot_rt.cli.options import Common, pass_common, with_data_dir, with_talk
from brainpilot_rt.governance.access import SCOPES, Scope
from brainpilot_rt.supervision.tokens import ClientTokens, TokenFile


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


@token_command.command("new")
@click.argument("name")
@click.option("--scope", type=click.Choice(SCOPES), default="read", show_default=True)
@with_data_dir
@with_talk
@pass_common
def new_token(common: Common, name: str, scope: Scope) -> None:
    """Print a token for another client; it is shown this once.

    read sees; write also changes files and titles, and stops things; execute can do everything.
    """
    if not TokenFile(common.where).path.exists():
        raise _none_yet(TokenFile(common.where))
    click.echo(ClientTokens(common.where).issue(name, scope))


@token_command.command("revoke")
@click.argument("name")
@with_data_dir
@with_talk
@pass_common
def revoke_token(common: Common, name: str) -> None:
    """Take the token of a client back, at once."""
    if not ClientTokens(common.where).revoke(name):
        raise click.ClickException(f"there is no client {name!r}")


@token_command.command("list")
@with_data_dir
@with_talk
@pass_common
def list_tokens(common: Common) -> None:
    """Print the further clients and what each may do."""
    for name, scope in ClientTokens(common.where).listed().items():
        click.echo(f"{name}\t{scope}")


def _none_yet(token: TokenFile) -> NoDaemon:
    return NoDaemon(f"there is no token yet in {token.path.parent}: serve makes it")
