"""What must be true after the day (`proof.day`), however often its daemon died: the judge.

Reads the log of a dead daemon with SQLite itself, the files, and the books of client and provider.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from brainpilot_rt.domain.events import EVENTS, HostTurnFinished, Recorded, ToolFinished
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.sessions.audit import Audit
from proof.day import FOREIGN, GONE, LATE, WORK, Day

Json: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Judged:
    """What was found; `wrong` is what may not be."""

    wrong: list[str] = field(default_factory=list[str])
    events: int = 0
    calls: Counter[str] = field(default_factory=Counter[str])
    """Tool calls by how they ended."""
    repeated: int = 0
    """Questions to the model beyond the first of each."""


def judge(day: Day, asked: Counter[str], deaths: int, *, errors: bool = False) -> Judged:
    """Judge a day that has come to its end. `errors`: an error was injected, so tools may fail."""
    found = Judged()
    logs, wrong = read_log(day.home.data_dir / "log.db")
    found.wrong += wrong
    found.events = sum(map(len, logs.values()))
    for name, records in logs.items():
        lines = [json.loads(EVENTS.dump_json(one.event)) for one in records]
        found.wrong += [f"{name}: {what}" for what in _audited(name, records)]
        found.wrong += [f"{name}: {what}" for what in _said_twice(lines)]
        found.wrong += [f"{name}: {what}" for what in _kept(day, name, lines)]
        found.calls.update(line["status"] for line in lines if line["type"] == "tool_finished")
    found.wrong += _ended(logs, errors=errors)
    found.wrong += _effects(day.home.data_dir / "workspaces" / WORK, logs[WORK], errors=errors)
    found.repeated = sum(asked.values()) - len(asked)
    often = [count for question, count in asked.items() if "job:late" not in question]
    if max(often, default=1) > 1 + deaths + errors:
        found.wrong.append(f"the model was asked the same {max(often)} times in {deaths} deaths")
    mailboxes = day.home.data_dir / "mailbox"
    if GONE in logs or (mailboxes / GONE).exists():
        found.wrong.append("the deleted session is there")
    kept = [one.name for one in (mailboxes / FOREIGN / "principal" / "bad").iterdir()]
    if sorted(kept) != ["list.json", "list.json.reason.json"]:
        found.wrong.append(f"the bad letter is not kept with its reason: {kept}")
    return found


def read_log(path: Path) -> tuple[dict[str, list[Recorded]], list[str]]:
    """The events of every stream, and what is wrong with the database itself."""
    logs: defaultdict[str, list[Recorded]] = defaultdict(list)
    wrong: list[str] = []
    with closing(sqlite3.connect(path)) as db:
        verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            wrong.append(f"integrity: {verdict}")
        rows = db.execute("SELECT session, seq, pos, at_ms, payload FROM events ORDER BY pos")
        for session, seq, pos, at_ms, payload in rows:
            event = EVENTS.validate_json(payload)
            logs[session].append(Recorded(SessionId(session), seq, pos, at_ms, event))
    for name, records in logs.items():
        if [one.seq for one in records] != list(range(1, len(records) + 1)):
            wrong.append(f"{name}: seq has a gap or is out of order")
    return logs, wrong


def of_users(logs: dict[str, list[Recorded]]) -> dict[str, list[Recorded]]:
    """The streams that a restart may not change."""
    return {name: logs[name] for name in (WORK, FOREIGN, LATE)}


def _audited(name: str, records: list[Recorded]) -> list[str]:
    audit = Audit(SessionId(name)).feed(records)
    return [f"{one.what} {one.which} at {one.seq}" for one in audit.violations()]


def _said_twice(lines: list[Json]) -> list[str]:
    """A turn belongs to the first run of a chain of resumed ones and is answered once."""
    first: dict[str, str] = {}
    turns = Counter[tuple[str, int]]()
    for line in lines:
        if line["type"] == "run_started":
            before: str = line.get("resumes") or line["run_id"]
            first[line["run_id"]] = first.get(before, before)
        elif line["type"] == "model_replied":
            turns[first[line["run_id"]], line["turn"]] += 1
    return [f"turn {one} was answered {count} times" for one, count in turns.items() if count > 1]


def _kept(day: Day, name: str, lines: list[Json]) -> list[str]:
    """Every acknowledged message stands in the log, once, and no other."""
    prefix = f"/sessions/{name}/messages#"
    promised = sorted(told for key, told in day.acknowledged.items() if key.startswith(prefix))
    accepted = sorted(
        line["message_id"]
        for line in lines
        if line["type"] == "letter_accepted" and line["letter"]["from"] == "user"
    )
    return [] if promised == accepted else [f"promised {promised}, accepted {accepted}"]


def _ended(logs: dict[str, list[Recorded]], *, errors: bool) -> list[str]:
    wrong: list[str] = []
    heard = [one for one in logs[FOREIGN] if one.event.type == "letter_received"]
    if len(heard) != 1:
        wrong.append(f"the foreign letter was accepted {len(heard)} times")
    ends = [one.event for one in logs[WORK] if isinstance(one.event, HostTurnFinished)]
    said = [(one.outcome, one.answer) for one in ends]
    if said != [("completed", "All is done.")] and not errors:
        wrong.append(f"the work ended as {said}")
    return wrong


def _effects(workspace: Path, records: list[Recorded], *, errors: bool) -> list[str]:
    """Effects and what the log says of them."""
    wrong: list[str] = []
    status = {
        one.event.name: one.event.status for one in records if isinstance(one.event, ToolFinished)
    }
    ran = workspace / "ran.txt"
    count = len(ran.read_text().splitlines()) if ran.exists() else 0
    if count > 1 or (count == 0 and status.get("bash") == "completed"):
        wrong.append(f"the command is {status.get('bash')} and ran {count} times")
    if status.get("bash") not in {"completed", "unknown"} and not errors:
        wrong.append(f"the command is {status.get('bash')}")
    notes = workspace / "notes.txt"
    text = notes.read_text() if notes.exists() else ""
    allowed = {"aa\n"} if status.get("edit") == "completed" else {"a\n", "aa\n"}
    if text not in (allowed | {"", "a\n"} if errors else allowed):
        wrong.append(f"the edit is {status.get('edit')} and the file holds {text!r}")
    return wrong
