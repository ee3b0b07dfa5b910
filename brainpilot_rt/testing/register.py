"""The manager with all that is kept for every session: records, approvals, registered agents."""

from dataclasses import dataclass
from pathlib import Path

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.supervision.approvals import Approvals
from brainpilot_rt.supervision.crew import Crew
from brainpilot_rt.supervision.profiles import AgentProfiles
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.tokens import ClientTokens


@dataclass(frozen=True, slots=True)
class Register:
    """`records` know what an earlier life kept once they are loaded."""

    manager: SessionManager
    crew: Crew
    records: Records
    approvals: Approvals
    agents: AgentProfiles


def registered(
    log: EventLog, hub: Hub, sources: tuple[Clock, NewId], limits: SessionLimits, folder: Path
) -> Register:
    """Build them as the daemon does."""
    clock, new_id = sources
    crew = Crew()
    manager = SessionManager(
        log, hub, clock=clock, new_id=new_id, limits=limits, members=crew.members
    )
    records = Records(log, manager)
    approvals = Approvals(manager, hub, log, records, clock)
    agents = AgentProfiles(
        records,
        clock,
        new_id,
        ledger=log.ledger,
        tokens=ClientTokens(folder, clock.now_ms),
        call_client=approvals.call_client,
    )
    crew.enrol(agents)
    return Register(manager, crew, records, approvals, agents)
