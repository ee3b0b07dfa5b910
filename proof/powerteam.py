"""A team on a recorded disk, and the judgement of what its start-up makes of what a crash left."""

import asyncio
import json
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from brainpilot_rt.aiokit import files
from brainpilot_rt.aiokit.files import DirHandle
from brainpilot_rt.aiokit.sources import Clock, UlidSource
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.events import Event, Recorded
from brainpilot_rt.domain.ids import LetterId, SessionId
from brainpilot_rt.domain.letters import ForeignLetter
from brainpilot_rt.eventlog.memory import MemoryEventLog
from brainpilot_rt.eventlog.port import Receipt
from brainpilot_rt.mailbox import maildir
from brainpilot_rt.mailbox.codec import encode
from brainpilot_rt.mailbox.sender import send_letter
from brainpilot_rt.testing.models import Call, Reply, ScriptedModel
from brainpilot_rt.testing.team import SESSION, LoopClock, Setup, Team, team
from brainpilot_rt.testing.virtual_time import VirtualTimeLoop
from proof.powerloss import Disk, Image, Mark, Recorder, Step, lay_out, recording

MAIL: Final = Setup(mail=True)
BOXES: Final = ("tmp", "new", "cur", "done", "bad")
RUBBISH: Final = "rubbish"
QUIET_S: Final = 60.0
"""Virtual; longer than an unfinished file is waited for."""


@dataclass(frozen=True, slots=True)
class Committed:
    """So many appends are durable."""

    appends: int


@dataclass(frozen=True, slots=True)
class Sent:
    """`send_letter` returned: the letter with this content survives."""

    content: str


@dataclass(frozen=True, slots=True)
class Took:
    """The external agent has read this letter and may have acted on it."""

    letter_id: str


@dataclass(frozen=True, slots=True)
class Append:
    """What was given to the log."""

    session: SessionId
    events: Sequence[Event]
    more: dict[str, Any]


class NotedLog(MemoryEventLog):
    """A log in memory whose commits are steps of the recording."""

    def __init__(self, clock: Clock, recorder: Recorder) -> None:
        super().__init__(clock=clock)
        self.appends: list[Append] = []
        self._recorder = recorder
        self._durable = 0
        self.on_commit(self._noted)

    @override
    def append(
        self,
        session: SessionId,
        events: Sequence[Event],
        *,
        title: str | None = None,
        busy: bool | None = None,
        receipt: Receipt | None = None,
        at_ms: int | None = None,
    ) -> Awaitable[list[Recorded]]:
        more: dict[str, Any] = {"title": title, "busy": busy, "receipt": receipt, "at_ms": at_ms}
        self.appends.append(Append(session, events, more))
        return super().append(session, events, **more)

    def _noted(self, batch: Sequence[Recorded]) -> None:
        left = len(batch)
        while left > 0:
            left -= len(self.appends[self._durable].events)
            self._durable += 1
        self._recorder.mark(Committed(self._durable))


@dataclass(frozen=True, slots=True)
class Recording:
    """A scene that was played once: the steps, and the appends they speak of."""

    steps: Sequence[Step]
    appends: Sequence[Append]


@dataclass(slots=True)
class Moment:
    """What was promised by the time of a crash."""

    appends: int = 0
    sent: set[str] = field(default_factory=set[str])
    took: set[str] = field(default_factory=set[str])

    def pass_by(self, step: Step) -> None:
        """A step happened."""
        match step:
            case Mark(Committed(appends)):
                self.appends = appends
            case Mark(Sent(content)):
                self.sent.add(content)
            case Mark(Took(letter_id)):
                self.took.add(letter_id)
            case _:
                pass


def record(root: Path, *, blind: bool = False) -> Recording:
    """Play the scene on a real directory."""
    with recording(root, maildir, blind=blind) as recorder:
        appends = on_virtual_time(_play(root, recorder))
        return Recording(tuple(recorder.steps), appends)


def on_virtual_time(work: Any) -> Any:
    """Run a coroutine on a loop of its own whose clock jumps."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


async def _play(root: Path, recorder: Recorder) -> list[Append]:
    files.ensure_private_dir(root / "mail")
    log = NotedLog(LoopClock(), recorder)
    model = ScriptedModel(otherwise=Reply(("Well.",)))
    new_id = UlidSource(LoopClock())
    mail = root / "mail"
    async with team(log, model.stream, root, MAIL) as crew:

        async def write(to: str, content: str, **more: str) -> None:
            letter = ForeignLetter.model_validate({"to": to, "content": content, **more})
            await asyncio.to_thread(send_letter, mail, SESSION, letter, new_id=new_id)
            recorder.mark(Sent(content))
            crew.watcher.changed()
            await _received(crew, content)

        await crew.create()
        await _at_rest(crew)
        await write("principal", "foreign one")
        await _at_rest(crew)
        home = await asyncio.to_thread(_settle_in, mail / SESSION / "robot")
        crew.watcher.changed()
        await crew.until(lambda state: "robot" in state.agents)
        model.say("principal", Call("send_message", {"to": "robot", "content": "count"}))
        model.say("principal", Call("send_message", {"to": "librarian", "content": "look"}))
        await crew.post("user one")
        await _at_rest(crew)
        await _take(crew, home, recorder, ("new", "cur"))
        await write("principal", "robot says three")
        await _at_rest(crew)
        await _take(crew, home, recorder, ("cur", "done"))
        await asyncio.to_thread(_drop, mail / SESSION / "principal", "any-name.json", recorder)
        crew.watcher.changed()
        await _received(crew, "any name")
        await _at_rest(crew)
        with DirHandle.open(mail / SESSION / "principal" / "new") as new:
            files.write_new(new, RUBBISH + ".json", b"{", sync=True)
        crew.watcher.changed()
        await asyncio.sleep(QUIET_S)
        await crew.post("user two")
        await write("librarian", "foreign two")
        await _at_rest(crew)
    return log.appends


async def _at_rest(crew: Team) -> None:
    await crew.settled()
    # The files follow the log; nothing tells when they have.
    await asyncio.sleep(QUIET_S)


async def _received(crew: Team, content: str) -> None:
    while not any(  # noqa: ASYNC110 - on virtual time
        _content(one.event) == content for one in await crew.events()
    ):
        await asyncio.sleep(1.0)


def _content(event: Event) -> str | None:
    return event.letter.content if isinstance(event, ev.LetterReceived) else None


def _settle_in(home: Path) -> Path:
    """An external agent joins, and makes sure of it."""
    with DirHandle.open(home.parent) as session, session.child(home.name, create=True) as own:
        for box in BOXES:
            own.child(box, create=True).close()
        card = json.dumps({"name": home.name, "kind": "external"}).encode()
        files.replace_atomic(own, "agent.json", card)
        files.sync_dir(session)
    return home


async def _take(crew: Team, home: Path, recorder: Recorder, way: tuple[str, str]) -> None:
    """The external agent moves its letters on; with the first move it has read them."""
    with DirHandle.open(home / way[0]) as old, DirHandle.open(home / way[1]) as new:
        for name in files.list_names(old):
            files.read_safely(old, name, 1 << 20)
            recorder.mark(Took(name.removesuffix(".json")))
            files.rename_noreplace(old, name, new, name)
    crew.watcher.changed()
    await crew.office.scan()


def _drop(home: Path, name: str, recorder: Recorder) -> None:
    """A careful shell script delivers under a name of its own."""
    with DirHandle.open(home / "tmp") as tmp, DirHandle.open(home / "new") as new:
        data = json.dumps({"to": home.name, "content": "any name"}).encode()
        files.write_new(tmp, name, data, sync=True)
        files.rename_noreplace(tmp, name, new, name)
        files.sync_dir(new)
    recorder.mark(Sent("any name"))


def crashes(
    taken: Recording, chance: random.Random, draws: int
) -> Iterator[tuple[int, Moment, Image]]:
    """Every crash point, what was promised by then, and disks it may leave."""
    disk, moment = Disk(), Moment()
    for number, step in enumerate(taken.steps):
        disk.play(step)
        moment.pass_by(step)
        for image in disk.images(chance, draws):
            yield number, moment, image


def judge(taken: Recording, moment: Moment, image: Image, root: Path) -> list[str]:
    """What is wrong after the start-up on this disk; `root` is empty, and again at the end."""
    lay_out(image, root)
    try:
        return on_virtual_time(_start_up(taken, moment, root))
    except Exception as broken:  # noqa: BLE001 - whatever start-up raises is the finding
        return [f"start-up broke: {broken!r}"]
    finally:
        for left in root.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()


async def _start_up(taken: Recording, moment: Moment, root: Path) -> list[str]:
    log = MemoryEventLog(clock=LoopClock())
    for one in taken.appends[: moment.appends]:
        await log.append(one.session, one.events, **one.more)
    (root / "mail").mkdir(exist_ok=True)
    model = ScriptedModel(otherwise=Reply(("Well.",)))
    if not await log.head(SESSION):
        return []
    async with team(log, model.stream, root, MAIL) as crew:
        await crew.organs.manager.load(SESSION)
        await _at_rest(crew)
        found = [f"audit: {one}" for one in await crew.violations()]
        events = [one.event for one in await crew.events()]
        found += _judge_events(events, moment)
        found += _judge_external(crew, events, moment, root / "mail" / SESSION / "robot")
    return found


def _judge_events(events: Sequence[Event], moment: Moment) -> list[str]:
    done = {
        letter_id
        for one in events
        if isinstance(one, ev.RunFinished | ev.LetterConsumed)
        for letter_id in one.letter_ids
    }  # A torn file of a letter that was read already is put aside like any other rubbish.
    received = Counter(filter(None, map(_content, events)))
    found = [f"lost: {one!r}, which send had promised" for one in moment.sent - received.keys()]
    found += [f"twice: {one!r} became {n} letters" for one, n in received.items() if n > 1]
    known = {"foreign one", "robot says three", "any name", "foreign two"}
    found += [f"torn: read as a letter: {one!r}" for one in received.keys() - known]
    found += [
        f"refused: {one.file} of {one.agent}, which is no foreign file ({one.reason})"
        for one in events
        if isinstance(one, ev.LetterRefused)
        and not one.file.startswith(RUBBISH)
        and LetterId(one.file.removesuffix(".json")) not in done
    ]
    return found


def _judge_external(crew: Team, events: Sequence[Event], moment: Moment, home: Path) -> list[str]:
    """A letter to the external agent is whole in its boxes until the agent has taken it."""
    state = crew.state()
    letters = {
        one.letter.id: one.letter
        for one in events
        if isinstance(one, ev.LetterAccepted) and one.letter.to == "robot"
    }
    found: list[str] = []
    for letter_id, letter in letters.items():
        if letter_id in moment.took:
            continue
        there = [_read(home / box / f"{letter_id}.json") for box in ("new", "cur", "done")]
        whole = [data for data in there if data == encode(letter)]
        if letter_id in state.closed:
            found.append(f"lost: letter {letter_id} is closed, and its reader never saw it")
        elif not whole:
            found.append(f"lost: letter {letter_id} lies nowhere whole ({there})")
        elif any(data is not None and data != encode(letter) for data in there):
            found.append(f"torn: letter {letter_id} lies there torn ({there})")
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
