"""What other hands do to the mailbox directories of a living daemon."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.testing.daemon import DaemonHome, NotStarted, RunningDaemon
from tests.realtime.daemon.provider import Ask, Reply, provider
from tests.realtime.daemon.world import (
    Json,
    boxes,
    finished,
    get,
    log_lines,
    logged,
    of_type,
    say,
    session,
    true,
    violations,
)

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(90)]

OFFLINE = {"BP_OFFLINE": "1"}
QUICK_SWEEP = "[mail]\nrescan_s = 0.5\n"
START_TAG = b'{"to":"principal","content":"'
GOOD: Final = b'{"to":"principal","content":"good"}'
NEW_ID = UlidSource(SystemClock())
FAR_FUTURE = "7zzzzzzzzz" + "0" * 16
"""A ULID of the year 10889."""

REFUSED: Final = {
    "c01-empty": (b"", "empty"),
    "c02-cut": (GOOD[:-4], "not_json"),
    "c03-two": (GOOD + GOOD, "trailing_garbage"),
    "c04-list": (b"[1]", "not_an_object"),
    "c04-null": (b"null", "not_an_object"),
    "c05-deep": (b"[" * 100_000, "too_deep"),
    "c06-digits": (b'{"n":' + b"9" * 5_000 + b"}", "bad_number"),
    "c06-range": (b'{"n":%d}' % 2**63, "bad_number"),
    "c07-nan": (b'{"n":NaN}', "bad_number"),
    "c07-inf": (b'{"n":1e400}', "bad_number"),
    "c08-twice": (b'{"to":"a","to":"principal"}', "duplicate_key"),
    "c09-surrogate": (START_TAG + b'\\ud800"}', "bad_text"),
    "c10-nul": (START_TAG + b'\\u0000"}', "bad_text"),
    "c11-latin": (START_TAG + b'\xe9"}', "not_utf8"),
    "c11-utf16": (GOOD.decode().encode("utf-16"), "byte_order_mark"),
    "c11-bom": (b"\xef\xbb\xbf" + GOOD, "byte_order_mark"),
    "c12-long": (START_TAG + b"a" * 10_000_000 + b'"}', "too_large"),
    "c19-newer": (b'{"v":9,"to":"principal","content":""}', "newer_version"),
    "c20-other": (b'{"to":"librarian","content":""}', "misrouted"),
    "c20-session": (b'{"to":"principal","content":"","session":"s2"}', "wrong_session"),
    "Upper": (GOOD, "illegal_name"),
    "-dash": (GOOD, "illegal_name"),
    "a b": (GOOD, "illegal_name"),
    "new\nline": (GOOD, "illegal_name"),
}
TAKEN: Final = {
    "c19-unknown-fields": b'{"to":"principal","content":"fields","colour":"blue"}',
    "c20-forged": b'{"to":"principal","content":"forged","from":"user",'
    b'"authority":{"origin":"user"},"hop":-5,"path":["x"],"root_id":"y"}',
    "c22-escapes": '{"to":"principal","content":"\\u001b[2J\u202e\u200b"}'.encode(),
    FAR_FUTURE: b'{"to":"principal","content":"from the year 10889"}',
}
ALONE: Final = (".hidden.json", ".x.swp", ".DS_Store", "x.json~", "x.txt", "x")


def drop(box: Path, name: str, data: bytes) -> None:
    """A letter as the protocol wants it."""
    (box / "tmp" / name).write_bytes(data)
    (box / "tmp" / name).rename(box / "new" / name)


async def box_of(daemon: RunningDaemon, name: str, agent: str = "principal") -> Path:
    """An agent's mailbox, once it is there."""
    box = daemon.mailboxes / name / agent
    await true(box.joinpath("new").is_dir)
    return box


async def at_rest(daemon: RunningDaemon, name: str, lines: list[Json]) -> None:
    """Wait until the files of the principal have followed its runs: they do so after the log."""
    runs = [one for one in of_type(lines, "run_finished") if one["agent"] == "principal"]
    consumed = {f"{letter}.json" for one in runs for letter in one["letter_ids"]}
    await true(lambda: consumed <= {*boxes(daemon.mailboxes, name, "principal")["done"]})


def reasons(box: Path) -> dict[str, str]:
    """Why each file in `bad/` is there."""
    return {
        one.name.removesuffix(".reason.json"): str(json.loads(one.read_bytes())["reason"])
        for one in (box / "bad").glob("*.reason.json")
    }


@pytest.mark.fault(
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12",
    "C13", "C15", "C16", "C17", "C18", "C19", "C20", "C21", "C22", "C23", "S12",
)  # fmt: skip
async def test_every_hostile_file_ends_as_the_protocol_says_and_the_good_letters_arrive(
    tmp_path: Path,
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    home.configure(QUICK_SWEEP)
    async with home.running() as daemon:
        name = await session(daemon)
        box = await box_of(daemon, name)
        for number, (stem, (data, _)) in enumerate(REFUSED.items()):
            drop(box, f"{stem}.json", data)
            drop(box, f"good-{number}.json", GOOD.replace(b"good", b"good %d" % number))
        for stem, data in TAKEN.items():
            drop(box, f"{stem}.json", data)
        for one in ALONE:
            drop(box, one, GOOD)
        special(box / "new", home.data_dir / "token")
        drop(box, "last.json", GOOD)
        wanted = len(REFUSED) + len(TAKEN) + 1
        await logged(daemon, name, lambda one: one["type"] == "letter_received", wanted)
        await true(lambda: len(reasons(box)) >= len(REFUSED) + len(SPECIAL))
        lines = await finished(daemon, name)
        assert (await daemon.http.get("/health")).status_code == 200
    found = reasons(box)
    spelled = {f"{stem}.json": reason for stem, (_, reason) in REFUSED.items()}
    for file, reason in [*spelled.items(), *SPECIAL.items()]:
        if file in found:
            assert found.pop(file) == reason, file
    # Names that are no harmless file names are kept under one of ours.
    assert sorted(found.values()) == ["illegal_name", "illegal_name"], found
    assert {one.name for one in (box / "new").iterdir() if not one.name.endswith(".json")} >= {
        one for one in ALONE if not one.endswith(".json")
    }
    letters = [one["letter"] for one in of_type(lines, "letter_received")]
    assert {one["from"] for one in letters} == {"external"}
    assert {one["authority"]["origin"] for one in letters} == {"external"}
    assert {one.get("hop", 0) for one in letters} == {0}
    assert all(one["root_id"] == one["id"] for one in letters)
    assert daemon.token not in json.dumps(lines)
    assert violations(lines) == []


SPECIAL: Final = {
    "c13-sparse.json": "too_large",
    "c15-link.json": "symlink",
    "c15-self.json": "symlink",
    "c16-hard.json": "hard_link",
    "c17-pipe.json": "not_a_file",
    "c17-socket.json": "not_a_file",
    "c17-folder.json": "not_a_file",
}


def special(new: Path, secret: Path) -> None:
    """What is no ordinary file, or too much of one."""
    with (new / "c13-sparse.json").open("wb") as sparse:
        sparse.truncate(4 * 2**30)
    (new / "c15-link.json").symlink_to(secret)
    (new / "c15-self.json").symlink_to(new / "c15-self.json")
    (new / "c16-hard.json").hardlink_to(secret)
    os.mkfifo(new / "c17-pipe.json")
    (new / "c17-folder.json").mkdir()
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as plug:
        os.chdir(new)  # a path to a socket must be short
        try:
            plug.bind("c17-socket.json")
        finally:
            os.chdir(here)


@pytest.mark.fault("A17")
@pytest.mark.parametrize(
    ("lost", "how"),
    [
        (".", "deleted"),
        ("new", "deleted"),
        (".", "a link"),
        ("tmp", "a link"),
        ("done", "a link"),
        ("new", "a file"),
        ("cur", "a file"),
    ],
)
async def test_a_team_works_on_without_its_boxes_and_the_mail_is_back_when_they_are(
    tmp_path: Path, lost: str, how: str
) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    home.configure(QUICK_SWEEP)
    elsewhere = tmp_path / "elsewhere"
    async with home.running() as daemon:
        name = await session(daemon)
        place = (await box_of(daemon, name)) / lost
        place = place.resolve()
        await say(daemon, name, "Hello.")
        await at_rest(daemon, name, await finished(daemon, name))
        await asyncio.to_thread(place.rename, elsewhere)
        if how == "a link":
            place.symlink_to(elsewhere)
        elif how == "a file":
            place.write_text("in the way")
        before = sorted(str(one.relative_to(elsewhere)) for one in elsewhere.rglob("*"))
        for turns in (2, 3):
            await say(daemon, name, "Hello again.")
            lines = await finished(daemon, name, turns)
        assert (await get(daemon, "/health"))["status"] == "ok"
        if how != "deleted":
            now = sorted(str(one.relative_to(elsewhere)) for one in elsewhere.rglob("*"))
            assert now == before
            place.unlink()
        box = await box_of(daemon, name)
        await true(box.joinpath("tmp").is_dir)
        drop(box, "back.json", GOOD)
        await say(daemon, name, "And again.")
        lines = await finished(daemon, name, 4)
        await logged(daemon, name, lambda one: one["type"] == "letter_received")
        await true(lambda: not boxes(daemon.mailboxes, name, "principal")["cur"])
        assert (await daemon.stop()) == 0
    assert violations(lines) == []
    assert "Traceback" not in daemon.said()


@pytest.mark.fault("A17", "B14")
async def test_the_whole_mailbox_root_may_go_while_a_daemon_runs(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    home.configure(QUICK_SWEEP)
    async with home.running() as daemon:
        name = await session(daemon)
        await box_of(daemon, name)
        await asyncio.to_thread(daemon.mailboxes.rename, tmp_path / "gone")
        await say(daemon, name, "Hello.")
        await finished(daemon, name)
        box = await box_of(daemon, name)
        drop(box, "back.json", GOOD)
        await logged(daemon, name, lambda one: one["type"] == "letter_received")
        await finished(daemon, name, 2)
        assert (await daemon.stop()) == 0


@pytest.mark.fault("F5")
async def test_daemons_with_data_of_their_own_may_not_share_mailboxes(tmp_path: Path) -> None:
    mail = {"BP_MAILBOX_DIR": str(tmp_path / "mail")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = DaemonHome(tmp_path / "one", env={**OFFLINE, **mail})
    second = DaemonHome(tmp_path / "two", env={**OFFLINE, **mail})
    async with first.running() as daemon:
        refused = await second.command("serve", "--port", "0", "--json")
        assert refused.code == 3
        assert str(daemon.process.pid) in refused.err
        assert "mail" in refused.err
        await daemon.kill()
    async with second.running() as daemon:
        assert (await daemon.http.get("/health")).status_code == 200


# --- file systems that say no -------------------------------------------------------------------


@contextmanager
def mounted(place: Path, options: str) -> Generator[None]:
    """A small file system of its own; skips where one can not be had."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=700", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)


@pytest.mark.fault("A10", "A11")
@pytest.mark.parametrize("options", ["nr_inodes=40", "size=64k"], ids=["inodes", "bytes"])
async def test_a_full_mailbox_file_system_costs_no_letter_and_its_files_come_later(
    tmp_path: Path, options: str
) -> None:
    mail = tmp_path / "mail"
    home = DaemonHome(tmp_path, env={**OFFLINE, "BP_MAILBOX_DIR": str(mail)})
    home.configure(QUICK_SWEEP)
    with mounted(mail, options):
        async with home.running() as daemon:
            name = await session(daemon)
            box = await box_of(daemon, name)
            drop(box, "bad.json", b"[]")
            await true(lambda: bool(reasons(box)))
            filled = fill(mail / "filler")
            for turns in (1, 2, 3):
                await say(daemon, name, "Hello.")
                lines = await finished(daemon, name, turns)
            assert (await daemon.http.get("/health")).status_code == 200
            await asyncio.to_thread(shutil.rmtree, filled)
            await say(daemon, name, "Is there room?")
            lines = await finished(daemon, name, 4)
            accepted = [one["letter_id"] for one in of_type(lines, "letter_accepted")]
            await true(lambda: f"{accepted[-1]}.json" in boxes(mail, name, "principal")["done"])
            assert violations(lines) == []
            assert (await daemon.stop()) == 0
    assert "Traceback" not in daemon.said()


def fill(place: Path) -> Path:
    """Take all the room there is."""
    place.mkdir()
    try:
        for number in range(10_000):
            (place / f"{number}").write_bytes(b"x" * 4096)
    except OSError:
        pass
    return place


@pytest.mark.fault("A18")
async def test_boxes_on_different_file_systems_hold_up_files_but_no_letter(tmp_path: Path) -> None:
    home = DaemonHome(tmp_path, env=OFFLINE)
    home.configure(QUICK_SWEEP)
    async with home.running() as daemon:
        name = await session(daemon)
        box = await box_of(daemon, name)
        with mounted(box / "done", "size=1m"):
            for turns in (1, 2):
                await say(daemon, name, "Hello.")
                lines = await finished(daemon, name, turns)
            assert (await daemon.http.get("/health")).status_code == 200
            checked = await home.command("mailbox", "check", str(box))
            assert checked.code != 0
            assert "file system" in checked.out + checked.err
        await say(daemon, name, "Hello.")
        lines = await finished(daemon, name, 3)
        assert violations(lines) == []
        assert (await daemon.stop()) == 0
    assert "Traceback" not in daemon.said()


# --- deaths and old copies ----------------------------------------------------------------------


@pytest.mark.fault("B11")
async def test_a_letter_that_kills_the_daemon_each_time_is_given_up_and_other_mail_flows(
    tmp_path: Path,
) -> None:
    """Attempts are counted before they are made, so that the last one is known to be the last."""
    home = DaemonHome(tmp_path, env=OFFLINE)
    deadly = "turn.model_called.before=kill"
    daemon = await home.start(FAILPOINTS=deadly)
    name = await session(daemon)
    other = await session(daemon)
    await say(daemon, name, "poison")
    await daemon.ended()
    await daemon.http.aclose()
    lives = 1
    while True:
        try:
            daemon = await home.start(FAILPOINTS=deadly)
        except NotStarted:
            lives += 1
            continue
        try:
            await asyncio.wait_for(daemon.process.wait(), 3)  # noqa: TID251 - is it dying?
        except TimeoutError:
            break
        await daemon.http.aclose()
        lives += 1
        assert lives < 10
    await daemon.http.aclose()
    await daemon.kill()
    assert lives == 3
    async with home.running() as daemon:
        lines = await log_lines(daemon, name)
        [told] = of_type(lines, "notice_posted")
        assert told["code"] == "poison"
        assert [one["outcome"] for one in of_type(lines, "host_turn_finished")] == ["failed"]
        await say(daemon, other, "hello")
        await finished(daemon, other)
        await say(daemon, name, "hello")
        lines = await finished(daemon, name, 2)
        assert [one["outcome"] for one in of_type(lines, "host_turn_finished")][-1] == "completed"
        assert violations(lines) == []


@pytest.mark.fault("C25")
async def test_a_restored_log_does_not_repeat_what_newer_mailboxes_hold_as_done(
    tmp_path: Path,
) -> None:
    """The copy knows nothing of the last day; the mailboxes do."""
    told_of: list[str] = []

    async def script(ask: Ask) -> Reply:
        told_of.append(ask.last)
        yield "Read."

    async with provider(script) as told:
        home = DaemonHome(tmp_path, env=told.env)
        home.configure(QUICK_SWEEP)
        async with home.running() as daemon:
            name = await session(daemon)
            await say(daemon, name, "first day")
            await finished(daemon, name)
            assert (await daemon.stop()) == 0
        copy = tmp_path / "copy.db"
        shutil.copy(home.data_dir / "log.db", copy)
        async with home.running() as daemon:
            await say(daemon, name, "second day")
            await finished(daemon, name, 2)
            box = await box_of(daemon, name)
            await true(lambda: len(boxes(daemon.mailboxes, name, "principal")["done"]) == 2)
            assert (await daemon.stop()) == 0
        late = str(NEW_ID())
        drop(box, f"{late}.json", GOOD)
        for one in home.data_dir.glob("log.db*"):
            one.unlink()
        shutil.copy(copy, home.data_dir / "log.db")
        told_of.clear()
        async with home.running() as daemon:
            [came] = await logged(daemon, name, lambda one: one["type"] == "letter_received")
            assert came["letter_id"] == late
            lines = await finished(daemon, name, 2)
            letters: list[Json] = of_type(lines, "letter_accepted", "letter_received")
            assert [one["letter"]["content"] for one in letters] == ["first day", "good"]
            assert len(told_of) == 1
            assert violations(lines) == []
