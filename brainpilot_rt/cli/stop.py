"""`stop`: one agent, a session's work, or the daemon itself.

The daemon's process is signalled only when it is certain that it is the daemon: the pid is held
open before the daemon at the recorded address is asked who it is, so that a reused number is never
signalled.
"""

import os
import select
import signal
import sys
import time
from typing import Final

import click

from brainpilot_rt.cli.client import (
    STALE,
    Client,
    Endpoint,
    NoDaemon,
    as_object,
    is_listening,
    session_path,
)
from brainpilot_rt.cli.options import Common, json_option, of_daemon, print_json

GONE_S: Final = 30.0
STEP_S: Final = 0.1


@click.command("stop")
@click.option("--session", help="Stop the work of this session instead of the daemon.")
@click.option("--agent", help="Of that session, stop this agent's work only.")
@json_option
@of_daemon
def stop_command(
    common: Common,
    session: str | None,
    agent: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Stop work, or the daemon. Nothing accepted is lost: queued letters stay queued.

    With --session: interrupts what runs there and returns when it is idle. Without: stops the
    daemon as SIGTERM does and returns when it is gone.
    """
    if agent and not session:
        raise click.UsageError("--agent needs --session")
    client = common.client()
    if session:
        client.call("GET", session_path(session, "/state"))  # refuses a session that is not there
        body = {"agent": agent} if agent else {}
        answer = as_object(client.call("POST", session_path(session, "/interrupt"), body))
    else:
        answer = {"stopped": _stop_daemon(client)}
    if as_json:
        print_json(answer)
    elif session:
        common.screen().say("stopped" if answer.get("interrupted") else "nothing was running")
    else:
        common.screen().say("the daemon has stopped" if answer["stopped"] else "it still stops")
    if answer.get("stopped") is False:
        sys.exit(1)


def _stop_daemon(client: Client) -> bool:
    there = client.endpoint()
    if there.pid is None:
        return _ask_to_stop(client, there)
    handle = _hold(there.pid)
    try:
        if not is_listening(there):
            raise NoDaemon(STALE)
        if handle is None:
            os.kill(there.pid, signal.SIGTERM)
            return _falls_silent(there)
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        return bool(select.select([handle], [], [], GONE_S)[0])
    except ProcessLookupError:
        return True
    finally:
        if handle is not None:
            os.close(handle)


def _hold(pid: int) -> int | None:
    """A handle on the process that stays its own, where the system has such handles."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise NoDaemon(STALE) from None


def _ask_to_stop(client: Client, there: Endpoint) -> bool:
    epoch = as_object(client.call("GET", "/metrics")).get("idleEpoch")
    client.call("POST", "/shutdown", {"ifIdleEpoch": epoch})
    return _falls_silent(there)


def _falls_silent(there: Endpoint) -> bool:
    for _ in range(int(GONE_S / STEP_S)):
        if not is_listening(there):
            return True
        time.sleep(STEP_S)
    return False
