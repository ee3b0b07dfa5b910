"""What happens between an open log and the first request: repair, reconcile, audit.

Idempotent, and safe to crash in: every repair is one commit per session, and a second start finds
nothing left to do. Sessions with nothing open are not read at all.
"""

import logging
from collections import Counter
from contextlib import suppress
from pathlib import Path

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BadRequest, RuntimeFault
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName, SessionId, parse_agent_name
from brainpilot_rt.domain.letters import AgentCard
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.sessions.audit import Audit
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.sessions.recovery import repair
from brainpilot_rt.supervision.mailroom import MailRoom

_log = logging.getLogger(__name__)


async def repair_sessions(
    manager: SessionManager, log: EventLog
) -> tuple[list[SessionId], Counter[str]]:
    """Close what a dead process left open, in every session with open work."""
    rows = await log.sessions()
    counts = Counter[str](sessions=len(rows))
    for row in rows:
        if not row.busy:
            continue
        counts["busy"] += 1
        try:
            await manager.load(row.session)
            hit("boot.repair.before")
            for recorded in await manager.amend(row.session, repair, follow=False):
                counts[recorded.event.type] += 1
            hit("boot.repair.after")
        except RuntimeFault as fault:
            # One session that can not be read must not keep the others from working.
            _log.error("session %s can not be recovered: %s", row.session, fault)
            counts["unreadable"] += 1
    return [row.session for row in rows], counts


async def audit_busy(manager: SessionManager, log: EventLog) -> int:
    """Run the no-silent-loss audit over the sessions in memory; the number of violations."""
    found = 0
    for state in manager.resident():
        for violation in await audit_session(log, state.session):
            _log.error("audit: %s", violation)
            found += 1
    return found


async def audit_session(log: EventLog, session: SessionId) -> list[str]:
    """Violations of one session, in words."""
    audit = Audit(session)
    after = 0
    while page := await log.read(session, after=after):
        audit.feed(page)
        after = page[-1].seq
    return [f"{one.session}: {one.what} {one.which} (seq {one.seq})" for one in audit.violations()]


def open_mailboxes(office: PostOffice, sessions: list[SessionId]) -> list[SessionId]:
    """Serve the mailboxes of every session, by its directories: foreign mail wakes it. Blocks.

    The principal's always: the daemon may have died before it was made, and others write there.
    Returns the sessions with a file in a `cur/`: a run goes on, or its end left them there.
    """
    unsettled: list[SessionId] = []
    for session in sessions:
        office.open_session(session)
        for agent in sorted({PRINCIPAL, *_managed(office.root / session)}):
            office.open_agent(session, AgentCard(name=agent, kind="managed"))
            with suppress(OSError):
                if session not in unsettled and any(
                    (office.root / session / agent / "cur").iterdir()
                ):
                    unsettled.append(session)
    return unsettled


def _managed(folder: Path) -> list[AgentName]:
    names: list[AgentName] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return names
    for entry in entries:
        try:
            card = AgentCard.model_validate_json((entry / "agent.json").read_bytes())
            if card.kind == "managed":
                names.append(parse_agent_name(entry.name))
        except (OSError, ValueError, BadRequest):
            continue
    return names


async def reconcile(manager: SessionManager, room: MailRoom, unsettled: list[SessionId]) -> int:
    """Bring files to where the log says, of sessions in memory too; how many were missing."""
    missing = 0
    for session in unsettled:
        try:
            await manager.load(session)
        except RuntimeFault as fault:
            _log.error("the mail of session %s can not be sorted: %s", session, fault)
    for state in manager.resident():
        missing += await room.reconcile(state)
    return missing


def recovered(counts: Counter[str]) -> ev.DaemonRecovered:
    """The event that says what start-up did."""
    return ev.DaemonRecovered(counts={name: count for name, count in counts.items() if count})
