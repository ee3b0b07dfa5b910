"""The manager with all that is kept for every session, built as the daemon builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.daemon.governing import Base, Register
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.governance.rates import Rates
from brainpilot_rt.sessions.hub import Hub
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.settings import BudgetSettings, GuardSettings, Settings
from brainpilot_rt.supervision.budget_caps import Caps
from brainpilot_rt.supervision.budget_views import BudgetViews
from brainpilot_rt.supervision.budgets import Budgets
from brainpilot_rt.supervision.crew import Crew
from brainpilot_rt.supervision.guarding import Guards
from brainpilot_rt.supervision.records import Records
from brainpilot_rt.supervision.secrets import Secrets
from brainpilot_rt.supervision.toolgate import Governor
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


def counted(log: EventLog, known: Registered, clock: Clock, new_id: NewId) -> BudgetViews:
    """Money without bounds, as the log tells of it."""
    records, settings = known.kept.records, BudgetSettings()
    caps = Caps(settings, records)
    budgets = Budgets(log, known.manager, caps, settings, clock=clock, new_id=new_id)
    return BudgetViews(budgets, log.ledger, records, clock)


def governor(known: Registered, clock: Clock) -> Governor:
    """Rules for tools as a fresh daemon has them."""
    kept, guard = known.kept, GuardSettings()
    return Governor(
        manager=known.manager,
        records=kept.records,
        approvals=kept.approvals,
        guards=Guards(kept.records, guard),
        secrets=Secrets(),
        clock=clock,
        settings=guard,
        rates=Rates(),
        definition_now=kept.mcp.digest,
    )


def settings_in(folder: Path, **groups: object) -> Settings:
    """Settings of a test: everything lies in its folder."""
    return Settings.model_validate({"data_dir": folder, "mailbox_dir": folder / "mail", **groups})
