"""The log's own files under power loss: what SQLite was seen to do to them, replayed and cut.

`python -m proof.powersql FOLDER COMMITS SYNCHRONOUS` is the process that is watched: the real event
log, appending, checkpointing, closing and opening again, which says in a file of its own what was
acknowledged. strace notes every call on the files of that folder, in order, with all bytes. Then,
for every prefix of these calls, disks are made that a crash could leave there: what was synced,
and of the rest any subset of the writes in any order, torn at sectors. Each is opened the way the
daemon opens its log.
"""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import brainpilot_rt
from brainpilot_rt.aiokit.sources import SystemClock
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.events import DaemonStopped
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.eventlog import schema
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.eventlog.sqlite import SqliteEventLog

SECTOR: Final = 512
CALLS: Final = "openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat"
FILES: Final = ("log.db", "log.db-wal", "log.db-journal")
MARKS: Final = "marks"
_CHECKPOINT_PAGES: Final = 40
_SESSIONS: Final = 3
_DELETED: Final = SessionId("gone")


# --- the process that is watched --------------------------------------------------------------


def main(folder: Path, commits: int, synchronous: str) -> None:
    """Live twice on one log and say what was acknowledged."""
    # NORMAL is the defect that the model must see.
    settings: Sequence[str] = schema.__dict__["_SETTINGS"]
    schema.__dict__["_SETTINGS"] = [one.replace("= FULL", f"= {synchronous}") for one in settings]
    marks = os.open(folder / MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for life in range(2):
        asyncio.run(_live(folder / FILES[0], marks, life, commits // 2))


async def _live(path: Path, marks: int, life: int, commits: int) -> None:
    log = await SqliteEventLog.open(path, clock=SystemClock(), checkpoint_pages=_CHECKPOINT_PAGES)

    async def append(session: SessionId, text: str, count: int, size: int) -> None:
        events = [DaemonStopped(reason=text + "x" * size)] * count
        receipt = Receipt(text, "f", 200, b"", 0) if count == 1 else None
        for row in await log.append(session, events, busy=bool(count % 2), receipt=receipt):
            os.write(marks, f"{session} {row.seq} {text}\n".encode())

    for number in range(commits):
        size = 20_000 if number % 9 == 8 else 30 * (number % 5)
        async with asyncio.TaskGroup() as group:
            for n in range(1 + number % _SESSIONS):
                text = f"{life}-{number}-{n}-"
                group.create_task(append(SessionId(f"s{n}"), text, 1 + number % 3, size))
        if number == commits // 2:
            await log.append(_DELETED, [DaemonStopped(reason="gone")])
            await log.delete_session(_DELETED)
            await log.prune_receipts(1)
    await log.close()


# --- what was seen ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One call on a file of the folder. `name` empty: the folder itself."""

    what: str
    name: str
    data: bytes = b""
    at: int = 0


def watch(folder: Path, commits: int, synchronous: str = "FULL") -> list[Call]:
    """Run the process under strace; FileNotFoundError where there is none."""
    tracer = shutil.which("strace")
    if tracer is None:
        raise FileNotFoundError("strace")
    trace = folder.parent / f"{folder.name}.trace"
    watched = [str(folder), *(str(folder / name) for name in (*FILES, MARKS))]
    program = [sys.executable, "-m", "proof.powersql", str(folder), str(commits), synchronous]
    root = Path(brainpilot_rt.__file__).parents[1]
    here = Path(__file__).parents[1]
    subprocess.run(
        [tracer, "-f", "--seccomp-bpf", "-y", "-xx", "-s", "200000", "-e", f"trace={CALLS}",
         "-o", str(trace), *(f"--trace-path={path}" for path in watched), *program],
        check=True,
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": f"{root}{os.pathsep}{here}"},
        capture_output=True,
    )  # fmt: skip
    with trace.open(encoding="ascii") as lines:
        return list(_calls(lines, str(folder)))


_LINE: Final = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)")
_WHOLE: Final = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_HEX: Final = re.compile(r'["<]((?:\\x[0-9a-f]{2})*)[">]')


def _calls(lines: Iterator[str] | Sequence[str], folder: str) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        found = _LINE.match(line.rstrip())
        if found is None:
            continue
        thread, resumed, rest = found.groups()
        if resumed:
            rest = begun.pop(thread) + rest
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        whole = _WHOLE.match(rest)
        if whole is not None and int(whole[3]) >= 0:
            call = _call(whole[1], whole[2], folder)
            if call is not None:
                yield call


def _call(what: str, arguments: str, folder: str) -> Call | None:
    strings = [bytes.fromhex(one.replace("\\x", "")) for one in _HEX.findall(arguments)]
    path = strings[1 if what in {"openat", "unlinkat"} else 0].decode()
    if path != folder and not path.startswith(folder + "/"):
        return None
    name = path[len(folder) + 1 :]
    at = int(arguments.rpartition(", ")[2]) if what in {"pwrite64", "ftruncate"} else 0
    match what:
        case "openat":
            return Call("create", name) if "O_CREAT" in arguments else None
        case "write" | "pwrite64":
            return Call("write", name, strings[1], at)
        case _:
            return Call(_MEANS[what], name, at=at)


_MEANS: Final = {
    "ftruncate": "truncate",
    "fsync": "sync",
    "fdatasync": "sync",
    "unlink": "unlink",
    "unlinkat": "unlink",
}


# --- what a crash leaves ----------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    safe: bytes = b""
    unsafe: list[Call] = field(default_factory=list[Call])


@dataclass(slots=True)
class Folder:
    """What is on the platter, and what is only on its way there."""

    names: dict[str, _File] = field(default_factory=dict[str, _File])
    """As a program sees them."""
    durable: dict[str, _File] = field(default_factory=dict[str, _File])
    """As of the last sync of the folder."""
    acknowledged: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])

    def play(self, call: Call) -> None:
        """The next call returned."""
        match call.what:
            case _ if call.name == MARKS:
                for line in call.data.decode().splitlines():
                    session, seq, text = line.split()
                    self.acknowledged[session, int(seq)] = text
            case "create" if call.name not in self.names:
                self.names[call.name] = _File()
            case "unlink":
                del self.names[call.name]
            case "sync" if not call.name:
                self.durable = dict(self.names)
            case "sync":
                file = self.names[call.name]
                file.safe, file.unsafe = applied(file.safe, file.unsafe), []
            case "write" | "truncate":
                self.names[call.name].unsafe.append(call)
            case _:
                pass

    def image(self, chance: random.Random, how: int) -> dict[str, bytes]:
        """What may be left: with `how` 0 nothing unsafe, 1 all of it, else what chance takes."""
        image: dict[str, bytes] = {}
        share = chance.choice((0.2, 0.5, 0.8))
        for name in sorted({*self.names, *self.durable}):
            kept, seen = self.durable.get(name), self.names.get(name)
            file = (kept, seen or kept)[how] if how < 2 else chance.choice((kept, seen))
            if file is None:
                continue
            calls = file.unsafe if how else []
            if how > 1:
                calls = [_torn(one, chance) for one in calls if chance.random() < share]
                if chance.random() < 0.3:
                    chance.shuffle(calls)
            image[name] = applied(file.safe, calls)
        return image


def applied(before: bytes, calls: Sequence[Call]) -> bytes:
    """The content after these writes and truncations."""
    data = bytearray(before)
    for call in calls:
        end = call.at + len(call.data)
        if call.what == "truncate":
            data = data[: call.at] + bytes(max(0, call.at - len(data)))
        else:
            data += bytes(max(0, call.at - len(data)))
            data[call.at : end] = call.data
    return bytes(data)


def _torn(call: Call, chance: random.Random) -> Call:
    """Sometimes only the first sectors of a write."""
    if call.what != "write" or chance.random() < 0.7:
        return call
    first = SECTOR - call.at % SECTOR
    cut = first + SECTOR * chance.randint(0, max(0, (len(call.data) - first) // SECTOR))
    return Call("write", call.name, call.data[:cut], call.at)


def judge(
    acknowledged: dict[tuple[str, int], str], image: dict[str, bytes], root: Path
) -> list[str]:
    """What is wrong with the log on this disk; `root` is empty, and again at the end."""
    for name, data in image.items():
        (root / name).write_bytes(data)
    try:
        with closing(sqlite3.connect(root / FILES[0], isolation_level=None)) as connection:
            schema.prepare(connection, new_epoch="afterwards")
            return _judge_rows(connection, acknowledged)
    except (Unavailable, sqlite3.Error) as refused:
        return [f"the log is refused: {refused}"]
    finally:
        for left in root.iterdir():
            left.unlink()


def _judge_rows(
    connection: sqlite3.Connection, acknowledged: dict[tuple[str, int], str]
) -> list[str]:
    [[verdict]] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        return [f"damaged: {verdict}"]
    stored = {
        (session, seq): payload.decode()
        for session, seq, payload in connection.execute("SELECT session, seq, payload FROM events")
    }
    found = [
        f"lost: event {seq} of {session} was acknowledged"
        for (session, seq), text in acknowledged.items()
        if text not in stored.get((session, seq), "")
    ]
    heads: dict[str, int] = {}
    for session, seq in sorted(stored):
        if seq != heads.get(session, 0) + 1:
            found.append(f"gap: event {seq} of {session} follows {heads.get(session, 0)}")
        heads[session] = seq
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
