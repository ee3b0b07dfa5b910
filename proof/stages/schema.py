"""What the daemon's own OpenAPI document allows, and what it does not, asked of a running daemon.

Schemathesis makes the requests (valid and broken, one by one and in sequences that follow what was
created) and judges the answers; this stage runs it as a program against a daemon of its own, once
with the token and once with none. The event streams are asked elsewhere (stage `sse`): they do not
end, and the tool waits for ends. One of its checks is not asked for: that whatever fits the
document is accepted. Rules between fields (`session_id` is the one of the path, base64 is base64)
can not be said in the document, and those requests are refused on purpose.
"""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from proof.stage import Number, Outcome, Stage, Task

STREAMS = "events|/sse/"
NOT_ASKED = "positive_data_acceptance,ensure_resource_availability"
"""The second: a repeated Idempotency-Key answers with a session that was deleted meanwhile."""
EXCEPT = """\
[[operations]]
include-name = "GET /sessions/{id}/agents"
checks.use_after_free.enabled = false
"""
"""BrainPilot's interface wants an empty team, not 404, for a session that does not exist."""


def run(task: Task) -> Outcome:
    """Ask with the token and with none."""
    return asyncio.run(_run(task))


async def _run(task: Task) -> Outcome:
    outcome = Outcome()
    home = DaemonHome(task.folder, env={"BP_OFFLINE": "1"})
    (task.folder / "schemathesis.toml").write_text(EXCEPT, encoding="ascii")
    cases = Counter[str]()
    async with home.running() as daemon:
        for name, token in (("with the token", daemon.token), ("without", "")):
            task.say(name)
            cases[name] = await _ask(task, daemon, name, token, outcome)
        alive = await daemon.http.get("/readyz")
        if alive.status_code != 200:
            outcome.failures.append(f"afterwards the daemon is not ready: {alive.text}")
        found = [line for line in daemon.said().splitlines() if "Traceback" in line]
        if found:
            outcome.failures.append(f"the daemon logged {len(found)} tracebacks: {daemon.stderr}")
        code = await daemon.stop()
        if code != 0:
            outcome.failures.append(f"the daemon ended with {code}")
    checked = await home.command("doctor")
    outcome.figures = {"cases": dict(cases), "seed": task.seed, "doctor": checked.code}
    outcome.numbers.append(
        Number(
            "requests made from the OpenAPI document: broken rules",
            "0",
            str(len(outcome.failures)),
            f"{sum(cases.values()):,} requests, valid and broken, in sequences; seed {task.seed}",
        )
    )
    return outcome


async def _ask(task: Task, daemon: RunningDaemon, name: str, token: str, outcome: Outcome) -> int:
    """Run the tool; the number of requests it made."""
    report = task.folder / f"{'token' if token else 'none'}.ndjson"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.url}/openapi.json"),
        *(("--header", f"Authorization: Bearer {token}") if token else ()),
        *("--max-examples", str(task.count(3, 150)), "--seed", str(task.seed)),
        *("--phases", "coverage,fuzzing,stateful" if token else "fuzzing"),
        *("--exclude-checks", NOT_ASKED, "--exclude-path-regex", STREAMS),
        *("--suppress-health-check", "all", "--request-timeout", "10", "--no-color"),
        *("--continue-on-failure", "--report", "ndjson", "--report-ndjson-path", str(report)),
        cwd=task.folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(task.folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        while line := await process.stdout.readline():
            said.append(line.decode(errors="replace").rstrip())
            if len(said) % 50 == 0:
                task.say(f"{name}: {len(said)} lines of the tool")
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        outcome.failures.append(f"{name} (seed {task.seed}):\n" + "\n".join(_told(said)))
    return _requests(report)


def _told(said: list[str]) -> list[str]:
    """Its failures, without the progress before them."""
    start = next((n for n, line in enumerate(said) if "FAILURES" in line or "ERRORS" in line), 0)
    return said[start : start + 200]


def _requests(report: Path) -> int:
    """How many requests its report holds."""
    found = 0
    for line in report.read_text(encoding="utf-8").splitlines() if report.exists() else ():
        event: dict[str, Any] = json.loads(line)
        found += _interactions(event)
    return found


def _interactions(value: Any) -> int:
    if isinstance(value, list):
        return sum(_interactions(one) for one in cast("list[Any]", value))
    if not isinstance(value, dict):
        return 0
    inner = cast("dict[str, Any]", value)
    own = int("request" in inner and "response" in inner)
    return own + sum(_interactions(one) for one in inner.values())


STAGE = Stage(
    name="schema",
    title="What the OpenAPI document says, and a running daemon does",
    run=run,
    faults=("I6", "S6"),
)
