"""Two who want the same thing at the same moment: the data directory, the mail, one file.

Daemons: two or three start at once on one data directory, over what a clean stop, a kill or a
stranger's process number has left there. Exactly one may own it; each other ends with the code 3
and names the owner; the owner answers and stops with 0. Editors: many at once put their own line
into one file through the `edit` tool while a third swaps the file for a link to a secret. An edit
that was said to be done must be in the file, one that was refused must not, and nothing may reach
what the link leads to.
"""

import contextlib
import fcntl
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from brainpilot_rt.aiokit.lock import PID_NAME
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.testing.daemon import DaemonHome
from brainpilot_rt.workspace.files import Workspace, digest
from proof.life import Life, NotStarted, Nursery
from proof.stage import Number, Outcome, Stage, Task

OWNED = 3
EDITORS = 3


@dataclass(slots=True)
class _Seen:
    """What the races gave."""

    failures: list[str] = field(default_factory=list[str])
    counts: Counter[str] = field(default_factory=Counter[str])


def run(task: Task) -> Outcome:
    """All races."""
    seen = _Seen()
    races = task.count(10, 200)
    with Nursery() as nursery:
        _daemons(task, nursery, races, seen)
    edits = task.count(400, 20_000)
    _editors(task, edits, seen)
    counts = seen.counts
    return Outcome(
        failures=seen.failures,
        numbers=[
            Number(
                "daemons that start at once on one data directory",
                "exactly one owner",
                f"{counts['one owner']} of {races} races",
                f"{counts['refused']} refused with code 3 and the owner's process; before each "
                "race a clean stop, a kill, or the number of another program in the pid file",
            ),
            Number(
                "edits of one file by several at once",
                "0 lost, 0 through a link",
                f"{counts['lost']} lost, {counts['escaped']} through a link",
                f"{counts['done']} done, {counts['refused edits']} refused; the file was swapped "
                f"for a link {counts['swaps']} times",
            ),
        ],
        figures=dict(counts),
    )


def _daemons(task: Task, nursery: Nursery, races: int, seen: _Seen) -> None:
    dice = random.Random(task.seed)
    root = task.folder / "d"
    root.mkdir()
    home = DaemonHome(root, env={"BP_OFFLINE": "1"})
    said = time.monotonic()
    for race in range(races):
        lives = [nursery.start(home) for _ in range(dice.choice((2, 2, 3)))]
        what = _race(lives, seen)
        if what:
            seen.failures.append(f"race {race}, seed {task.seed}: {what}")
        _leave_something(home, lives, dice)
        if time.monotonic() - said > 3:
            said = time.monotonic()
            task.say(f"race {race + 1} of {races}")


def _race(lives: list[Life], seen: _Seen) -> str | None:
    owners: list[Life] = []
    for life in lives:
        with contextlib.suppress(NotStarted):
            life.ready()
            owners.append(life)
    others = [life for life in lives if life not in owners]
    if len(owners) != 1:
        return f"{len(owners)} owners of {len(lives)}: {lives[0].said()[-500:]}"
    codes = [life.wait() for life in others]
    if codes != [OWNED] * len(others):
        return f"the others ended with {codes}"
    if others and lives[0].said().count(f"process {owners[0].pid}") < len(others):
        return f"the owner {owners[0].pid} was not named: {lives[0].said()[-500:]}"
    if not owners[0].alive():
        return "the owner did not live"
    seen.counts["one owner"] += 1
    seen.counts["refused"] += len(others)
    return None


def _leave_something(home: DaemonHome, lives: list[Life], dice: random.Random) -> None:
    """End the owner in one of several ways, and leave what the next race has to cope with."""
    clean = dice.random() < 0.5
    for life in [one for one in lives if one.code is None]:
        life.send(signal.SIGTERM if clean else signal.SIGKILL)
        life.wait()
    stale = dice.choice((None, os.getpid(), 1, 2**22 + 5))
    if stale is not None:
        (home.data_dir / PID_NAME).write_text(f"{stale}\n", encoding="ascii")
    lives[0].stderr.unlink(missing_ok=True)


def _editors(task: Task, edits: int, seen: _Seen) -> None:
    root = task.folder / "w"
    root.mkdir()
    secret = task.folder / "secret"
    secret.write_text("secret\n", encoding="ascii")
    workspace = Workspace(root)
    workspace.write("notes.txt", b"")
    over = threading.Event()
    done: list[list[str]] = [[] for _ in range(EDITORS)]
    threads = [
        threading.Thread(target=_edit, args=(workspace, name, edits // EDITORS, done[name], seen))
        for name in range(EDITORS)
    ]
    swapper = threading.Thread(target=_swap, args=(root, secret, over, seen))
    for thread in (*threads, swapper):
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(3)
            task.say(f"{sum(map(len, done))} edits done")
    over.set()
    swapper.join()
    text = workspace.read_text("notes.txt").splitlines()
    said = [line for lines in done for line in lines]
    seen.counts["done"] = len(said)
    seen.counts["lost"] = len(set(said) - set(text)) + len(text) - len(set(text))
    seen.counts["escaped"] = int(secret.read_text(encoding="ascii") != "secret\n")
    invented = set(text) - set(said)
    for count, what in (
        (seen.counts["lost"], "edits that were done are lost or doubled"),
        (len(invented), "edits that were refused are in the file"),
        (seen.counts["escaped"], "the file behind the link was changed"),
    ):
        if count:
            seen.failures.append(f"editors, seed {task.seed}: {count} {what}")


def _edit(workspace: Workspace, name: int, edits: int, done: list[str], seen: _Seen) -> None:
    """Add a line as the tool does: read, change, write if it is still what was read."""
    for number in range(edits):
        line = f"{name} {number}"
        try:
            data = workspace.read_bytes("notes.txt")
            if data == b"secret\n":
                seen.failures.append("a link out of the workspace was read")
            workspace.write("notes.txt", data + line.encode() + b"\n", expected=digest(data))
        except RuntimeFault:
            seen.counts["refused edits"] += 1
            time.sleep(0.001)
        else:
            done.append(line)


def _swap(root: Path, secret: Path, over: threading.Event, seen: _Seen) -> None:
    """Put a link to the secret in the place of the file and the file back, again and again."""
    link, here, aside = root / "link", root / "notes.txt", root / "aside.txt"
    while not over.wait(0.01):
        link.symlink_to(secret)
        here.rename(aside)
        with contextlib.suppress(FileExistsError):
            os.link(link, here, follow_symlinks=False)
        time.sleep(0)
        # Not while an editor is between its look and its rename: we would undo what it did.
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        if here.is_symlink():
            aside.replace(here)
        os.close(folder)
        link.unlink()
        seen.counts["swaps"] += 1


STAGE = Stage(
    "races",
    "Two at the same moment",
    run,
    faults=("F5", "F6", "H14", "H16"),
    order=40,
)
