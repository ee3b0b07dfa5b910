"""Letters on disk: P1, P2, P3 and P5 of the targets.

A letter is about 1,000 bytes. The floor of a hop is what a foreign writer does: write, fsync,
rename, fsync the directory. Ours commits the letter to the log and then places its file, which
needs no fsync because the log can redo it. The floor of a wake-up is a blocking pipe between two
processes.

Run as a module, this file is the other process: it drops files, or it is a postoffice that can be
stopped while files are dropped.
"""

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import watchfiles

from bench.runner import Meter, Place, Row, Sample, Target
from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.domain.events import LetterAccepted
from brainpilot_rt.domain.ids import AgentName, LetterId, SessionId
from brainpilot_rt.domain.letters import AgentCard, Authority, Letter, LetterKind
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.mailbox.codec import encode
from brainpilot_rt.mailbox.handlers import FoundLetter, MailHandlers, PostPolicy
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.mailbox.watcher import FileWatcher, Hint

SESSION = SessionId("bench")
PRINCIPAL = AgentName("principal")
SENDERS = 64
PACE_S = 0.1
OVERFLOW = 20_000
RACERS = 300
RESCAN_S = 5.0
GIVE_UP_S = 60.0
STAMP = struct.Struct("d")

CLOCK = SystemClock()
NEW_ID = UlidSource(CLOCK)


def a_letter() -> Letter:
    """A result of about 1,000 bytes."""
    letter_id = LetterId(NEW_ID())
    return Letter(
        id=letter_id,
        session=SESSION,
        from_=AgentName("librarian"),
        to=PRINCIPAL,
        kind=LetterKind.RESULT_DELIVER,
        content="x" * 690,
        root_id=letter_id,
        created_at=CLOCK.now().isoformat(),
        authority=Authority(origin="agent"),
    )


def handlers(on_letter: Callable[[], None]) -> MailHandlers:
    """An owner that accepts everything."""

    async def letter(_: SessionId, __: AgentName, ___: FoundLetter) -> bool:
        on_letter()
        return True

    async def nothing(*_: object) -> None:
        pass

    return MailHandlers(
        on_letter=letter,
        on_refused=nothing,
        on_agent_dir=nothing,
        on_agent_gone=nothing,
        on_external_receipt=nothing,
        on_rebuilt=nothing,
        on_unknown_session=nothing,
    )


def an_office(root: Path, on_letter: Callable[[], None]) -> PostOffice:
    """The real postoffice with the principal's mailbox."""

    def crashed(name: str, cause: BaseException) -> None:
        raise SystemExit(f"{name}: {cause}")

    office = PostOffice(
        root,
        handlers(on_letter),
        watcher=FileWatcher(lambda _: None),
        sources=(CLOCK, NEW_ID),
        policy=PostPolicy(rescan_s=RESCAN_S),
        on_crash=crashed,
    )
    office.open_session(SESSION)
    office.open_agent(SESSION, AgentCard(name=PRINCIPAL, kind="managed"))
    return office


# --- P1, P2: a durable hop ------------------------------------------------------------------------


def raw_hop(place: Place) -> Sample:
    """Write, fsync, rename, fsync of the directory; one after the other."""
    data = encode(a_letter())
    for name in ("tmp", "new"):
        (place.folder / name).mkdir()
    tmp, new = (os.open(place.folder / name, os.O_RDONLY) for name in ("tmp", "new"))
    meter = Meter()
    with meter as sample:
        for number in range(place.ops(600, 100)):
            name = f"{number}.json"
            start = time.perf_counter()
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=tmp)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)
            os.rename(name, name, src_dir_fd=tmp, dst_dir_fd=new)
            os.fsync(new)
            sample.latencies.append(time.perf_counter() - start)
    os.close(tmp)
    os.close(new)
    return meter.sample


def hop(place: Place, *, senders: int = 1, logged: bool = True) -> Sample:
    """Commit a letter and place its file; so many senders, each awaiting its own letters."""
    each = place.ops(600 if senders == 1 else 6400, 100 if senders == 1 else 640) // senders

    async def main() -> Sample:
        log = await SqliteEventLog.open(place.folder / "log.db", clock=CLOCK)
        office = an_office(place.folder / "mail", lambda: None)
        await office.start()
        meter = Meter()

        async def sender() -> None:
            for _ in range(each):
                letter = a_letter()
                start = time.perf_counter()
                if logged:
                    await log.append(SESSION, [LetterAccepted(letter_id=letter.id, letter=letter)])
                await office.place(letter)
                meter.sample.latencies.append(time.perf_counter() - start)

        with meter:
            async with asyncio.TaskGroup() as group:
                for _ in range(senders):
                    group.create_task(sender())
        await office.stop()
        await log.close()
        return meter.sample

    return place.run(main())


# --- P3: waking up for a foreign file -------------------------------------------------------------


@contextmanager
def helper(*arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """This file as the other process."""
    command = [sys.executable, "-m", "bench.rows.mail", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - this file
        try:
            yield process
        finally:
            process.kill()


def pipe_wake(place: Place) -> Sample:
    """A blocking read of what another process wrote into a pipe."""
    meter = Meter()
    with helper("pipe", str(place.ops(60, 10))) as other, meter as sample:
        assert other.stdout is not None
        while stamp := other.stdout.read(STAMP.size):
            sample.latencies.append(time.perf_counter() - STAMP.unpack(stamp)[0])
    return meter.sample


def watcher_wake(place: Place) -> Sample:
    """Our watcher: from the start of the foreign rename to the name in our loop."""

    async def follow(root: Path, seen: Callable[[str], None]) -> None:
        def hint(paths: Hint) -> None:
            for path in paths or ():
                seen(path)

        await FileWatcher(lambda _: None).watch(root, hint)

    return file_wake(place, follow)


def default_wake(place: Place) -> Sample:
    """The watching library as it comes."""

    async def follow(root: Path, seen: Callable[[str], None]) -> None:
        async for changes in watchfiles.awatch(root):  # pyright: ignore[reportUnknownMemberType] - a part of its signature is untyped
            for _, path in changes:
                seen(path)

    return file_wake(place, follow)


def file_wake(
    place: Place, follow: Callable[[Path, Callable[[str], None]], Awaitable[None]]
) -> Sample:
    """How long each file of the other process takes until `follow` has seen it in `new/`."""
    ops = place.ops(60, 10)
    for name in ("tmp", "new"):
        (place.folder / name).mkdir()

    async def main() -> Sample:
        seen: dict[str, float] = {}
        all_seen = asyncio.Event()

        def note(path: str) -> None:
            if "/new/" in path:
                seen.setdefault(path.rpartition("/")[2], time.perf_counter())
                if len(seen) == ops:
                    all_seen.set()

        async def watch() -> None:
            await follow(place.folder, note)

        meter = Meter()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            await asyncio.sleep(1.0)
            with helper("drop", str(place.folder), str(ops)) as other, meter as sample:
                async with asyncio.timeout(GIVE_UP_S):
                    await all_seen.wait()
                assert other.stdout is not None
                for number in range(ops):
                    (stamp,) = STAMP.unpack(other.stdout.read(STAMP.size))
                    sample.latencies.append(seen[f"{number}.json"] - stamp)
            watching.cancel()
        figures = meter.sample.figures()
        meter.sample.extra["p99_to_p50"] = figures["p99_us"] / figures["p50_us"]
        return meter.sample

    return place.run(main())


# --- P5: nothing is lost --------------------------------------------------------------------------


def overflow(place: Place) -> Sample:
    """Drop more files than the kernel's queue holds while the postoffice is stopped."""
    count = place.ops(OVERFLOW, 2000)
    root = place.folder / "mail"
    home = root / SESSION / PRINCIPAL
    with helper("office", str(root), "0", str(count)) as office:
        first_line(office)
        office.send_signal(signal.SIGSTOP)
        for number in range(count):
            drop(home, f"n{number}.json", PRINCIPAL)
        office.send_signal(signal.SIGCONT)
        return found(office, count)


def race(place: Place) -> Sample:
    """Drop a letter into each of many mailboxes at the moment it appears."""
    count = place.ops(RACERS, 30)
    root = place.folder / "mail"
    with helper("office", str(root), str(count), str(count)) as office:
        first_line(office)
        for number in range(count):
            home = root / SESSION / f"a{number}"
            while not (home / "new").exists():
                pass
            drop(home, "first.json", home.name)
        return found(office, count)


def drop(home: Path, name: str, to: str) -> None:
    """Deliver as a script would, without fsync."""
    (home / "tmp" / name).write_text(json.dumps({"to": to, "content": "hello"}))
    (home / "tmp" / name).rename(home / "new" / name)


def first_line(process: subprocess.Popen[bytes]) -> str:
    """Wait for one line of the other process."""
    assert process.stdout is not None
    return process.stdout.readline().decode()


def found(office: subprocess.Popen[bytes], count: int) -> Sample:
    """What the other process found, and after how long."""
    meter = Meter()
    with meter as sample:
        seen = int(first_line(office))
        sample.latencies.append(0.0)
    sample.extra["lost"] = count - seen
    sample.extra["found_s"] = sample.seconds
    return sample


# --- the other process ----------------------------------------------------------------------------


def paced(count: int) -> Iterator[int]:
    """Numbers, one every `PACE_S` seconds."""
    for number in range(count):
        time.sleep(PACE_S)
        yield number


def write_pipe(count: int) -> None:
    """Write the time into the pipe."""
    for _ in paced(count):
        os.write(1, STAMP.pack(time.perf_counter()))


def drop_files(folder: Path, count: int) -> None:
    """Rename files into `new/`; say when each rename began."""
    for number in paced(count):
        part = folder / "tmp" / f"{number}.json"
        part.write_bytes(b"x" * 1000)
        start = time.perf_counter()
        part.rename(folder / "new" / part.name)
        os.write(1, STAMP.pack(start))


async def be_an_office(root: Path, agents: int, expected: int) -> None:
    """Serve mailboxes until so many letters were found, or no more can be expected."""
    seen = 0
    all_seen = asyncio.Event()

    def letter() -> None:
        nonlocal seen
        seen += 1
        if seen == expected:
            all_seen.set()

    office = an_office(root, letter)
    await office.start()
    await asyncio.sleep(0.2)
    print("ready", flush=True)
    for number in range(agents):
        office.open_agent(SESSION, AgentCard(name=f"a{number}", kind="managed"))
        await asyncio.sleep(0.002)
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * RESCAN_S):
            await all_seen.wait()
    print(seen, flush=True)
    await office.stop()


def main(what: str, *arguments: str) -> None:
    """What the bench asked the other process to do."""
    match what, *arguments:
        case "pipe", count:
            write_pipe(int(count))
        case "drop", folder, count:
            drop_files(Path(folder), int(count))
        case "office", root, agents, expected:
            asyncio.run(be_an_office(Path(root), int(agents), int(expected)))
        case _:
            raise SystemExit(f"unknown: {what}")


ROWS = (
    Row(
        "P1",
        "durable hop in the daemon, one sender: committed and placed",
        {"floor": raw_hop, "ours": hop, "file only": lambda place: hop(place, logged=False)},
        (Target("p50_us", "ours", 1.5, over="floor", stretch=1.2),),
    ),
    Row(
        "P2",
        "the same with 64 senders",
        {"floor": raw_hop, "ours": lambda place: hop(place, senders=SENDERS)},
        (Target("rate", "ours", 3.0, over="floor", at_least=True),),
    ),
    Row(
        "P3",
        "waking up for a foreign file, one every 100 ms",
        {"pipe": pipe_wake, "default watchfiles": default_wake, "ours": watcher_wake},
        (
            Target("p50_us", "ours", 75.0, over="pipe"),
            Target("p50_us", "ours", 1 / 30, over="default watchfiles"),
            Target("p99_to_p50", "ours", 2.5),
        ),
    ),
    Row(
        "P5",
        "letters lost when the watcher overflows, and in mailboxes made that moment",
        {"overflow": overflow, "race": race},
        (Target("lost", "overflow", 0), Target("lost", "race", 0)),
    ),
)

if __name__ == "__main__":
    main(*sys.argv[1:])
