"""The same team on a real log and real mailbox directories, with other processes at the files."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL
from brainpilot_rt.eventlog.sqlite import SqliteEventLog
from brainpilot_rt.testing.models import Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, LoopClock, Setup, team
from tests.flows.team.moves import closed_tasks, ends, send

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(15)]

MAIL = Setup(mail=True)
BOXES = ("tmp", "new", "cur", "done", "bad")


def mailbox(root: Path, agent: str) -> Path:
    return root / "mail" / SESSION / agent


def files(root: Path, agent: str, box: str) -> list[str]:
    return sorted(one.stem for one in (mailbox(root, agent) / box).glob("*.json"))


async def soon(met: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    while not met():  # noqa: ASYNC110 - a thread moves the file; nothing else tells
        await asyncio.sleep(0.01)


def settle_in(root: Path, name: str) -> Path:
    """What an external agent does to join."""
    home = mailbox(root, name)
    for box in BOXES:
        (home / box).mkdir(parents=True, exist_ok=True)
    (home / "agent.json").write_text(json.dumps({"name": name, "kind": "external"}))
    return home


def drop_file(root: Path, to: str, name: str, **letter: object) -> None:
    """What a foreign process does to write."""
    box = mailbox(root, to)
    part = box / "tmp" / f"{name}.json"
    part.write_text(json.dumps({"to": to, **letter}))
    part.rename(box / "new" / f"{name}.json")


async def log_at(path: Path) -> SqliteEventLog:
    return await SqliteEventLog.open(path / "log.db", clock=LoopClock())


@pytest.fixture
def disarmed() -> Iterator[None]:
    """No failpoint outlives a test that arms one."""
    yield
    failpoints.reset()


@pytest.mark.requirement("mail-files")
async def test_letters_travel_through_the_boxes(tmp_path: Path):
    log = await log_at(tmp_path)
    model = ScriptedModel()
    model.say("principal", gate := Gate(), "Hello.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.create()
        letter_id = (await crew.post("Hi.")).letter_id
        await gate.reached.wait()
        await soon(lambda: files(tmp_path, "principal", "cur") == [letter_id])
        gate.open()
        await crew.settled()
        await soon(lambda: files(tmp_path, "principal", "done") == [letter_id])
        assert await crew.violations() == []
    await log.close()


@pytest.mark.requirement("external-agents")
async def test_an_external_agent_takes_part_by_moving_files(tmp_path: Path):
    log = await log_at(tmp_path)
    model = ScriptedModel()
    model.say("principal", send("robot", "count the files"))
    model.say("principal", "Waiting.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.create()
        home = settle_in(tmp_path, "robot")
        crew.watcher.changed()
        await crew.until(lambda state: "robot" in state.agents)
        await crew.post("Go.")
        await soon(lambda: files(tmp_path, "robot", "new"))
        await crew.until(lambda state: state.tasks and not state.runs)
        [name] = files(tmp_path, "robot", "new")
        task_id = json.loads((home / "new" / f"{name}.json").read_text())["task_id"]
        for old, new in (("new", "cur"), ("cur", "done")):
            (home / old / f"{name}.json").rename(home / new / f"{name}.json")
            crew.watcher.changed()
            await crew.office.scan()
        assert not crew.state().letters
        assert await ends(crew) == []
        model.say("principal", "There are three.")
        drop_file(tmp_path, "principal", "answer-1", content="three", task_id=task_id)
        crew.watcher.changed()
        await crew.until(lambda state: not state.busy)
        assert await closed_tasks(crew) == ["result"]
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []
        receipts = [one.event.type for one in await crew.events()]
        assert receipts.count("letter_claimed") == 1
        assert receipts.count("letter_consumed") == 1
    await log.close()


@pytest.mark.requirement("mail-files")
async def test_files_follow_the_log_after_a_crash(tmp_path: Path):
    """The log was cut while a run was at work; its mailbox was lost, and rubbish is in the box."""
    log = await log_at(tmp_path)
    model = ScriptedModel()
    model.say("principal", gate := Gate())
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.create()
        first = (await crew.post("One.")).letter_id
        await gate.reached.wait()
        second = (await crew.post("Two.")).letter_id
        await soon(lambda: files(tmp_path, "principal", "new") == [second])
        durable = [one.event for one in await crew.events()]
    await log.close()
    later = tmp_path / "later"
    later.mkdir()
    log = await log_at(later)
    await log.append(SESSION, durable, title="t", busy=True)
    for box in ("new", "cur"):
        for path in (mailbox(tmp_path, "principal") / box).glob("*.json"):
            path.unlink()
    model.say("principal", "Both.")
    model.say("principal", "Done.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.until(lambda state: not state.busy)
        await soon(
            lambda: files(tmp_path, "principal", "done") == sorted(filter(None, [first, second]))
        )
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []
    await log.close()


@pytest.mark.requirement("mail-foreign")
async def test_a_foreign_letter_written_while_the_daemon_was_down_is_read(tmp_path: Path):
    log = await log_at(tmp_path)
    model = ScriptedModel()
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.create()
        await soon((mailbox(tmp_path, "principal") / "agent.json").exists)
    drop_file(tmp_path, "principal", "morning", content="hello")
    model.say("principal", "Hello to you.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.until(lambda state: state.host_turn is None and state.seq > 3)
        [received] = [
            one.event for one in await crew.events() if isinstance(one.event, ev.LetterReceived)
        ]
        assert (received.letter.from_, received.letter.content) == ("external", "hello")
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []
    await log.close()


@pytest.mark.fault("A20")
@pytest.mark.requirement("mail-foreign")
async def test_a_file_under_the_id_of_another_agents_letter_goes_to_bad(tmp_path: Path):
    log = await log_at(tmp_path)
    model = ScriptedModel()
    model.say("engineer", "Ready.")
    model.say("engineer", gate := Gate(), "Hello.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.create()
        name = crew.organs.new_id()

        async def twin_is_refused(agent: str) -> None:
            drop_file(tmp_path, agent, name, content="hello")
            crew.watcher.changed()
            await soon(lambda: name in files(tmp_path, agent, "bad"))
            assert files(tmp_path, agent, "new") == []

        model.say("librarian", "Ready.")
        for agent in ("engineer", "librarian"):
            await crew.post("Be there.", agent=agent)
            await crew.settled()
            await soon((mailbox(tmp_path, agent) / "new").is_dir)
        drop_file(tmp_path, "engineer", name, content="hello")
        crew.watcher.changed()
        await gate.reached.wait()
        await twin_is_refused("principal")
        gate.open()
        await crew.until(lambda state: name in state.closed)
        await twin_is_refused("librarian")
        assert await crew.violations() == []
    await log.close()


@pytest.mark.requirement("mail-files")
async def test_evicting_and_deleting_right_after_a_message_leaves_the_mail_room_working(
    tmp_path: Path,
):
    log = await log_at(tmp_path)
    model = ScriptedModel()
    for _ in range(8):
        model.say("principal", "Hello.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        for _ in range(3):
            await crew.create()
            await crew.post("Hi.")
            await crew.backend.evict_session(SESSION)
            await crew.post("Hi again.")
            assert await crew.backend.delete_session(SESSION)
        await crew.create()
        letter_id = (await crew.post("Still there?")).letter_id
        await crew.settled()
        await soon(lambda: files(tmp_path, "principal", "done") == [letter_id])
        assert await crew.violations() == []
        assert crew.state().agents[PRINCIPAL].run_id is None
    await log.close()


@pytest.mark.fault("A17")
@pytest.mark.requirement("mail-files")
async def test_the_mailbox_of_an_idle_session_is_there_after_a_start_whatever_became_of_it(
    tmp_path: Path,
):
    log = await log_at(tmp_path)
    async with team(log, ScriptedModel().stream, tmp_path, MAIL) as crew:
        await crew.create()
        await soon(mailbox(tmp_path, "principal").is_dir)
    await asyncio.to_thread(shutil.rmtree, tmp_path / "mail" / SESSION)
    async with team(log, ScriptedModel().stream, tmp_path, MAIL):
        await soon((mailbox(tmp_path, "principal") / "new").is_dir)
    await log.close()


@pytest.mark.fault("A17")
@pytest.mark.requirement("mail-files")
@pytest.mark.usefixtures("disarmed")
async def test_a_letter_consumed_while_its_lost_mailbox_is_filled_again_has_one_file_in_done(
    tmp_path: Path,
):
    log = await log_at(tmp_path)
    model = ScriptedModel()
    model.say("principal", "Hello.")
    model.say("principal", gate := Gate(), "Hello again.")
    async with team(log, model.stream, tmp_path, MAIL) as crew:
        await crew.create()
        letter_ids = [(await crew.post("One.")).letter_id]
        await crew.settled()
        await soon(lambda: files(tmp_path, "principal", "done") == letter_ids)
        cur = mailbox(tmp_path, "principal") / "cur"
        await asyncio.to_thread(cur.rmdir)
        # The mail room writes the first file; a second hand would come when that has moved on.
        failpoints.configure("files.create.before=delay:500@2")
        letter_ids.append((await crew.post("Two.")).letter_id)
        await gate.reached.wait()
        await soon(lambda: files(tmp_path, "principal", "cur") == letter_ids[1:])
        gate.open()
        await crew.settled()
        await soon(lambda: files(tmp_path, "principal", "done") == letter_ids)
        await crew.office.close_session(SESSION)  # when the last look into it is over
        assert files(tmp_path, "principal", "cur") == []
        assert await crew.violations() == []
    await log.close()
