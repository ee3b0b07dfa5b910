"""An hour and more of bad weather for two daemons, and what they weigh over it.

*Steady* lives through all of it: a chaos provider, slow readers, pauses of the whole process, a
disk that is full now and then. Its memory, descriptors, threads and write-ahead log must be flat.
*Battered* is killed with -9 every few seconds as well and must keep every acknowledged letter.
"""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.testing.daemon import DaemonHome
from proof.soak import (
    SESSIONS,
    Subject,
    client,
    disk_filler,
    hangman,
    pauser,
    slow_reader,
    small_disk,
    watch,
)
from proof.stage import Number, Outcome, Stage, Task
from proof.vitals import Trend, Vitals, curve, trend
from proof.weather import weather
from tests.realtime.daemon.provider import Provider, provider

NIGHT_S: Final = 62 * 60
SHORT_S: Final = 20
DISK_MB: Final = 512
KILL_EVERY_S: Final = (5.0, 40.0)
ASKS_KEPT: Final = 200
GROWTH_MAX: Final = 0.10
"""Of memory, late over early: what is not flat."""
MORE_MAX: Final = 8
"""Descriptors or threads more, late than early."""
WAL_KB_MAX: Final = 65_536


def run(task: Task) -> Outcome:
    """Let it rain."""
    with small_disk(task.folder / "disk", DISK_MB) as disk:
        return asyncio.run(_soak(task, disk))


async def _soak(task: Task, disk: Path | None) -> Outcome:
    seconds = task.count(SHORT_S, NIGHT_S)
    seen = Counter[str]()
    dice = random.Random(task.seed)
    async with provider(weather(task.seed, seen)) as told:
        steady = _subject("steady", disk or task.folder, told)
        battered = _subject("battered", task.folder, told)
        await steady.start()
        await battered.start()
        try:
            await _rain(task, steady, battered, told, (dice, disk, seconds))
        finally:
            for subject in (steady, battered):
                await _end(subject)
    return _outcome(task, seconds, steady, battered, seen, has_disk=disk is not None)


def _subject(name: str, where: Path, told: Provider) -> Subject:
    root = where / name
    root.mkdir()
    env = {**told.env, "BP_SHELL": "unsandboxed", "BP_LOG_LEVEL": "error"}
    return Subject(name, DaemonHome(root, env=env))


async def _rain(
    task: Task,
    steady: Subject,
    battered: Subject,
    told: Provider,
    means: tuple[random.Random, Path | None, int],
) -> None:
    dice, disk, seconds = means
    quick = task.tier == "quick"

    def say(vitals: Vitals) -> None:
        del told.asks[:-ASKS_KEPT]
        if int(vitals.at_s) % 60 < 10 or quick:
            task.say(
                f"{vitals.rss_kb // 1024} MB, {vitals.fds} fds, {vitals.threads} threads, "
                f"WAL {vitals.wal_kb} KB; steady {dict(steady.books.counts)}; "
                f"battered {dict(battered.books.counts)}"
            )

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for subject in (steady, battered):
                for number in range(SESSIONS):
                    lot = random.Random(dice.random())
                    group.create_task(client(subject, number, lot), name=f"client {number}")
                for number in range(3):
                    lot = random.Random(dice.random())
                    group.create_task(slow_reader(subject, lot), name=f"slow reader {number}")
            group.create_task(pauser(steady, dice), name="pauser")
            group.create_task(watch(steady, 10 if not quick else 2, say), name="watch")
            group.create_task(watch(battered, 10, lambda _: None), name="watch battered")
            every = KILL_EVERY_S if not quick else (2.0, 5.0)
            group.create_task(hangman(battered, dice, every), name="hangman")
            if disk is not None:
                gap_s = 8.0 if quick else 150.0
                group.create_task(disk_filler(steady, disk, dice, gap_s), name="disk filler")


async def _end(subject: Subject) -> None:
    """Stop it in order, then let `doctor` look at what it left."""
    if subject.daemon is not None:
        code = await subject.daemon.stop()
        await subject.daemon.http.aclose()
        if code != 0:
            subject.books.broken.append(f"{subject.name}: it ended with {code} when asked to stop")
    found = await subject.home.command("doctor", "--json")
    checks: list[Any] = json.loads(found.out)["checks"] if found.out.startswith("{") else []
    for check in checks:
        if check["status"] == "failed":
            subject.books.broken.append(
                f"{subject.name}: doctor: {check['name']}: {check['detail']}"
            )
    if not checks:
        subject.books.broken.append(f"{subject.name}: doctor said nothing: {found.err[:300]}")


def _outcome(
    task: Task,
    seconds: int,
    steady: Subject,
    battered: Subject,
    seen: Counter[str],
    *,
    has_disk: bool,
) -> Outcome:
    failures = [*steady.books.broken[:20], *battered.books.broken[:20]]
    short: list[str] = []
    if not has_disk:
        short.append("no disk-full windows: mounting a small file system needs root")
    trends = {name: trend(points) for name, points in _curves(steady.vitals).items()}
    if task.tier == "nightly" and trends:
        failures += _not_flat(trends)
    counts = steady.books.counts + battered.books.counts
    beside = (
        f"{seconds / 60:.0f} min; {counts['kills']} kills, {counts['pauses']} pauses, "
        f"{counts['disk full windows']} disk-full windows, {counts['slow readers']} slow readers; "
        f"{counts['turns']} turns, {counts['letters checked']} acknowledged letters checked"
    )
    return Outcome(
        failures=failures,
        short=short,
        numbers=[
            Number("soak: acknowledged letters lost or doubled", "0", str(len(failures)), beside),
            *(Number(f"soak: {name}", "flat", str(one)) for name, one in trends.items()),
        ],
        figures={
            "seconds": seconds,
            "steady": dict(steady.books.counts),
            "battered": dict(battered.books.counts),
            "provider": dict(seen),
            "trends": {name: str(one) for name, one in trends.items()},
        },
        text=_text(steady, battered, seen),
    )


def _curves(vitals: Sequence[Vitals]) -> dict[str, list[tuple[float, float]]]:
    if not vitals:
        return {}
    return {
        "memory, KB": [(one.at_s, float(one.rss_kb)) for one in vitals],
        "file descriptors": [(one.at_s, float(one.fds)) for one in vitals],
        "threads": [(one.at_s, float(one.threads)) for one in vitals],
        "write-ahead log, KB": [(one.at_s, float(one.wal_kb)) for one in vitals],
        "log, KB": [(one.at_s, float(one.log_kb)) for one in vitals],
    }


def _not_flat(trends: dict[str, Trend]) -> list[str]:
    found = [
        f"{name} is not flat: {trends[name]}"
        for name in ("file descriptors", "threads")
        if trends[name].late - trends[name].early > MORE_MAX
    ]
    if trends["memory, KB"].growth > GROWTH_MAX:
        found.append(f"memory is not flat: {trends['memory, KB']}")
    if trends["write-ahead log, KB"].high > WAL_KB_MAX:
        found.append(f"the write-ahead log grew to {trends['write-ahead log, KB'].high:,.0f} KB")
    return found


def _text(steady: Subject, battered: Subject, seen: Counter[str]) -> str:
    lines = [
        f"- steady: {_said(steady.books.counts)}",
        f"- battered: {_said(battered.books.counts)}",
        f"- the provider: {_said(seen)}",
    ]
    curves = [
        f"{name:20} |{curve(points)}| {min(v for _, v in points):,.0f} to "
        f"{max(v for _, v in points):,.0f}"
        for name, points in _curves(steady.vitals).items()
    ]
    return "\n".join([*lines, "", "Steady over time:", "", "```", *curves, "```"])


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))


STAGE = Stage(
    "soak",
    "A long time in bad weather",
    run,
    faults=("E6", "D13", "I1", "F1", "G2", "G3", "G6", "G9"),
    aside=True,
    quick=False,
    order=5,
)
