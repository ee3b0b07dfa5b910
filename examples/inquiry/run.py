"""A whole inquiry: a plan, three specialists, a report whose every citation is looked up again.

    python examples/inquiry/run.py [--aimock] [FOLDER]

The corpus is Python's own standard library. A daemon of its own works in FOLDER (a new one unless
given): it is asked, killed in the middle with `kill -9`, started again, and finishes the report.
Then every citation is verified without it, the trace is drawn, the answer is explained, and what
the model reads is shown before and after a change of memory. Without `--aimock` the built-in
offline model works; with it, an OpenAI-compatible mock server (npm package @copilotkit/aimock)
plays the models (`fixtures.py`).
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # so that this runs as a module of the tests, too

from corpus import gather  # noqa: E402
from fixtures import fixtures  # noqa: E402
from verify import verdicts  # noqa: E402

QUESTION = (
    "First gather what the sources say about how a task is cancelled and when a cancellation is "
    "held back, then examine which of these statements stand in the lines they are taken from, and "
    "then write a short report with citations."
)
FOLLOW_UP = "What does shield do when the outer task is cancelled?"
FACT = "The reader of the report has never used asyncio: explain every term in one sentence."
SESSION = "inquiry"
PATIENCE_S = 120.0
AIMOCK = "@copilotkit/aimock"


class Daemon:
    """One life of the daemon, and the commands a user would type beside it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.env = env | {"BP_DATA_DIR": str(folder / "data"), "HOME": str(folder)}
        command = [sys.executable, "-m", "brainpilot_rt", "serve", "--port", "0", "--json"]
        errors = (folder / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=self.env
        )
        errors.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the daemon did not start; see {folder / 'daemon.log'}")
        ready = json.loads(line)
        self.url = str(ready["url"])
        self.token = Path(ready["token_file"]).read_text(encoding="utf-8").strip()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A request; the JSON of its answer."""
        data = None if body is None else json.dumps(body).encode()
        head = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        asked = urllib.request.Request(self.url + path, data, head, method=method)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def typed(self, *words: str) -> str:
        """Show a command and what it prints, as at a terminal."""
        print(f"\n$ brainpilot-rt {' '.join(words)}")
        command = [sys.executable, "-m", "brainpilot_rt", *words]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        print(done.stdout.rstrip())
        if done.returncode:
            raise SystemExit(f"it failed ({done.returncode}): {done.stderr}")
        return done.stdout

    def events(self) -> list[dict[str, Any]]:
        """The events of the session so far, as they stand in the log."""
        head = {"authorization": f"Bearer {self.token}"}
        asked = urllib.request.Request(f"{self.url}/sessions/{SESSION}/export", headers=head)
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return [json.loads(line) for line in answer]

    def saw(self, kind: str, **fields: str) -> list[dict[str, Any]]:
        """Events of a type whose fields have these values."""
        return [
            one
            for one in self.events()
            if one["type"] == kind and all(one.get(key) == value for key, value in fields.items())
        ]

    def kill(self) -> None:
        """`kill -9`: no goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop in order."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)


def until(what: str, true: Callable[[], object]) -> None:
    """Wait for something that will happen, without a guess how long it takes."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"{what} has not happened within {PATIENCE_S:.0f} s")
        time.sleep(0.05)


def asked(daemon: Daemon, question: str) -> str:
    """Post a question; the id of its host turn."""
    return str(daemon.call("POST", f"/sessions/{SESSION}/messages", {"content": question})["runId"])


def answered(daemon: Daemon, host_run: str) -> dict[str, Any]:
    """Wait for the answer of a host turn."""
    until("the answer", lambda: daemon.saw("host_turn_finished", host_run_id=host_run))
    return daemon.saw("host_turn_finished", host_run_id=host_run)[0]


def first_life(folder: Path, env: dict[str, str]) -> str:
    """Ask, and be killed while the second specialist is at work."""
    daemon = Daemon(folder, env)
    new = {"id": SESSION, "title": "An inquiry", "workspace": str(folder / "work")}
    daemon.call("POST", "/sessions", new)
    print(f"\nThe user asks: {QUESTION}")
    host_run = asked(daemon, QUESTION)
    until("work of the auditor", lambda: daemon.saw("run_started", agent="auditor"))
    plan = daemon.saw("plan_changed", op="proposed")[0]["plan"]
    daemon.kill()
    print(
        "\nThe plan:",
        *(f"  {at}. {one['text']}" for at, one in enumerate(plan["steps"], 1)),
        sep="\n",
    )
    print("\nKilled with kill -9 while the auditor was at work on the second step.")
    return host_run


def second_life(folder: Path, env: dict[str, str], host_run: str) -> bool:
    """Start again on what is left; finish, verify, draw, explain, remember. True: all held."""
    daemon = Daemon(folder, env)
    try:
        done = answered(daemon, host_run)
        report = folder / "report.md"
        report.write_text(f"# {QUESTION}\n\n{done['answer']}\n", encoding="utf-8")
        asked_again = len(daemon.saw("run_interrupted"))
        print(f"Started again: {asked_again} run(s) went on where the kill had cut them.\n")
        print(done["answer"])
        checked = verdicts(done["answer"], folder / "work")
        print(f"\n{sum(holds for _, holds in checked)} of {len(checked)} citations hold "
              "(verify.py, which knows nothing of the daemon)")  # fmt: skip
        agents = {one["agent"] for one in daemon.saw("run_started")} - {"principal"}
        print(f"specialists at work: {', '.join(sorted(agents))}")
        daemon.typed("why", "--session", SESSION)
        daemon.typed("trace", "--session", SESSION, "--svg", str(folder / "trace.svg"))
        changed = remembered(daemon)
        daemon.typed("doctor")
    finally:
        daemon.stop()
    return bool(checked) and all(holds for _, holds in checked) and len(agents) > 2 and changed  # noqa: PLR2004 - three of them


def remembered(daemon: Daemon) -> bool:
    """The same question before and after a change of memory; True when the model read it."""
    answered(daemon, asked(daemon, FOLLOW_UP))
    before = principal_turn(daemon)
    daemon.typed("memory", "add", "facts", FACT, "--block", "human", "--session", SESSION)
    answered(daemon, asked(daemon, FOLLOW_UP))
    after = principal_turn(daemon)
    daemon.typed("context", str(before), "--session", SESSION)
    shown = daemon.typed("context", str(after), "--diff", str(before), "--session", SESSION)
    return FACT in " ".join(re.sub(r"^ *\+", " ", shown, flags=re.MULTILINE).split())


def principal_turn(daemon: Daemon) -> int:
    """The number of the principal's latest turn."""
    turns = daemon.call("GET", f"/sessions/{SESSION}/turns?limit=50")["turns"]
    return max(int(one["n"]) for one in turns if one["agent"] == "principal")


def aimock_command() -> list[str]:
    """The mock server: that of the tests if it is installed, else the package by npx."""
    installed = HERE.parents[1] / "tests/clients/node_modules" / AIMOCK / "dist/cli.js"
    return ["node", str(installed)] if installed.exists() else ["npx", "--yes", AIMOCK]


@contextmanager
def model(folder: Path, *, aimock: bool) -> Generator[dict[str, str]]:
    """The environment that says who answers: the offline model, or a mock of OpenAI's interface."""
    env = {"PATH": os.defpath, "NO_COLOR": "1", "BP_OFFLINE": "1"}
    if not aimock:
        yield env
        return
    spoken = folder / "aimock.json"
    spoken.write_text(json.dumps(fixtures(folder / "work"), indent=1), encoding="utf-8")
    command = [*aimock_command(), "--port", "0", "--fixtures", str(spoken)]
    errors = (folder / "aimock.log").open("ab")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    errors.close()
    try:
        assert server.stdout is not None
        words = (word for line in server.stdout for word in line.split())
        url = next(word for word in words if word.startswith("http://"))
        yield env | {"BP_OFFLINE": "", "OPENAI_API_KEY": "mock", "OPENAI_BASE_URL": f"{url}/v1",
                     "OPENAI_MODEL": "mock", "BP_CLASSIFIER": "model"}  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def main(words: list[str] | None = None) -> int:
    """Run it; exit code 0 when every citation holds and the change of memory was read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where to work (a new folder)")
    parser.add_argument("--aimock", action="store_true", help="models played by aimock")
    chosen = parser.parse_args(words)
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="inquiry-"))).resolve()
    files = gather(folder / "work")
    print(f"{len(files)} files of Python's standard library in {folder / 'work'}")
    with model(folder, aimock=chosen.aimock) as env:
        held = second_life(folder, env, first_life(folder, env))
    print(f"\n{'All of it held.' if held else 'NOT ALL OF IT HELD.'}")
    print(f"Report, picture and log: {folder}")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
