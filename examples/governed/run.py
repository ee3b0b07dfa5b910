"""One run of an agent under a budget, with every decision shown: models, guardrail, approval, stop.

    python examples/governed/run.py [--json] [FOLDER]

Needs no key and no network: three invented models of different price, speed and care (`models.py`)
answer on this machine. The daemon is started as a user would, in FOLDER (a new one unless given).
An agent does three small jobs, from which the router learns; then it is asked for a report and may
spend 5 cents on it. Its stream is shown line by line; the approval it waits for is given from
another terminal. In the end the books are compared. `--json` prints the events as they came.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # so that this runs as a module of the tests, too

from models import COSTS, HARBOUR_LOG, LOG, MAIL, PROVIDERS, REPORT, TEXT, Harbour, harbour  # noqa: E402
from timeline import Event, Timeline, usd  # noqa: E402

AGENT = "harbour-clerk"
JOB = "Look into the workspace and tell me in a sentence what is there."
REQUEST = f"Read {LOG}, write a short report to {REPORT} and check each line of it."
CAP_USD = 0.05
DAILY_USD = 1.0
SEED = 2
"""Of the router's dice: the same choices every time."""
PATIENCE_S = 60.0


class Daemon:
    """`brainpilot-rt serve` in a folder, and the commands a user would type beside it."""

    def __init__(self, folder: Path, models: Harbour) -> None:
        data = folder / "data"
        (data / "bp_template").mkdir(parents=True, exist_ok=True)
        (data / "config.toml").write_text(f"[routing]\nseed = {SEED}\n", encoding="utf-8")
        profiles = [
            {
                "id": provider,
                "api": "openai-completions",
                "baseUrl": models.url,
                "models": [{"id": name, "cost": COSTS[name]} for name in offered],
            }
            for provider, offered in PROVIDERS.items()
        ]
        providers = {"profiles": profiles, "selectedProfileId": profiles[0]["id"]}
        file = data / "bp_template" / "providers.json"
        file.write_text(json.dumps(providers, indent=1), encoding="utf-8")
        self.env = {"PATH": os.defpath, "HOME": str(folder), "BP_DATA_DIR": str(data)}
        errors = (folder / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "brainpilot_rt", "serve", "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=self.env,
        )
        errors.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the daemon did not start; see {folder / 'daemon.log'}")
        ready = json.loads(line)
        self.url = str(ready["url"])
        self.token = Path(ready["token_file"]).read_text(encoding="utf-8").strip()

    def open(self, method: str, path: str, body: object = None, accept: str = "*/*") -> Any:
        """A request; its answer, unread."""
        data = None if body is None else json.dumps(body).encode()
        head = {"authorization": f"Bearer {self.token}", "accept": accept}
        asked = urllib.request.Request(self.url + path, data, head, method=method)
        return urllib.request.urlopen(asked, timeout=PATIENCE_S)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A request; the JSON of its answer."""
        with self.open(method, path, body, "application/json") as answer:
            return json.load(answer)

    def typed(self, *words: str) -> str:
        """What a command prints in another terminal, its talk included."""
        command = [sys.executable, "-m", "brainpilot_rt", *words]
        done = subprocess.run(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"brainpilot-rt {' '.join(words)} failed: {done.stderr}")
        return done.stdout + done.stderr

    def stop(self) -> None:
        """Stop in order."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)


def govern(daemon: Daemon) -> None:
    """An agent with a budget for the day, and what it may not do by itself."""
    daemon.call(
        "POST",
        "/v1/agent/bootstrap",
        {
            "agent_id": AGENT,
            "display_name": "Harbour clerk",
            "budget_daily_usd": DAILY_USD,
            "tools": ["ls", "read", "grep", "write"],
        },
    )
    pii = {"id": "pii", "actions": {"output": "redact"}}
    daemon.call("PUT", "/v1/guardrails/config", {"providers": [pii]})
    asks = {"tool_name": "write", "requires_approval": True}
    daemon.call("PUT", "/v1/mcp/governance/policy", asks)


def learn(daemon: Daemon) -> str:
    """Small jobs, one for each model, so that something is known of them; the last session."""
    session = ""
    for _ in COSTS:
        done = daemon.call("POST", f"/v1/agents/{AGENT}/run", {"message": JOB})
        session = str(done["sessionId"])
    data = b64encode(HARBOUR_LOG.encode()).decode()
    daemon.call("POST", f"/sessions/{session}/files", {"path": LOG, "contentBase64": data})
    return session


def governed_run(daemon: Daemon, session: str) -> Iterator[Event]:
    """The events of the run as they come."""
    body = {"message": REQUEST, "session_id": session, "budget_cap_usd": CAP_USD}
    with daemon.open("POST", f"/v1/agents/{AGENT}/run", body) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])


def approve(daemon: Daemon, call_id: str) -> list[tuple[str, str]]:
    """Another terminal: look what waits, say yes. Commands, and what they printed."""
    typed = [("approvals",), ("approvals", "approve", call_id, "--note", "go on")]
    return [(shlex.join(("brainpilot-rt", *words)), daemon.typed(*words)) for words in typed]


def checks(daemon: Daemon, models: Harbour, events: list[Event]) -> Iterator[tuple[str, bool]]:
    """Everything this run claims, and whether it is so."""
    end, session = events[-1], events[0]["sessionId"]
    chosen = _of(events, "br.model_selected")
    names = sorted({one["model"] for one in chosen})
    why = all(one["reason"] for one in chosen)
    yield (
        f"{len(names)} models were asked, each with its reason: {', '.join(names)}",
        (len(names) > 1 and why),
    )
    replaced = [one for one in chosen if "insteadOf" in one]
    yield "the model that failed was replaced, and that is said", len(replaced) == 1

    fired = [one["action"] for one in _of(events, "br.guardrail_intervention")]
    texts = " ".join(one["text"] for one in _of(events, "agent.message"))
    with daemon.open("GET", f"/sessions/{session}/export") as lines:
        replies = b"".join(line for line in lines if b'"model_replied"' in line).decode()
    yield (
        "a guardrail took the address out of what was said, and of the log",
        ("redact" in fired and MAIL not in texts + replies),
    )

    asked = _of(events, "session.status_idle")[0]["stop_reason"]["event_ids"]
    wrote = [one for one in _of(events, "agent.tool_result") if one["toolName"] == "write"]
    file = daemon.call("GET", f"/sessions/{session}/files/content?path={REPORT}")["content"]
    yield (
        "the approved call ran, once, and wrote what was shown",
        ([one["toolCallId"] for one in wrote] == asked and file == TEXT),
    )

    warned = _of(events, "br.budget_warning")
    yield (
        f"{len(warned)} warning came before the end, at {warned[0]['threshold']:.0%}",
        (events.index(warned[0]) < len(events) - 1),
    )
    over = f"ended as {end['reason']}, {usd(end['totalCostUsd'])} of {usd(CAP_USD)}"
    yield over, end["reason"] == "budget_exhausted" and end["totalCostUsd"] >= CAP_USD
    skipped = [one for one in _of(events, "agent.tool_result") if "budget" in one["result"]]
    yield (
        f"the {len(skipped)} calls of the crossing turn did not run",
        (len(skipped) > 1 and all(one["isError"] for one in skipped)),
    )
    yield from books(daemon, models, end)


def books(daemon: Daemon, models: Harbour, end: Event) -> Iterator[tuple[str, bool]]:
    """The ledger, the stream, the budgets and the models tell the same."""
    rows = daemon.call("GET", f"/v1/budget/ledger?agent={AGENT}&limit=1000")["rows"]
    charged = [one for one in rows if one["state"] == "charged"]
    yield (
        f"{len(charged)} calls are charged: as many as the models answered",
        (len(charged) == models.answered),
    )
    of_run = [one for one in charged if one["host_run_id"] == end["runId"]]
    yield (
        "the rows of the run add up to what the stream says",
        (total(of_run) == Decimal(str(end["totalCostUsd"]))),
    )
    today = daemon.call("GET", f"/v1/budget/agents/{AGENT}")["daily"]
    yield (
        "all rows add up to what the budget of the day says",
        (total(charged) == Decimal(str(today["spent_usd"])) and today["reserved_usd"] == 0),
    )


def total(rows: list[Event]) -> Decimal:
    """What rows of the ledger add up to."""
    return sum((Decimal(str(one["counted_usd"])) for one in rows), Decimal(0))


def _of(events: list[Event], kind: str) -> list[Event]:
    return [one for one in events if one["type"] == kind]


def main(words: list[str] | None = None) -> int:
    """Run it; exit code 0 when every claim holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where to work (a new folder)")
    parser.add_argument("--json", action="store_true", help="the events of the run, as they came")
    chosen = parser.parse_args(words)
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="governed-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shown = Timeline(quiet=chosen.json)
    with harbour() as models:
        daemon = Daemon(folder, models)
        try:
            govern(daemon)
            session = learn(daemon)
            shown.elsewhere("brainpilot-rt route", daemon.typed("route"))
            events: list[Event] = []
            shown.say(f"\n{AGENT} may spend {usd(CAP_USD)} on this, and {usd(DAILY_USD)} a day:")
            shown.say(f"  {REQUEST}\n", "bold")
            for event in governed_run(daemon, session):
                events.append(event)
                if chosen.json:
                    print(json.dumps(event), flush=True)
                shown.event(event)
                if event["type"] == "session.status_idle":
                    for call_id in event["stop_reason"].get("event_ids", []):
                        for command, printed in approve(daemon, call_id):
                            shown.elsewhere(command, printed)
            budget = ("budget", "--agent", AGENT)
            shown.elsewhere(shlex.join(("brainpilot-rt", *budget)), daemon.typed(*budget))
            shown.say("")
            held = True
            for claim, holds in checks(daemon, models, events):
                held = held and holds
                shown.claim(claim, holds=holds)
        finally:
            daemon.stop()
    shown.say(f"{'All of it held.' if held else 'NOT ALL OF IT HELD.'} Log: {folder / 'data'}")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
