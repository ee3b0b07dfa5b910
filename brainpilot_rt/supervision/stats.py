"""Statistics of a session as a fold over its log: tokens, tools, skills and errors, per run."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.times import iso
from brainpilot_rt.domain.usage import NO_USAGE, Usage, add_cost
from brainpilot_rt.eventlog.port import EventLog


@dataclass(slots=True)
class _Unit:
    usage: Usage = NO_USAGE
    tools: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    skills: Counter[str] = field(default_factory=Counter[str])

    def json(self) -> dict[str, Any]:
        return {
            "tokens": self.usage.counters(),
            "tools": dict(self.tools),
            "skills": {
                name: {"queries": count, "loads": 0, "browses": 0}
                for name, count in self.skills.items()
            },
            "errors": dict(self.errors),
        }


@dataclass(slots=True)
class _Run:
    agent: AgentName
    started_ms: int
    finished_ms: int | None = None
    status: str | None = None
    delta: _Unit = field(default_factory=_Unit)


@dataclass(slots=True)
class _Model:
    usage: Usage = NO_USAGE
    calls: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """None: the price of a call is not known."""

    def json(self) -> dict[str, Any]:
        return {
            "tokens": self.usage.counters(),
            "calls": self.calls,
            "costUsd": None if self.cost_usd is None else str(self.cost_usd),
        }


async def stats_of(log: EventLog, session: SessionId) -> dict[str, Any]:
    """Read a session's log once, page by page."""
    total = _Unit()
    agents: dict[AgentName, _Unit] = {}
    runs: dict[RunId, _Run] = {}
    models: dict[str, _Model] = {}
    after = 0
    while page := await log.read(session, after=after):
        for recorded in page:
            _take(recorded, total, agents, runs)
            if isinstance(recorded.event, ev.ModelReplied | ev.ModelAsked | ev.SpendSettled):
                _called(recorded.event, models)
        after = page[-1].seq
    return {
        "sessionId": session,
        "total": total.json(),
        "byAgent": {name: unit.json() for name, unit in agents.items()},
        "byModel": {name: model.json() for name, model in models.items()},
        "byRun": [
            {
                "runId": run_id,
                "agentName": run.agent,
                "startedAt": iso(run.started_ms),
                "finishedAt": None if run.finished_ms is None else iso(run.finished_ms),
                "status": run.status,
                "delta": run.delta.json(),
            }
            for run_id, run in runs.items()
        ],
    }


def _take(
    recorded: ev.Recorded,
    total: _Unit,
    agents: dict[AgentName, _Unit],
    runs: dict[RunId, _Run],
) -> None:
    match recorded.event:
        case ev.RunStarted(run_id=run_id, agent=agent):
            runs[run_id] = _Run(agent, recorded.at_ms)
        case ev.RunFinished(agent=agent, run_id=run_id) as event:
            _ended(runs.get(run_id), recorded.at_ms, _STATUS[event.outcome])
            for unit in _units(agent, run_id, total, agents, runs):
                unit.errors.update(
                    [event.error_code or "error"] if event.outcome == "failed" else ()
                )
        case ev.RunInterrupted(run_id=run_id):
            _ended(runs.get(run_id), recorded.at_ms, "aborted")
        case ev.ModelReplied() | ev.SpendSettled() as event if _is_told(event):
            agent, run_id, usage = event.agent, event.run_id, event.usage
            for unit in _units(agent, run_id, total, agents, runs):
                unit.usage = unit.usage.plus(usage)
        case ev.ToolFinished(agent=agent, run_id=run_id, name=name):
            for unit in _units(agent, run_id, total, agents, runs):
                unit.tools[name] += 1
                unit.skills.update(["search"] if name == "skill_search" else ())
        case _:
            pass


def _is_told(event: ev.ModelReplied | ev.ModelAsked | ev.SpendSettled) -> bool:
    """Whether a call is counted from this event: from its charge only when it has no reply."""
    return not isinstance(event, ev.SpendSettled) or event.without_reply


def _called(
    event: ev.ModelReplied | ev.ModelAsked | ev.SpendSettled, models: dict[str, _Model]
) -> None:
    if not _is_told(event):
        return
    model = models.setdefault(f"{event.model.provider}/{event.model.model}", _Model())
    model.usage = model.usage.plus(event.usage)
    model.calls += 1
    cost_usd = event.counted_usd if isinstance(event, ev.SpendSettled) else event.cost_usd
    model.cost_usd = add_cost(model.cost_usd, cost_usd)


def _ended(run: _Run | None, at_ms: int, status: str) -> None:
    if run is not None:
        run.finished_ms = at_ms
        run.status = status


_STATUS = {"completed": "ok", "failed": "error", "aborted": "aborted"}


def _units(
    agent: AgentName,
    run_id: RunId,
    total: _Unit,
    agents: dict[AgentName, _Unit],
    runs: dict[RunId, _Run],
) -> list[_Unit]:
    units = [total, agents.setdefault(agent, _Unit())]
    return [*units, runs[run_id].delta] if run_id in runs else units
