"""The postoffice as other processes meet it: plain files dropped, moved, damaged and doubled."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.errors import Busy, Conflict, Forbidden, NotFound, Unavailable
from brainpilot_rt.domain.ids import ULID, AgentName, LetterId, SessionId
from brainpilot_rt.domain.letters import AgentCard, Letter
from brainpilot_rt.mailbox.addresses import Address, KnownLetters
from brainpilot_rt.mailbox.codec import LetterLimits, Reason
from brainpilot_rt.mailbox.handlers import PostPolicy
from brainpilot_rt.mailbox.maildir import LetterConflict, Mailbox, MailboxGone, Travelled
from brainpilot_rt.mailbox.reception import Reception
from brainpilot_rt.testing.sources import ManualClock, SequentialIds
from brainpilot_rt.testing.watcher import ManualWatcher
from tests.unit.mailbox.office import (
    BOT,
    GOOD,
    PRINCIPAL,
    SESSION,
    Told,
    a_letter,
    an_office,
    drop,
    join,
    open_office,
    refuse_with,
)

T = TypeVar("T")

ID = SequentialIds.nth(77)
OTHER_ID = SequentialIds.nth(78)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / SESSION / PRINCIPAL


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def test_a_foreign_letter_is_offered_and_waits_under_its_id(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        drop(home, f"{ID}.json")
        await office.scan()
        assert told.contents == ["hello"]
        assert told.letters[0].letter_id == ID
        assert names_in(home / "new") == [f"{ID}.json"]
        assert (home / "new" / f"{ID}.json").read_bytes() == GOOD


async def test_another_legal_name_is_replaced_by_a_fresh_id(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        drop(home, "hello-there.json")
        await office.scan()
        (found,) = told.letters
        assert found.file == "hello-there.json"
        assert ULID.fullmatch(found.letter_id)
        assert names_in(home / "new") == [f"{found.letter_id}.json"]


async def test_an_accepted_letter_is_not_offered_twice(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        drop(home, f"{ID}.json")
        await office.scan()
        await office.scan()
    assert told.contents == ["hello"]


async def test_after_a_restart_an_unclaimed_letter_is_offered_again(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        drop(home, f"{ID}.json")
        await office.scan()
    async with open_office(tmp_path, told):
        assert [found.letter_id for found in told.letters] == [ID, ID]


async def test_a_sweep_finds_a_letter_of_which_the_watcher_said_nothing(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told):
        await asyncio.sleep(1)
        drop(home, f"{ID}.json")
        await asyncio.sleep(5)
        assert told.contents == ["hello"]


async def test_a_hint_is_followed_at_once(tmp_path: Path, home: Path, told: Told):
    watcher = ManualWatcher()
    async with open_office(tmp_path, told, watcher=watcher):
        await asyncio.sleep(1)
        watcher.changed(drop(home, f"{ID}.json"))
        await asyncio.sleep(0.1)
        assert told.contents == ["hello"]


async def test_the_echo_of_an_own_letter_is_not_offered(tmp_path: Path, home: Path, told: Told):
    watcher = ManualWatcher()
    async with open_office(tmp_path, told, watcher=watcher) as office:
        letter = a_letter()
        await office.place(letter)
        watcher.changed(home / "new" / f"{letter.id}.json")
        await office.scan()
        await asyncio.sleep(0.1)
        assert names_in(home / "new") == [f"{letter.id}.json"]
    assert told.letters == []


async def test_letters_are_offered_in_the_order_in_which_they_were_written(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        for number, name in enumerate(["zebra", "ant", "mole"]):
            data = b'{"to":"principal","content":"%d"}' % number
            os.utime(drop(home, f"{name}.json", data), ns=(0, 10**9 * (number + 1)))
        await office.scan()
    assert told.contents == ["0", "1", "2"]


# --- what is refused ------------------------------------------------------------------------------


async def refused(office_root: Path, told: Told, name: str, data: bytes) -> dict[str, str]:
    """Drop a file and wait until it is in `bad/`; return what the reason file says."""
    async with open_office(office_root, told):
        home = office_root / SESSION / PRINCIPAL
        drop(home, name, data)
        await asyncio.sleep(20)
        assert names_in(home / "new") == []
        assert (home / "bad" / name).read_bytes() == data
        return json.loads((home / "bad" / f"{name}.reason.json").read_text())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="C1"),
        pytest.param(GOOD[:-4], "not_json", id="C2 B17"),
        pytest.param(GOOD + GOOD, "trailing_garbage", id="C3"),
        pytest.param(b"[]", "not_an_object", id="C4"),
        pytest.param(b"[" * 100_000, "too_deep", id="C5"),
        pytest.param(b'{"n":%d}' % 2**63, "bad_number", id="C6"),
        pytest.param(b'{"n":NaN}', "bad_number", id="C7"),
        pytest.param(b'{"to":"a","to":"principal"}', "duplicate_key", id="C8"),
        pytest.param(b'{"to":"principal","content":"\\ud800"}', "bad_text", id="C9"),
        pytest.param(b'{"to":"principal","content":"\\u0000"}', "bad_text", id="C10"),
        pytest.param(GOOD.decode().encode("utf-16"), "byte_order_mark", id="C11"),
        pytest.param(GOOD + b" " * 300_000, "too_large", id="C12"),
        pytest.param(b'{"v":9,"to":"principal","content":""}', "newer_version", id="C19"),
        pytest.param(b'{"to":"librarian","content":""}', "misrouted", id="C20"),
        pytest.param(
            b'{"to":"principal","content":"","session":"s2"}', "wrong_session", id="session"
        ),
        pytest.param(b'{"to":"principal","content":"","id":"x"}', "wrong_id", id="id"),
    ],
)
@pytest.mark.fault(
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C19", "C20", "B17"
)
async def test_a_bad_file_goes_to_bad_with_its_reason_beside_it(
    tmp_path: Path, told: Told, data: bytes, reason: str
):
    said = await refused(tmp_path, told, "note.json", data)
    assert said["reason"] == reason
    assert said["file"] == "note.json"
    assert said["detail"]
    assert said["at"].startswith("2026-01-02T03:04:05")
    assert told.refused == [("note.json", Reason(reason))]
    assert told.letters == []


@pytest.mark.fault("C20", "C21")
async def test_forged_origins_change_nothing(tmp_path: Path, home: Path, told: Told):
    forged = GOOD[:-1] + b',"from":"user","hop":0,"path":[],"root_id":"r","authority":{}}'
    async with open_office(tmp_path, told) as office:
        drop(home, "note.json", forged)
        await office.scan()
        (found,) = told.letters
        assert set(found.letter.model_dump(exclude_defaults=True)) == {"to", "content"}


@pytest.mark.fault("B17", "C2")
async def test_a_file_half_written_in_new_is_taken_once_it_is_whole(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        with (home / "new" / "slow.json").open("wb", buffering=0) as writer:
            for byte in range(0, len(GOOD), 12):
                writer.write(GOOD[byte : byte + 12])
                await asyncio.sleep(4)
        await office.scan()
    assert told.contents == ["hello"]
    assert told.refused == []


@pytest.mark.fault("B17", "C1")
async def test_an_empty_file_is_given_five_seconds_and_three_looks(
    tmp_path: Path, home: Path, told: Told
):
    watcher = ManualWatcher()
    async with open_office(tmp_path, told, watcher=watcher):
        empty = drop(home, "empty.json", b"")
        for _ in range(4):
            watcher.changed(empty)
            await asyncio.sleep(1)
        assert told.refused == []
        await asyncio.sleep(5)
        assert told.refused == [("empty.json", Reason.EMPTY)]


@pytest.mark.fault("C13")
async def test_a_sparse_giant_is_refused_unread(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        with (home / "new" / "giant.json").open("wb") as giant:
            giant.truncate(4 << 30)
        await office.scan()
        assert told.refused == [("giant.json", Reason.TOO_LARGE)]
        assert (home / "bad" / "giant.json").stat().st_size == 4 << 30


@pytest.mark.fault("C15", "S12")
async def test_a_link_is_moved_as_a_link_and_never_followed(tmp_path: Path, home: Path, told: Told):
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    async with open_office(tmp_path, told) as office:
        (home / "new" / "away.json").symlink_to(secret)
        (home / "new" / "self.json").symlink_to("self.json")
        await office.scan()
        assert sorted(told.refused) == [
            ("away.json", Reason.SYMLINK),
            ("self.json", Reason.SYMLINK),
        ]
        assert (home / "bad" / "away.json").is_symlink()
    assert secret.read_bytes() == GOOD


@pytest.mark.fault("C16", "S12")
async def test_a_hard_link_to_a_secret_is_refused(tmp_path: Path, home: Path, told: Told):
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    async with open_office(tmp_path, told):
        os.link(secret, home / "new" / "hard.json")
        await asyncio.sleep(20)
    assert told.refused == [("hard.json", Reason.HARD_LINK)]
    assert told.letters == []


@pytest.mark.fault("A8", "A18")
async def test_a_delivery_by_link_that_was_cut_is_finished(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told):
        (home / "tmp" / "linked.json").write_bytes(GOOD)
        os.link(home / "tmp" / "linked.json", home / "new" / "linked.json")
        await asyncio.sleep(20)
        assert names_in(home / "tmp") == []
    assert told.contents == ["hello"]
    assert told.refused == []


@pytest.mark.fault("C17", "S12")
async def test_pipes_and_directories_are_put_aside_without_waiting_for_them(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        os.mkfifo(home / "new" / "pipe.json")
        (home / "new" / "folder.json").mkdir()
        await office.scan()
        assert names_in(home / "new") == []
    assert sorted(told.refused) == [
        ("folder.json", Reason.NOT_A_FILE),
        ("pipe.json", Reason.NOT_A_FILE),
    ]


@pytest.mark.parametrize(
    "name",
    [
        b"-dash.json",
        b"UPPER.json",
        b"two words.json",
        b"new\nline.json",
        b"latin-\xe9.json",
        b"x" * 250 + b".json",
        b"under_score.json",
        "café.json".encode(),
    ],
)
@pytest.mark.fault("C18")
async def test_an_illegal_json_name_goes_to_bad(
    tmp_path: Path, home: Path, told: Told, name: bytes
):
    async with open_office(tmp_path, told) as office:
        drop(home, os.fsdecode(name))
        await office.scan()
        ((kept, reason),) = told.refused
        assert reason is Reason.ILLEGAL_NAME
        assert names_in(home / "new") == []
        assert (home / "bad" / kept).read_bytes() == GOOD
        said = json.loads((home / "bad" / f"{kept}.reason.json").read_text())
        assert said["file"] == name.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("name", [".hidden.json", ".x.swp", ".DS_Store", "x.json~", "x.txt", "x"])
@pytest.mark.fault("C18")
async def test_files_that_claim_nothing_are_left_alone(
    tmp_path: Path, home: Path, told: Told, name: str
):
    async with open_office(tmp_path, told):
        (home / "new" / name).write_bytes(b"whatever")
        await asyncio.sleep(20)
        assert names_in(home / "new") == [name]
    assert told.refused == []


async def test_two_refused_files_of_one_name_are_both_kept(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        for content in (b"[1]", b"[2]"):
            drop(home, "note.json", content)
            await office.scan()
        assert names_in(home / "bad") == [
            "note-2.json",
            "note-2.json.reason.json",
            "note.json",
            "note.json.reason.json",
        ]
        assert (home / "bad" / "note-2.json").read_bytes() == b"[2]"


# --- the same id twice ----------------------------------------------------------------------------


@pytest.mark.fault("A19")
async def test_the_same_letter_again_after_it_was_claimed_is_one_delivery(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        for step in (office.claim, office.ack):
            drop(home, f"{ID}.json")
            await office.scan()
            assert await step(SESSION, PRINCIPAL, [LetterId(ID)]) == [ID]
        drop(home, f"{ID}.json")
        await office.scan()
        assert names_in(home / "new") == []
    assert told.contents == ["hello"]
    assert told.refused == []


@pytest.mark.parametrize("step", ["wait", "claim"])
@pytest.mark.fault("A20")
async def test_other_words_under_a_known_id_are_a_conflict_and_the_first_wins(
    tmp_path: Path, home: Path, told: Told, step: str
):
    async with open_office(tmp_path, told) as office:
        drop(home, f"{ID}.json")
        await office.scan()
        if step == "claim":
            await office.claim(SESSION, PRINCIPAL, [LetterId(ID)])
        told.answer = refuse_with(Conflict("another letter has this id"))
        drop(home, f"{ID}.json", GOOD.replace(b"hello", b"other"))
        await office.scan()
        assert told.refused == [(f"{ID}.json", Reason.CONFLICT)]
        assert names_in(home / "new") == []
    assert told.contents == ["hello"]


@pytest.mark.fault("A21")
async def test_a_name_in_capitals_is_not_the_same_letter(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        drop(home, f"{ID}.json")
        drop(home, f"{ID.upper()}.json")
        await office.scan()
    assert told.contents == ["hello"]
    assert told.refused == [(f"{ID.upper()}.json", Reason.ILLEGAL_NAME)]


@pytest.mark.fault("A6", "A8")
async def test_placing_the_same_letter_again_changes_nothing_in_whatever_box_it_is(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        letter = a_letter()
        await office.place(letter)
        await office.place(letter)
        for step in (office.claim, office.ack):
            await step(SESSION, PRINCIPAL, [letter.id])
            await office.place(letter)
        assert names_in(home / "new") == []
        assert names_in(home / "done") == [f"{letter.id}.json"]
        with pytest.raises(LetterConflict):
            await office.place(letter.model_copy(update={"content": "other"}))


@pytest.mark.fault("B3")
async def test_a_letter_the_owner_knows_as_consumed_goes_to_done(
    tmp_path: Path, home: Path, told: Told
):
    told.answer = lambda _: False
    async with open_office(tmp_path, told) as office:
        drop(home, f"{ID}.json")
        await office.scan()
        assert names_in(home / "new") == []
        assert names_in(home / "done") == [f"{ID}.json"]


# --- an owner that says no, or not now ------------------------------------------------------------


async def test_a_letter_the_session_rejects_goes_to_bad_under_its_own_name(
    tmp_path: Path, home: Path, told: Told
):
    told.answer = refuse_with(NotFound("no such task"))
    async with open_office(tmp_path, told) as office:
        drop(home, "note.json")
        await office.scan()
        assert told.refused == [("note.json", Reason.REJECTED)]
        assert (home / "bad" / "note.json").read_bytes() == GOOD


@pytest.mark.fault("A23")
async def test_under_back_pressure_a_letter_is_offered_again(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told):
        told.answer = refuse_with(Busy("too many letters", retry_after_s=2.0))
        drop(home, "note.json")
        await asyncio.sleep(7)
        assert told.refused == []
        told.answer = lambda _: True
        await asyncio.sleep(2.5)
    assert told.contents == ["hello"]


@pytest.mark.fault("A10")
async def test_while_storage_is_in_trouble_everything_waits(tmp_path: Path, home: Path, told: Told):
    def unavailable(_: object) -> bool:
        raise Unavailable("disk full")

    async with open_office(tmp_path, told) as office:
        told.answer = unavailable
        drop(home, f"{ID}.json")
        await office.scan()
        told.answer = lambda _: True
        await office.scan()
    assert told.contents == ["hello"]


@pytest.mark.fault("B11")
async def test_a_handler_that_fails_for_one_letter_does_not_hold_up_the_next(
    tmp_path: Path, home: Path, told: Told
):
    def fragile(found: object) -> bool:
        if "poison" in str(found):
            raise RuntimeError("bug")
        return True

    told.answer = fragile
    async with open_office(tmp_path, told) as office:
        drop(home, "a.json", GOOD.replace(b"hello", b"poison"))
        drop(home, "b.json")
        await office.scan()
        assert told.contents == ["hello"]
        told.answer = lambda _: True
        await office.scan()
    assert told.contents == ["hello", "poison"]


@pytest.mark.fault("A15")
async def test_a_file_that_cannot_be_moved_is_tried_again(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        drop(home, "note.json", b"[]")
        failpoints.configure("files.rename.before=raise:EACCES@1+")
        try:
            await office.scan()
        finally:
            failpoints.reset()
        assert told.refused == []
        assert names_in(home / "bad") == []
        await office.scan()
    assert told.refused == [("note.json", Reason.NOT_AN_OBJECT)]


@pytest.mark.fault("B14")
async def test_an_ack_that_fails_on_disk_is_harmless(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        letter = a_letter()
        await office.place(letter, "cur")
        failpoints.configure("files.rename.before=raise:EACCES@1+")
        try:
            assert await office.ack(SESSION, PRINCIPAL, [letter.id]) == []
        finally:
            failpoints.reset()
        assert await office.ack(SESSION, PRINCIPAL, [letter.id]) == [letter.id]
        assert names_in(home / "done") == [f"{letter.id}.json"]


# --- the daemon's own letters ---------------------------------------------------------------------


async def test_a_letter_travels_from_new_through_cur_to_done(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        letter = a_letter()
        await office.place(letter)
        assert await office.claim(SESSION, PRINCIPAL, [letter.id]) == [letter.id]
        assert await office.release(SESSION, PRINCIPAL, [letter.id]) == [letter.id]
        assert names_in(home / "new") == [f"{letter.id}.json"]
        assert await office.claim(SESSION, PRINCIPAL, [letter.id]) == [letter.id]
        assert await office.ack(SESSION, PRINCIPAL, [letter.id]) == [letter.id]
        assert await office.find(SESSION, PRINCIPAL, [letter]) == {letter.id: "done"}
        assert (home / "done" / f"{letter.id}.json").stat().st_mode & 0o777 == 0o600
        assert await office.claim(SESSION, PRINCIPAL, [LetterId(OTHER_ID)]) == []
        await office.scan()
    assert told.letters == []


async def test_a_mailbox_appears_whole_and_private(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told):
        assert names_in(home) == ["agent.json", "bad", "cur", "done", "new", "tmp"]
        assert {(home / box).stat().st_mode & 0o777 for box in ("tmp", "new")} == {0o700}
        assert (home / "agent.json").stat().st_mode & 0o777 == 0o600
        assert json.loads((home / "agent.json").read_text())["kind"] == "managed"
        assert names_in(tmp_path) == [SESSION]


async def test_letters_go_straight_into_the_boxes_where_they_belong_by_now(
    tmp_path: Path, home: Path, told: Told
):
    async with open_office(tmp_path, told) as office:
        letters = [a_letter(number) for number in range(3)]
        boxes: tuple[Travelled, ...] = ("new", "cur", "done")
        assert await office.place_all(zip(letters, boxes, strict=True)) == []
        for letter, box in zip(letters, boxes, strict=True):
            assert names_in(home / box) == [f"{letter.id}.json"]
        await office.ack_all({(SESSION, PRINCIPAL): [letter.id for letter in letters]})
        assert names_in(home / "done") == sorted(f"{letter.id}.json" for letter in letters)
        await office.scan()
    assert told.letters == []


async def test_letters_that_need_a_look_of_their_own_are_given_back_and_disturb_no_other(
    tmp_path: Path, home: Path, told: Told
):
    join(tmp_path)
    async with open_office(tmp_path, told) as office:
        drop(home, f"{a_letter(1).id}.json")
        outside, taken, well = a_letter(to=BOT), a_letter(1), a_letter(2)
        batch: list[tuple[Letter, Travelled]] = [(outside, "new"), (taken, "done"), (well, "cur")]
        assert await office.place_all(batch) == [outside, taken]
        assert names_in(home / "cur") == [f"{well.id}.json"]
        assert names_in(home / "done") == []


@pytest.mark.parametrize("box", ["cur", "done"])
async def test_a_batch_finds_a_deleted_mailbox_and_an_ack_of_its_own_makes_it_anew(
    tmp_path: Path, home: Path, told: Told, box: Travelled
):
    async with open_office(tmp_path, told) as office:
        letter = a_letter()
        await office.place(letter)
        (home / box).rmdir()
        assert await office.place_all([(a_letter(2), box)]) == [a_letter(2)]
        await office.ack_all({(SESSION, PRINCIPAL): [letter.id]})
        assert names_in(home / "done") == [f"{letter.id}.json"]


@pytest.mark.parametrize("lost", ["", "new", "tmp"])
@pytest.mark.fault("A17")
async def test_a_mailbox_deleted_while_running_is_made_anew_and_its_owner_is_told(
    tmp_path: Path, home: Path, told: Told, lost: str
):
    async with open_office(tmp_path, told) as office:
        letter = a_letter()
        await office.place(letter)
        (home / lost).rename(tmp_path.parent / f"{tmp_path.name}-away")
        await office.place(letter)
        await asyncio.sleep(0.1)
        assert told.rebuilt == [PRINCIPAL]
        assert names_in(home / "new") == [f"{letter.id}.json"]


async def test_a_mailbox_that_a_sweep_finds_while_it_is_first_made_was_not_lost(
    home: Path, told: Told
):
    address = Address(
        SESSION,
        PRINCIPAL,
        AgentCard(name=PRINCIPAL, kind="managed"),
        Mailbox(home, LetterLimits()),
    )

    async def on_thread(call: Callable[[], T]) -> T:
        done = call()
        reception.needs_look(address)
        return done

    reception = Reception(
        told.handlers(), on_thread, KnownLetters(), (ManualClock(), SequentialIds()), PostPolicy()
    )
    await reception.look(address)
    assert told.rebuilt == []


@pytest.mark.parametrize("box", ["cur", "done"])
async def test_a_letter_is_moved_into_a_box_that_was_deleted(
    tmp_path: Path, home: Path, told: Told, box: str
):
    async with open_office(tmp_path, told) as office:
        letter = a_letter()
        await office.place(letter)
        (home / box).rmdir()
        step = office.claim if box == "cur" else office.ack
        assert await step(SESSION, PRINCIPAL, [letter.id]) == [letter.id]
        assert names_in(home / box) == [f"{letter.id}.json"]


async def test_nothing_is_offered_before_the_start(tmp_path: Path, home: Path, told: Told):
    join(tmp_path, PRINCIPAL)
    drop(home, f"{ID}.json")
    office = an_office(tmp_path, told)
    office.open_session(SESSION)
    office.open_agent(SESSION, AgentCard(name=PRINCIPAL, kind="managed"))
    await office.place(a_letter())
    await asyncio.sleep(20)
    assert told.letters == []
    await office.start()
    await office.stop()
    assert told.contents == ["hello"]


async def test_opening_an_agent_again_forgets_nothing(tmp_path: Path, told: Told):
    bot = join(tmp_path)
    async with open_office(tmp_path, told) as office:
        letter = a_letter(to=BOT)
        await office.place(letter)
        office.open_agent(SESSION, AgentCard(name=BOT, kind="external", description="again"))
        (bot / "new" / f"{letter.id}.json").unlink()
        await office.scan()
    assert told.receipts == [(letter.id, "consumed")]


@pytest.mark.fault("A17")
async def test_the_whole_root_may_vanish_and_comes_back(tmp_path: Path, told: Told):
    root = tmp_path / "mail"
    async with open_office(root, told):
        root.rename(tmp_path / "away")
        await asyncio.sleep(6)
        assert names_in(root / SESSION / PRINCIPAL / "new") == []
    assert told.rebuilt == [PRINCIPAL]


async def test_consumed_letters_are_kept_up_to_a_number(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told, policy=PostPolicy(done_max=10)) as office:
        letters = [a_letter(number) for number in range(300)]
        for letter in letters:
            await office.place(letter, "cur")
        for start in (0, 256):
            batch = [letter.id for letter in letters[start : start + 256]]
            await office.ack(SESSION, PRINCIPAL, batch)
        assert len(names_in(home / "done")) == 10 + 44
    async with open_office(tmp_path, told, policy=PostPolicy(done_max=10)):
        await asyncio.sleep(1)
        assert names_in(home / "done") == [f"{one.id}.json" for one in letters[-10:]]


@pytest.mark.fault("A3", "A4")
async def test_abandoned_files_in_tmp_are_swept_by_age(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told):
        (home / "tmp" / "fresh.json").write_bytes(b"")
        (home / "tmp" / "old.json").write_bytes(b"")
        os.utime(home / "tmp" / "fresh.json", ns=(0, 1 << 62))
        os.utime(home / "tmp" / "old.json", ns=(0, 0))
        await asyncio.sleep(3601)
        assert names_in(home / "tmp") == ["fresh.json"]


async def test_a_deleted_session_takes_its_letters_along(tmp_path: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        await office.place(a_letter())
        await office.close_session(SESSION, delete=True)
        await asyncio.sleep(20)
        assert names_in(tmp_path) == []
        with pytest.raises(MailboxGone):
            await office.place(a_letter(2))


@pytest.mark.fault("A23")
@pytest.mark.timeout(30)
async def test_a_storm_of_two_thousand_files_loses_none_and_doubles_none(
    tmp_path: Path, home: Path, told: Told
):
    watcher = ManualWatcher()
    async with open_office(tmp_path, told, watcher=watcher):
        for number in range(2_000):
            watcher.changed(
                drop(home, f"n{number:04d}.json", b'{"to":"principal","content":"%d"}' % number)
            )
        await asyncio.sleep(6)
        assert sorted(told.contents, key=int) == [str(number) for number in range(2_000)]
        assert len(names_in(home / "new")) == 2_000


async def test_a_handler_that_hangs_for_one_agent_does_not_stop_the_mail_of_another(
    tmp_path: Path, home: Path, told: Told
):
    # The owner may be long in answering, while a stop waits for tools to end.
    async with open_office(tmp_path, told) as office:
        office.open_agent(SESSION, AgentCard(name="librarian", kind="managed"))
        await asyncio.sleep(1)
        told.gates[PRINCIPAL] = asyncio.Event()
        drop(home, "a.json")
        await asyncio.sleep(6)
        drop(tmp_path / SESSION / "librarian", "b.json", GOOD.replace(b"principal", b"librarian"))
        await asyncio.sleep(6)
        assert [found.letter.to for found in told.letters] == ["librarian"]
        told.gates[PRINCIPAL].set()
        await asyncio.sleep(1)
        assert [found.letter.to for found in told.letters] == ["librarian", "principal"]


# --- external agents ------------------------------------------------------------------------------


async def test_an_external_agent_joins_by_its_directory_and_leaves_with_it(
    tmp_path: Path, told: Told
):
    async with open_office(tmp_path, told):
        await asyncio.sleep(1)
        bot = join(tmp_path)
        await asyncio.sleep(6)
        assert told.joined == [BOT]
        bot.rename(tmp_path / "away")
        await asyncio.sleep(6)
        assert told.gone == [BOT]
    assert told.joined == [BOT]


async def test_a_hint_lets_an_external_agent_join_at_once(tmp_path: Path, told: Told):
    watcher = ManualWatcher()
    async with open_office(tmp_path, told, watcher=watcher):
        await asyncio.sleep(1)
        watcher.changed(join(tmp_path) / "agent.json")
        await asyncio.sleep(0.2)
        assert told.joined == [BOT]


async def test_a_newcomer_without_boxes_gets_them_and_keeps_its_card(tmp_path: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        bot = tmp_path / SESSION / BOT
        bot.mkdir()
        card = '{ "kind" : "external", "name" : "bot", "colour": "green" }'
        (bot / "agent.json").write_text(card)
        await office.scan()
        assert names_in(bot) == ["agent.json", "bad", "cur", "done", "new", "tmp"]
        assert (bot / "agent.json").read_text() == card


async def test_receipts_are_read_off_the_files(tmp_path: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        bot = join(tmp_path)
        await office.scan()
        letters = [a_letter(number, to=BOT) for number in range(3)]
        for letter in letters:
            await office.place(letter)
        await office.scan()
        assert told.receipts == []
        first, second, third = (letter.id for letter in letters)
        (bot / "new" / f"{first}.json").rename(bot / "cur" / f"{first}.json")
        await office.scan()
        (bot / "cur" / f"{first}.json").rename(bot / "done" / f"{first}.json")
        (bot / "new" / f"{second}.json").unlink()
        (bot / "new" / f"{third}.json").rename(bot / "done" / f"{third}.json")
        await office.scan()
        await office.scan()
        assert told.receipts == [
            (first, "claimed"),
            (first, "consumed"),
            (second, "consumed"),
            (third, "consumed"),
        ]


async def test_after_a_restart_expected_letters_still_yield_their_receipts(
    tmp_path: Path, told: Told
):
    bot = join(tmp_path)
    letter = a_letter(to=BOT)
    async with open_office(tmp_path, told) as office:
        await office.place(letter)
    (bot / "new" / f"{letter.id}.json").unlink()
    again = an_office(tmp_path, told)
    again.open_session(SESSION)
    again.open_agent(SESSION, AgentCard(name=BOT, kind="external"))
    again.expect(SESSION, BOT, {letter.id: "queued"})
    await again.start()
    await again.stop()
    assert told.receipts == [(letter.id, "consumed")]


async def test_the_files_of_an_external_agent_are_not_read(tmp_path: Path, told: Told):
    bot = join(tmp_path)
    async with open_office(tmp_path, told):
        drop(bot, "note.json")
        drop(bot, "bad.json", b"[]")
        await asyncio.sleep(20)
        assert names_in(bot / "new") == ["bad.json", "note.json"]
    assert told.letters == []
    assert told.refused == []


async def test_a_letter_for_an_agent_that_left_says_so(tmp_path: Path, told: Told):
    bot = join(tmp_path)
    async with open_office(tmp_path, told) as office:
        bot.rename(tmp_path / "away")
        with pytest.raises(MailboxGone):
            await office.place(a_letter(to=BOT))
        assert not bot.exists()


async def test_a_refused_newcomer_is_asked_about_once_until_its_card_changes(
    tmp_path: Path, told: Told
):
    asked: list[str] = []

    def never(card: AgentCard) -> None:
        asked.append(card.name)
        raise Forbidden("the name is reserved")

    told.admit = never
    home = join(tmp_path, "user")
    async with open_office(tmp_path, told) as office:
        await office.scan()
        drop(home, "note.json")
        await office.scan()
        assert asked == ["user"]
        (home / "agent.json").write_text('{"name": "user", "kind": "external", "description": "x"}')
        await office.scan()
        assert asked == ["user", "user"]
        assert names_in(home / "new") == ["note.json"]
    assert told.joined == []


@pytest.mark.parametrize(
    "card",
    ["", "[]", '{"name": "other", "kind": "external"}', '{"name": "bot", "kind": "managed"}'],
)
async def test_a_directory_without_a_proper_card_is_no_agent(tmp_path: Path, told: Told, card: str):
    (join(tmp_path) / "agent.json").write_text(card)
    async with open_office(tmp_path, told) as office:
        await office.scan()
    assert told.joined == []
    assert told.letters == []


async def test_a_session_nobody_opened_is_told_once_and_not_read(tmp_path: Path, told: Told):
    home = tmp_path / "stranger" / "principal" / "new"
    home.mkdir(parents=True)
    (home / "note.json").write_bytes(GOOD)
    async with open_office(tmp_path, told) as office:
        await office.scan()
        assert told.unknown == ["stranger"]
        assert office.unknown_sessions == {"stranger"}
        office.open_session(SessionId("stranger"))
        office.open_agent(SessionId("stranger"), AgentCard(name="principal", kind="managed"))
        await office.scan()
        assert told.contents == ["hello"]
        assert office.unknown_sessions == frozenset()


async def test_an_agent_that_was_closed_is_served_no_longer(tmp_path: Path, home: Path, told: Told):
    async with open_office(tmp_path, told) as office:
        office.close_agent(SESSION, PRINCIPAL)
        drop(home, "note.json")
        await asyncio.sleep(20)
        with pytest.raises(MailboxGone):
            await office.claim(SESSION, AgentName("principal"), [LetterId(ID)])
    assert told.letters == []
