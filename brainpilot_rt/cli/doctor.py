"""`doctor`: what this machine, these settings and this data directory are like, and what is wrong.

A running daemon is asked over HTTP; when there is none, its lock is taken and the log is read at
rest: every page is checked, and every session is audited for work that was lost.
"""

import asyncio
import dataclasses
import os
import platform
import shutil
import sqlite3
import stat
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import click

from brainpilot_rt import __version__
from brainpilot_rt.aiokit.lock import AlreadyOwned
from brainpilot_rt.cli.client import Client, as_object
from brainpilot_rt.cli.escapes import try_to_escape
from brainpilot_rt.cli.export import LOG_FILE, log_at_rest
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json, with_mailbox_dir
from brainpilot_rt.cli.terminal import clean
from brainpilot_rt.domain.errors import NotFound, RuntimeFault
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.mailbox.check import check_tree
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.boot import audit_session
from brainpilot_rt.supervision.template import Template
from brainpilot_rt.tools import sandbox

Status = Literal["ok", "warning", "failed"]

DISK_FAILED_BYTES: Final = 64 * 1024 * 1024
DISK_WARNING_BYTES: Final = 1024 * 1024 * 1024
COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red"}
PROBLEMS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. Only `failed` makes the command fail."""

    name: str
    status: Status
    detail: str


@click.command("doctor")
@click.option(
    "--sandbox", "escape", is_flag=True, help="Try to break out of the shell's sandbox instead."
)
@json_option
@with_mailbox_dir
@of_daemon
def doctor_command(common: Common, escape: bool, as_json: bool) -> None:  # noqa: FBT001 - by name
    """Check this machine, the settings, the data directory, the log, the mailboxes, the models.

    Exit code 1 when something is wrong; warnings are not.
    """
    if escape:
        try_to_escape(common, as_json=as_json)
        return
    settings = common.settings()
    client = common.running()
    checks = [
        *_machine(),
        *_settings(settings),
        *_folders(settings),
        *(_running(client) if client else asyncio.run(_at_rest(settings))),
        *_mailboxes(settings),
        *asyncio.run(_surroundings(settings)),
    ]
    healthy = all(check.status != "failed" for check in checks)
    if as_json:
        print_json({"ok": healthy, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        screen = common.screen()
        for check in checks:
            colour = COLOURS[check.status] if screen.colour and sys.stdout.isatty() else None
            status = (
                click.style(f"{check.status:<8}", fg=colour) if colour else f"{check.status:<8}"
            )
            click.echo(f"{status} {check.name}: {clean(check.detail)}")
    if not healthy:
        sys.exit(1)


def _machine() -> Generator[Check]:
    yield Check("version", "ok", f"brainpilot-rt {__version__}")
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    with closing(sqlite3.connect(":memory:")) as connection:
        options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" in options:
        yield Check("sqlite", "ok", f"{sqlite3.sqlite_version} with FTS5")
    else:
        yield Check("sqlite", "failed", f"{sqlite3.sqlite_version} lacks FTS5: no search")


def _settings(settings: Settings) -> Generator[Check]:
    for warning in settings.warnings:
        yield Check("settings", "warning", warning)
    if not settings.warnings:
        yield Check("settings", "ok", "every value is known and valid")


def _folders(settings: Settings) -> Generator[Check]:
    for name, folder in (("data", settings.data_dir), ("mailbox", settings.mailbox_dir)):
        yield _private(f"{name} folder", folder)
    yield _disk(settings.data_dir)


def _private(name: str, folder: Path) -> Check:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return Check(name, "ok", f"{folder} is not there yet; serve makes it")
    except OSError as error:
        return Check(name, "failed", f"{folder}: {error.strerror}")
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.getuid():
        return Check(name, "failed", f"{folder} belongs to another user (uid {found.st_uid})")
    if mode & 0o077:
        return Check(name, "failed", f"{folder} is open to others (mode {mode:04o}, want 0700)")
    if not os.access(folder, os.W_OK):
        return Check(name, "failed", f"{folder} cannot be written")
    return Check(name, "ok", f"{folder} (mode {mode:04o})")


def _disk(folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / 2**30:.1f} GiB free"
    if free < DISK_FAILED_BYTES:
        return Check("disk", "failed", f"{said}: the log will refuse to write")
    return Check("disk", "warning" if free < DISK_WARNING_BYTES else "ok", said)


def _running(client: Client) -> Generator[Check]:
    there = client.endpoint()
    yield Check("daemon", "ok", f"running at {there.url}, process {there.pid or 'unknown'}")
    try:
        client.call("GET", "/readyz")
        yield Check("readiness", "ok", "log and mailboxes can be used")
    except click.ClickException as trouble:
        yield Check("readiness", "failed", trouble.message)
    live = as_object(client.call("GET", "/metrics"))
    violations = int(live.get("auditViolations") or 0)
    status: Status = "failed" if violations else "ok"
    yield Check("log", status, f"{violations} audit violations")
    leases = f"{live.get('runningAgents')} running, {live.get('unreadLetters')} unread letters"
    yield Check("work", "ok", f"{leases}, reclaimable {live.get('reclaimable')}")


async def _at_rest(settings: Settings) -> list[Check]:
    """Take the lock and read the log as the daemon would."""
    checks = [Check("daemon", "ok", "not running")]
    try:
        async with log_at_rest(settings.data_dir) as log:
            checks += [check async for check in _audit(log, settings.data_dir / LOG_FILE)]
    except NotFound:
        checks.append(Check("log", "ok", "there is none yet"))
    except AlreadyOwned as owned:
        checks.append(Check("log", "failed", f"{owned}, and it does not answer"))
    except (RuntimeFault, OSError) as error:
        checks.append(Check("log", "failed", str(error)))
    return checks


async def _audit(log: SqliteEventLog, path: Path) -> AsyncGenerator[Check]:
    damage = await asyncio.to_thread(_damage, path)
    if damage:
        yield Check("log", "failed", f"{path} is damaged: {damage}")
        return
    rows = await log.sessions()
    violations = [one for row in rows for one in await audit_session(log, row.session)]
    for violation in violations[:PROBLEMS_SHOWN]:
        yield Check("audit", "failed", violation)
    said = f"{len(rows)} sessions, every page sound, {len(violations)} audit violations"
    yield Check("log", "failed" if violations else "ok", said)


def _damage(path: Path) -> str | None:
    """What SQLite finds wrong with the pages, None if nothing."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return None if found == "ok" else found


def _mailboxes(settings: Settings) -> Generator[Check]:
    try:
        reports = check_tree(settings.mailbox_dir)
    except (RuntimeFault, OSError):
        yield Check("mailboxes", "ok", "none yet")
        return
    wrong = [report for report in reports if not report.ok]
    for report in wrong[:PROBLEMS_SHOWN]:
        refused = [f"{one.file}: {one.reason}" for one in report.files if one.verdict == "refused"]
        yield Check(
            "mailbox", "warning", f"{report.path}: {'; '.join([*report.problems, *refused])}"
        )
    status: Status = "warning" if wrong else "ok"
    yield Check("mailboxes", status, f"{len(reports)} looked at, {len(wrong)} with problems")


async def _surroundings(settings: Settings) -> list[Check]:
    """Models and the shell's sandbox, found as the daemon finds them at its start."""
    template = Template(settings)
    await template.probe()
    providers = template.current()
    checks = [Check("models", "warning", warning) for warning in providers.warnings]
    for one in providers.describe():
        used = " (used)" if one["default"] else ""
        problem = f", cannot be used: {one['problem']}" if one["problem"] else ""
        said = f"{one['id']}{used}: {one['dialect']}, key {one['key']}, from {one['source']}"
        failed: Status = "failed" if one["problem"] and one["default"] else "ok"
        checks.append(Check("model", failed, said + problem))
    shell = settings.agents.shell
    found = await sandbox.probe(settings.environment.get("PATH", ""))
    if isinstance(found, sandbox.Sandbox):
        checks.append(Check("sandbox", "ok", f"{found.bwrap} confines; shell is {shell!r}"))
    else:
        offered = "no shell tool is offered" if shell == "sandbox" else f"shell is {shell!r}"
        checks.append(Check("sandbox", "warning", f"{found.reason}; {offered}"))
    return checks
