"""Bugs we plant to see whether the suite finds them: each one line of the product made wrong.

The list is that of the reliability reference (section 7.1) and what this design adds. `old` must
stand exactly once in its file (`tests/house/test_mutants.py`), so that a mutant that no longer
applies is noticed when the code changes and not when it has long stopped proving anything.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proof.shown import ROOT

PATIENCE_S: Final = 300.0
"""A detector that does not end on a mutant has noticed it too."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One seeded bug, and the cheapest detectors that must find it."""

    name: str
    edits: tuple[Edit, ...]
    """One, or as many as there are places that guard against the same bug."""
    detectors: tuple[str, ...]
    """Names of stages, or `tests/...` for pytest; the first that fails has killed it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. `killed_by` None: it survived."""

    mutant: Mutant
    killed_by: str | None
    because: str = ""


def planted(mutant: Mutant, tree: Path) -> None:
    """Make `tree` a copy of the project with this bug in it."""
    skip = shutil.ignore_patterns("__pycache__", "node_modules", ".*")
    for name in ("brainpilot_rt", "tests", "proof", "bench", "mailbox"):
        shutil.copytree(ROOT / name, tree / name, ignore=skip)
    modules = ROOT / "tests/clients/node_modules"
    if modules.exists():
        (tree / "tests/clients/node_modules").symlink_to(modules)
    for name in ("docs", "examples", "scripts", "README.md"):
        (tree / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "pyproject.toml", tree)
    for edit in mutant.edits:
        target = tree / edit.path
        text = target.read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"{mutant.name}: its place in {edit.path} has changed"
        target.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def judge(mutant: Mutant, tree: Path, seed: int) -> Verdict:
    """Let its detectors look for it, cheapest first."""
    for detector in mutant.detectors:
        found = _found_by(detector, tree, seed)
        if found is not None:
            return Verdict(mutant, detector, found)
    return Verdict(mutant, None)


def _found_by(detector: str, tree: Path, seed: int) -> str | None:
    """The first words of what the detector found; None when it is content."""
    if detector.startswith("tests/"):
        arguments = ["-m", "pytest", "-q", "-x", "-p", "no:randomly", *detector.split()]
    else:
        arguments = ["-m", "proof", "--quick", "--seed", str(seed), detector]
    try:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=tree,
            env=_environment(tree),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {PATIENCE_S:.0f} s"
    if ended.returncode == 0:
        return None
    return _first_words(ended.stdout.splitlines() + ended.stderr.splitlines())


def _environment(tree: Path) -> dict[str, str]:
    keep = ("HOME", "LANG", "PATH")
    own = {name: os.environ[name] for name in keep if name in os.environ}  # noqa: TID251 - not a setting of ours
    tmp = tree / "tmp"
    tmp.mkdir(exist_ok=True)
    return {**own, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp)}


def _first_words(lines: Sequence[str]) -> str:
    telling = [line for line in lines if "BROKEN" in line or line.startswith(("E  ", "FAILED"))]
    return " ".join((telling or list(lines) or ["it said nothing"])[0].split())[:160]


MUTANTS: Final[Sequence[Mutant]] = (
    Mutant(
        "a foreign letter leaves its box before it is committed",
        (
            Edit(
                "brainpilot_rt/mailbox/reception.py",
                "            waits = await self._handlers.on_letter(address.session, ",
                (
                    "            early = partial(\n"
                    "                address.box.move,\n"
                    '                [found.letter_id], to="done", out_of=("new",)\n'
                    "            )\n"
                    "            await self._on_thread(early)\n"
                    "            waits = await self._handlers.on_letter(address.session, "
                ),
            ),
        ),
        ("tests/unit/mailbox/test_postoffice.py", "kills"),
    ),
    Mutant(
        "a letter read again is taken in again",
        (
            Edit(
                "brainpilot_rt/sessions/external.py",
                "    if known is not None or closed is not None:\n",
                "    if command.letter_id == '':\n",
            ),
            Edit(
                "brainpilot_rt/supervision/mailroom.py",
                "        if closed is not None and closed.to == agent:\n            return False\n"
                "        known = state.letters.get(found.letter_id)\n",
                "        known = None\n",
            ),
        ),
        ("kills", "tests/unit/sessions"),
    ),
    Mutant(
        "an answer is given before the commit",
        (
            Edit(
                "brainpilot_rt/eventlog/schema.py",
                (
                    '    connection.execute("BEGIN IMMEDIATE")\n    try:\n        yield\n'
                    '        failpoints.hit(before)\n        connection.execute("COMMIT")\n'
                ),
                (
                    "    if connection.in_transaction:\n"
                    '        connection.execute("COMMIT")\n'
                    '    connection.execute("BEGIN IMMEDIATE")\n    try:\n        yield\n'
                    "        failpoints.hit(before)\n"
                ),
            ),
        ),
        ("kills",),
    ),
    Mutant(
        "the answer to a request is stored outside the transaction of its events",
        (
            Edit(
                "brainpilot_rt/eventlog/store.py",
                '            failpoints.hit("log.commit.half")\n',
                (
                    '            connection.execute("COMMIT")\n'
                    '            connection.execute("BEGIN IMMEDIATE")\n'
                    '            failpoints.hit("log.commit.half")\n'
                ),
            ),
        ),
        ("points", "kills"),
    ),
    Mutant(
        "a letter is written where it is read",
        (
            Edit(
                "brainpilot_rt/mailbox/sender.py",
                (
                    "        write_new(tmp, name, data, sync=True)\n"
                    "        rename_noreplace(tmp, name, new, name)\n"
                ),
                "        write_new(new, name, data, sync=True)\n",
            ),
        ),
        ("power",),
    ),
    Mutant(
        "an event is shown before it is committed",
        (
            Edit(
                "brainpilot_rt/sessions/manager.py",
                "        slot.coming.extend(zip(batch, states, strict=True))\n",
                (
                    "        slot.coming.extend(zip(batch, states, strict=True))\n"
                    "        for event, state in zip(batch, states, strict=True):\n"
                    "            early = Recorded(session, state.seq, 0, moment.now_ms, event)\n"
                    "            self._hub.publish(early)\n"
                ),
            ),
        ),
        ("tests/flows/team", "tests/unit/sessions", "kills"),
    ),
    Mutant(
        "the content of a letter is not synced",
        (
            Edit(
                "brainpilot_rt/aiokit/files.py",
                '            if sync:\n                hit("files.fsync.before")\n',
                '            if sync and mode < 0:\n                hit("files.fsync.before")\n',
            ),
        ),
        ("power",),
    ),
    Mutant(
        "the name of a letter is not synced",
        (
            Edit(
                "brainpilot_rt/aiokit/files.py",
                "    os.fsync(where.fd)\n",
                "    os.fstat(where.fd)\n",
            ),
        ),
        ("power",),
    ),
    Mutant(
        "commits are synced by the calendar of SQLite (synchronous=NORMAL)",
        (
            Edit(
                "brainpilot_rt/eventlog/schema.py",
                '"PRAGMA synchronous = FULL"',
                '"PRAGMA synchronous = NORMAL"',
            ),
        ),
        ("power",),
    ),
    Mutant(
        "a failed fsync is tried again",
        (
            Edit(
                "brainpilot_rt/aiokit/files.py",
                "                os.fsync(fd)\n",
                (
                    "                try:\n"
                    "                    os.fsync(fd)\n"
                    "                except OSError:\n"
                    "                    os.fsync(fd)\n"
                ),
            ),
        ),
        ("tests/unit/aiokit/test_files.py", "syscalls"),
    ),
    Mutant(
        "a write that was cut short counts as done",
        (
            Edit(
                "brainpilot_rt/aiokit/files.py",
                "        rest = rest[os.write(fd, rest) :]\n",
                "        rest = rest[max(len(rest), os.write(fd, rest)) :]\n",
            ),
        ),
        ("tests/unit/aiokit/test_files.py", "syscalls"),
    ),
    Mutant(
        "an irreversible call cut by a crash is run again",
        (
            Edit(
                "brainpilot_rt/sessions/recovery.py",
                "        if call.started and call.effect is Effect.IRREVERSIBLE\n",
                "        if call.started and call.effect is None\n",
            ),
        ),
        ("tests/flows/team/test_recovery.py", "points", "kills"),
    ),
    Mutant(
        "tries of a run are not counted over deaths",
        (
            Edit(
                "brainpilot_rt/sessions/recovery.py",
                "            attempt=1 if _moved(state, run) else run.attempt + 1,\n",
                "            attempt=1,\n",
            ),
        ),
        ("tests/flows/team/test_recovery.py",),
    ),
    Mutant(
        "a run that has ended may still write",
        (
            Edit(
                "brainpilot_rt/sessions/fence.py",
                ") if state.exists and run_id not in state.runs:",
                ") if not state.exists and run_id not in state.runs:",
            ),
        ),
        ("tests/unit/sessions",),
    ),
    Mutant(
        "what calls under way hold is free for others",
        (
            Edit(
                "brainpilot_rt/governance/budgets.py",
                "return self.cap - self.spent - self.held",
                "return self.cap - self.spent",
            ),
        ),
        ("tests/unit/supervision/test_budgets.py",),
    ),
    Mutant(
        "a model is asked before its reservation is durable",
        (
            Edit(
                "brainpilot_rt/supervision/calls.py",
                "            await self._sink.record(selected, *reserved)",
                "            self._sink.hold(selected, *reserved)",
            ),
        ),
        ("tests/realtime/daemon/test_governed_kills.py",),
    ),
    Mutant(
        "calls of the crossing turn still run",
        (
            Edit(
                "brainpilot_rt/supervision/toolports.py",
                "        if self._spent():",
                "        if False:",
            ),
        ),
        ("tests/flows/team/test_governed_turns.py",),
    ),
    Mutant(
        "a yes to one call is a yes to the next",
        (
            Edit(
                "brainpilot_rt/governance/approvals.py",
                "return within and not grant.spent and grant.digest == asked.digest",
                "return within",
            ),
        ),
        ("tests/unit/governance/test_approvals.py",),
    ),
    Mutant(
        "a slow stream skips what it missed",
        (
            Edit(
                "brainpilot_rt/aiokit/broadcast.py",
                "            raise Lagged(position, self._base)\n        end = self._head",
                "            position = self._base\n        end = self._head",
            ),
        ),
        ("tests/unit/aiokit/test_broadcast.py", "tests/unit/server/test_stream.py"),
    ),
    Mutant(
        "the reaper is not told that something was accepted",
        (
            Edit(
                "brainpilot_rt/supervision/liveness.py",
                "        self.idle_epoch += 1\n",
                "        self.idle_epoch += 0\n",
            ),
        ),
        ("reaper", "tests/unit/supervision/test_liveness.py"),
    ),
    Mutant(
        "any host is ours",
        (
            Edit(
                "brainpilot_rt/server/security.py",
                '    if len(named) == 1 and named[0].decode("latin-1") in hosts:\n',
                "    if len(named) == 1:\n",
            ),
        ),
        ("tests/unit/server/test_security.py",),
    ),
)
