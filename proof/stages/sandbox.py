"""Break out of the sandbox of the bash tool, and look at the sandbox that is not there.

The escape suite of `doctor --sandbox` runs inside of the live profile, and once without a sandbox
as its control: a probe that fails there as well shows little. Then bubblewrap is taken away, and
replaced by one that does not confine: nothing may be run as if it did.
"""

import asyncio
import ctypes
import os
import platform
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Final

from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.testing.daemon import DaemonHome, Ended
from brainpilot_rt.tools import sandbox
from brainpilot_rt.tools.probes import Probed, probe_all
from brainpilot_rt.tools.sandbox import Sandbox
from brainpilot_rt.tools.shell import ShellPolicy, shell_tool
from brainpilot_rt.workspace.files import Workspace
from proof.stage import Number, Outcome, Stage, Task

_PATIENCE_S: Final = 150
_AT_CWD: Final = -100
_EXCHANGE: Final = 2
_RACED: Final = "/workspace/inner/file"
_PRETENDS: Final = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'


def run(task: Task) -> Outcome:
    """The suite, its control, and a machine without a sandbox."""
    return asyncio.run(_run(task))


async def _run(task: Task) -> Outcome:
    outcome = Outcome()
    policy = _policy(await sandbox.probe(os.defpath))
    if not isinstance(policy.sandbox, Sandbox):
        outcome.short.append(f"no sandbox on this machine, nothing probed: {policy.sandbox.reason}")
        return outcome
    home = DaemonHome(task.folder / "doctor")
    (home.data_dir / "mailbox" / "s").mkdir(parents=True)
    for name in ("token", "log.db"):
        (home.data_dir / name).write_text("bait\n", encoding="ascii")
    task.say("doctor --sandbox")
    ended = await asyncio.to_thread(_doctor, home)
    if ended.code not in {0, 1}:
        outcome.failures.append(f"doctor --sandbox ended with {ended.code}: {ended.err}")
        return outcome
    inside = [Probed(**one) for one in ended.lines[0]["probes"]]
    task.say("the same without a sandbox")
    outside = await probe_all(policy, home.data_dir, inside=False)
    got_out = [one.what for one in inside if one.verdict == "escaped"]
    outcome.failures += [f"{what} was reached from inside the sandbox" for what in got_out]
    tried = [one for one in inside if one.verdict != "not tried"]
    if len(tried) < len(inside):
        outcome.short.append(f"{len(inside) - len(tried)} probes need python3 in the sandbox")
    works = [one.what for one in outside if one.verdict == "escaped"]
    void = [one.what for one in outside if one.verdict == "held"]
    outcome.failures += await _without(task)
    outcome.failures += await asyncio.to_thread(_raced, task, outcome)
    if bool(got_out) != bool(ended.code):
        outcome.failures.append(f"doctor --sandbox ended with {ended.code}: {ended.err}")
    version = await asyncio.to_thread(_version, policy.sandbox.bwrap)
    outcome.numbers.append(
        Number(
            "sandbox escapes",
            "0 of N probes",
            f"{len(got_out)} of {len(tried)} probes",
            f"kernel {platform.release()}, {version}, uid {os.getuid()}; {len(works)} of"
            f" {len(outside)} tried as a control get there without the sandbox; not on this"
            f" machine: {', '.join(void)}",
        )
    )
    outcome.short.append(
        "a command that moves a whole `.git` aside, or finds none, can make one with hooks of its"
        " own in the work tree; SECURITY.md says so"
    )
    outcome.figures = {"probes": len(tried), "escaped": got_out, "controls": len(works)}
    return outcome


def _raced(task: Task, outcome: Outcome) -> list[str]:
    """Read and write in a folder that is a link to another one half of the time."""
    rounds = task.count(2_000, 100_000)
    outside, tree = task.folder / "outside", Workspace(task.folder / "tree")
    outside.mkdir()
    (outside / "file").write_text("outside", encoding="ascii")
    tree.write(_RACED, b"inside")
    link = tree.root / "link"
    link.symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        exchange = ctypes.CDLL(None).renameat2
        names = [os.fsencode(one) for one in (tree.root / "inner", link)]
        while not over.wait(0.0002):
            exchange(_AT_CWD, names[0], _AT_CWD, names[1], _EXCHANGE)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: Counter[str] = Counter()
    try:
        for number in range(rounds):
            if number % 2_000 == 0:
                task.say(f"a folder that becomes a link: round {number} of {rounds}")
            try:
                seen[tree.read_text(_RACED)] += 1
                tree.write(_RACED, b"inside")
            except (RuntimeFault, OSError):
                seen["refused"] += 1
    finally:
        over.set()
        swapping.join()
    told = f"{seen['inside']} reads of the file inside, {seen['refused']} refused"
    outcome.numbers.append(
        Number("races with a swapped link", "100,000, 0 lost", str(rounds), told)
    )
    kept = {one.name: one.read_text(encoding="ascii") for one in outside.iterdir()}
    if seen["outside"] or kept != {"file": "outside"}:
        return [f"a file outside was reached by a swapped link: {dict(seen)}, {kept}"]
    return []


def _doctor(home: DaemonHome) -> Ended:
    """The command as a user has it, and as patient as a busy machine asks for."""
    done = subprocess.run(
        [sys.executable, "-m", "brainpilot_rt", "doctor", "--sandbox", "--json"],
        env=home.environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _version(bwrap: Path) -> str:
    said = subprocess.run([bwrap, "--version"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def _policy(found: sandbox.Sandbox | sandbox.NotEnforceable) -> ShellPolicy:
    return ShellPolicy(mode="sandbox", sandbox=found, marker_prefix="proof-")


async def _without(task: Task) -> list[str]:
    """Bubblewrap removed, and one that pretends."""
    task.say("without bubblewrap, and with one that pretends")
    programs = task.folder / "bin"
    programs.mkdir()
    (programs / "bash").symlink_to("/bin/bash")
    missing = await sandbox.probe(str(programs))
    (programs / "bwrap").write_text(_PRETENDS, encoding="ascii")
    (programs / "bwrap").chmod(0o755)
    pretending = await sandbox.probe(f"{programs}:{os.defpath}")
    wrong = [
        f"{what}: the bash tool is offered, sandboxed"
        for what, found in (("no bubblewrap", missing), ("a pretended one", pretending))
        if isinstance(found, Sandbox) or shell_tool(_policy(found)) is not None
    ]
    home = DaemonHome(task.folder / "home", {"BP_OFFLINE": "1", "PATH": str(programs)})
    home.root.mkdir()
    (programs / "bwrap").unlink()
    health: dict[str, str] = {}
    async with home.running() as daemon, asyncio.timeout(20):
        while "noShell" not in health:  # the sandbox is looked for while the daemon works already
            health = (await daemon.http.get("/health")).json()
            await asyncio.sleep(0.05)
    return wrong


STAGE = Stage(
    "sandbox",
    "Nothing leaves the sandbox",
    run,
    faults=("S8", "S11", "S19", "S20", "S21", "S22"),
    order=61,
)
