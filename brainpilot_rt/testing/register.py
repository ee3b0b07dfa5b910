"""The manager with all that is kept for every session, built as the daemon builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.daemon.governing import Base, Register
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import Settings
from brainpilot_rt.supervision.crew import Crew
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.tools.mcp.server import Dial
from brainpilot_rt.workspace.files import Workspace


@dataclass(frozen=True, slots=True)
class Registered:
    """`kept.records` know what an earlier life kept once they are loaded."""

    manager: SessionManager
    crew: Crew
    kept: Register


def registered(
    log: EventLog,
    hub: Hub,
    sources: tuple[Clock, NewId],
    settings: Settings,
    workspace: Callable[[SessionId], Workspace] | None = None,
    dial: "Dial | None" = None,
) -> Registered:
    """Build them; nothing is read before the records are loaded."""
    clock, new_id = sources
    crew = Crew()
    manager = SessionManager(
        log, hub, clock=clock, new_id=new_id, limits=settings.sessions, members=crew.members
    )
    base = Base(
        settings=settings,
        log=log,
        hub=hub,
        manager=manager,
        secrets=Secrets(),
        clock=clock,
        new_id=new_id,
        workspace=workspace or (lambda session: Workspace(settings.data_dir / session)),
        dial=dial,
    )
    kept = Register(base, Records(log, manager))
    crew.enrol(kept.agents)
    return Registered(manager, crew, kept)


def settings_in(folder: Path, **groups: object) -> Settings:
    """Settings of a test: everything lies in its folder."""
    return Settings.model_validate({"data_dir": folder, "mailbox_dir": folder / "mail", **groups})
