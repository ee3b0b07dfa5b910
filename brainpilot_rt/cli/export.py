"""`export`: a session's events as JSON lines, from a running daemon or from its log at rest.

The two ways give the same lines: while a daemon runs it is asked, because nobody else may open its
log; otherwise this process takes the daemon's lock first.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from brainpilot_rt.aiokit.lock import AlreadyOwned, InstanceLock
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.cli.client import Client, follow, session_path
from brainpilot_rt.cli.options import Common, of_daemon
from brainpilot_rt.domain.errors import NotFound, RuntimeFault
from brainpilot_rt.domain.ids import parse_session_id
from brainpilot_rt.eventlog.export import lines
from brainpilot_rt.eventlog.sqlite import SqliteEventLog

LOG_FILE = "log.db"


@click.command("export")
@click.argument("session")
@click.option("--follow", "follows", is_flag=True, help="Go on until Ctrl-C; needs a daemon.")
@of_daemon
def export_command(common: Common, session: str, follows: bool) -> None:  # noqa: FBT001 - by name
    """Write the events of SESSION as JSON lines: seq, ts, type, then the event's own fields."""
    client = common.running()
    if client is not None:
        _from_daemon(client, session, follows=follows)
    elif follows:
        raise click.ClickException("--follow needs a running daemon")
    else:
        try:
            asyncio.run(_from_log(common.where, session))
        except (AlreadyOwned, RuntimeFault, OSError) as error:
            raise click.ClickException(str(error)) from None


def _from_daemon(client: Client, session: str, *, follows: bool) -> None:
    seq = _print_after(client, session, 0)
    if not follows:
        return
    for cursor, _ in follow(client, f"/sse/{session}?after={seq}"):
        # A frame is only the sign that there is more; the line comes from the log.
        if cursor is not None and "~" not in cursor:
            seq = _print_after(client, session, seq)


def _print_after(client: Client, session: str, seq: int) -> int:
    newest = ""
    for newest in client.lines(session_path(session, "/export", after=str(seq))):
        click.echo(newest)
    return int(json.loads(newest)["seq"]) if newest else seq


async def _from_log(data_dir: Path, session: str) -> None:
    name = parse_session_id(session)
    async with log_at_rest(data_dir) as log:
        is_there = False
        async for line in lines(log, name):
            click.echo(line, nl=False)
            is_there = True
        if not is_there:
            raise NotFound(f"there is no session {session!r} in {data_dir}")


@asynccontextmanager
async def log_at_rest(data_dir: Path) -> AsyncGenerator[SqliteEventLog]:
    """The log of a data directory whose daemon is down, under the daemon's lock.

    Raises AlreadyOwned when a daemon has it after all, NotFound when there is no log.
    """
    path = data_dir / LOG_FILE
    if not path.exists():
        raise NotFound(f"there is no log in {data_dir}: no daemon has run there yet")
    with InstanceLock(data_dir):
        log = await SqliteEventLog.open(path, clock=SystemClock())
        try:
            yield log
        finally:
            await log.close()
