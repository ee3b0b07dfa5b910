"""Mailboxes in trouble: torn, replaced, unreadable, full."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.errors import Busy
from brainpilot_rt.domain.ids import AgentName, LetterId
from brainpilot_rt.domain.letters import AgentCard
from brainpilot_rt.mailbox.codec import encode
from brainpilot_rt.mailbox.handlers import FoundLetter
from brainpilot_rt.mailbox.maildir import Travelled
from brainpilot_rt.mailbox.tidying import sweep_leftovers
from tests.unit.mailbox.office import PRINCIPAL, SESSION, Told, a_letter, drop, join, open_office

Spoil = Callable[[Path], None]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / SESSION / PRINCIPAL


def whole(box: Path, letter_id: LetterId, data: bytes) -> bool:
    return (box / f"{letter_id}.json").read_bytes() == data


@pytest.mark.fault("A7", "B4")
@pytest.mark.parametrize("left", ["nothing", "half", "zeros", "half and zeros"])
@pytest.mark.parametrize("box", ["new", "cur", "done"])
async def test_a_letter_of_ours_that_a_power_failure_tore_is_placed_again(
    tmp_path: Path, home: Path, told: Told, box: Travelled, left: str
):
    letter = a_letter()
    data = encode(letter)
    half = data[: len(data) // 2]
    torn = {
        "nothing": b"",
        "half": half,
        "zeros": bytes(len(data)),
        "half and zeros": half + bytes(len(data) - len(half)),
    }[left]
    async with open_office(tmp_path, told) as office:
        (home / box / f"{letter.id}.json").write_bytes(torn)
        await office.place(letter, "new")
        assert whole(home / "new", letter.id, data)
        await office.scan()
    assert told.refused == []
    assert told.letters == []


@pytest.mark.fault("A7", "B4")
async def test_a_torn_letter_counts_as_gone_and_a_whole_one_stays(
    tmp_path: Path, home: Path, told: Told
):
    torn, kept = a_letter(1), a_letter(2)
    async with open_office(tmp_path, told) as office:
        await office.place(kept)
        (home / "cur" / f"{torn.id}.json").write_bytes(encode(torn)[:20])
        assert await office.find(SESSION, PRINCIPAL, [torn, kept]) == {
            torn.id: None,
            kept.id: "new",
        }


def by_a_link(place: Path) -> None:
    place.symlink_to(place.parent.parent)


def by_a_file(place: Path) -> None:
    place.write_text("in the way")


def by_a_pipe(place: Path) -> None:
    os.mkfifo(place)


@pytest.mark.fault("A17")
@pytest.mark.parametrize("spoil", [by_a_link, by_a_file, by_a_pipe])
@pytest.mark.parametrize("lost", ["", "new", "tmp", "cur", "done"])
async def test_what_stands_in_the_place_of_a_box_is_not_followed_and_the_mail_comes_back_without_it(
    tmp_path: Path,
    home: Path,
    told: Told,
    lost: str,
    spoil: Spoil,
    caplog: pytest.LogCaptureFixture,
):
    letter, place = a_letter(), home / lost
    async with open_office(tmp_path, told) as office:
        place.rename(tmp_path.parent / f"{tmp_path.name}-away")
        spoil(place)
        if lost not in {"cur", "done"}:
            with pytest.raises(OSError, match=r"stands here|directory"):
                await office.place(letter)
        assert await office.claim(SESSION, PRINCIPAL, [letter.id]) in ([], [letter.id])
        await office.ack_all({(SESSION, PRINCIPAL): [letter.id]})
        for _ in range(5):
            await office.scan()
        said = [one for one in caplog.messages if "can not be used" in one]
        assert len(said) <= 1, said
        assert not [one for one in caplog.records if one.exc_info]
        place.unlink()
        await office.scan()
        await office.place(letter)
        assert (home / "new" / f"{letter.id}.json").exists()


@pytest.mark.fault("A17")
async def test_tidying_a_root_that_is_no_directory_does_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert sweep_leftovers(tmp_path / "file", 0) == 0


@pytest.mark.fault("A15")
async def test_one_mailbox_that_can_not_be_read_holds_up_no_other(
    tmp_path: Path, home: Path, told: Told, monkeypatch: pytest.MonkeyPatch
):
    """As root nothing is forbidden, so the refusal is the kernel's in name only."""
    closed = tmp_path / SESSION / "engineer"
    async with open_office(tmp_path, told) as office:
        office.open_agent(SESSION, AgentCard(name="engineer", kind="managed"))
        await office.scan()
        real = os.open

        def denied(path: object, *more: object, **named: object) -> int:
            if str(path) == str(closed):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *more, **named)  # pyright: ignore[reportArgumentType] - passed through

        monkeypatch.setattr(os, "open", denied)
        drop(closed, "two.json", b'{"to":"engineer","content":"later"}')
        drop(home, "one.json")
        await office.scan()
        assert told.contents == ["hello"]
        monkeypatch.setattr(os, "open", real)
        await office.scan()
    assert told.contents == ["hello", "later"]


@pytest.mark.fault("A10", "A11", "A12")
@pytest.mark.parametrize("trouble", ["ENOSPC", "EDQUOT", "EROFS", "EIO"])
async def test_a_refused_file_stays_where_it_is_while_the_disk_takes_nothing(
    tmp_path: Path, home: Path, told: Told, trouble: str
):
    async with open_office(tmp_path, told) as office:
        drop(home, "note.json", b"[]")
        failpoints.configure(f"files.create.before=raise:{trouble}@1+")
        try:
            await office.scan()
        finally:
            failpoints.reset()
        assert (home / "new" / "note.json").exists()
        await office.scan()
    assert [name for name, _ in told.refused] == ["note.json"]


@pytest.mark.fault("A23", "B13", "B18")
async def test_when_the_mailbox_is_full_answers_get_in_and_the_rest_waits_in_order_unread(
    tmp_path: Path, home: Path, told: Told
):
    room = 3
    asked: list[str] = []

    def decide(found: FoundLetter) -> bool:
        asked.append(found.letter.content)
        if found.letter.task_id is None and len(told.contents) >= room:
            raise Busy("full", retry_after_s=1.0)
        return True

    told.answer = decide
    async with open_office(tmp_path, told) as office:
        for number in range(200):
            said = b'{"to":"principal","content":"%d"}' % number
            if number == 150:
                said = b'{"to":"principal","content":"answer","task_id":"t"}'
            os.utime(drop(home, f"n{number:03d}.json", said), (number, number))
        await office.scan()
        assert told.contents == ["0", "1", "2", "answer"]
        assert asked == ["0", "1", "2", "3", "answer"]
        for _ in range(3):
            asked.clear()
            await office.scan()
            assert set(asked) == {"3"}
        assert len(list((home / "new").iterdir())) == 200
        room = 500
        await asyncio.sleep(2)
    rest = [str(number) for number in range(3, 200) if number != 150]
    assert told.contents == ["0", "1", "2", "answer", *rest]


@pytest.mark.fault("A17")
async def test_an_external_agent_that_leaves_while_letters_are_settled_stops_nothing(
    tmp_path: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        bot = join(tmp_path)
        await office.scan()
        bot.rename(tmp_path.parent / f"{tmp_path.name}-away")
        letter = a_letter()
        await office.place(letter)
        await office.ack_all(
            {(SESSION, AgentName("bot")): [letter.id], (SESSION, PRINCIPAL): [letter.id]}
        )
        assert (tmp_path / SESSION / PRINCIPAL / "done" / f"{letter.id}.json").exists()


@pytest.mark.fault("A6", "A7")
async def test_a_name_that_is_replaced_by_an_id_is_on_the_disk_before_the_letter_is_offered(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        for name in ("one.json", "two.json"):
            drop(home, name)
        failpoints.configure("files.dirsync.before=raise:EIO@1+")
        try:
            await office.scan()
        finally:
            failpoints.reset()
        assert told.letters == []
        await office.scan()
    assert told.contents == ["hello", "hello"]
    assert len({found.letter_id for found in told.letters}) == 2


@pytest.mark.fault("F1")
async def test_a_reason_that_a_crash_left_without_its_file_is_written_anew(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        (home / "bad" / "note.json.reason.json").write_bytes(b"")
        drop(home, "note.json", b"[]")
        await office.scan()
        assert sorted(one.name for one in (home / "bad").iterdir()) == [
            "note.json",
            "note.json.reason.json",
        ]
        assert b"not_an_object" in (home / "bad" / "note.json.reason.json").read_bytes()


@pytest.mark.fault("B17")
async def test_a_sweep_may_look_at_an_external_mailbox_while_letters_are_placed_in_it(
    tmp_path: Path, told: Told
):
    """The sweep reads on a thread what the loop changes."""
    async with open_office(tmp_path, told) as office:
        join(tmp_path)
        await office.scan()
        letters = [a_letter(number, to=AgentName("bot")) for number in range(1, 120)]

        async def sweep() -> None:
            for _ in range(40):
                await office.scan()

        async with asyncio.TaskGroup() as group:
            group.create_task(sweep())
            for letter in letters:
                await office.place(letter)
        await office.scan()
    assert len(list((tmp_path / SESSION / "bot" / "new").iterdir())) == len(letters)
