"""Sending by files alone."""

from pathlib import Path

import pytest

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.domain.letters import ForeignLetter, LetterKind
from brainpilot_rt.mailbox.codec import LETTER_BYTES_MAX
from brainpilot_rt.mailbox.sender import send_letter
from brainpilot_rt.testing.sources import SequentialIds
from tests.unit.mailbox.office import PRINCIPAL, SESSION, Told, join, open_office


def a_mailbox(root: Path, session: str = SESSION, agent: str = PRINCIPAL) -> Path:
    home = root / session / agent
    for box in ("tmp", "new"):
        (home / box).mkdir(parents=True)
    return home


async def test_a_letter_sent_while_the_daemon_is_down_is_offered_when_it_comes_up(tmp_path: Path):
    home = join(tmp_path, PRINCIPAL)
    letter = ForeignLetter(to=PRINCIPAL, content="é\u202e", kind=LetterKind.SYSTEM, ext={"a": 1})
    sent = send_letter(tmp_path, SESSION, letter, new_id=SequentialIds())
    assert sent.path == home / "new" / f"{sent.letter_id}.json"
    assert sent.path.stat().st_mode & 0o777 == 0o600
    told = Told()
    async with open_office(tmp_path, told):
        (found,) = told.letters
        assert (found.letter, found.letter_id) == (letter, sent.letter_id)


def test_content_and_name_are_synced_before_the_sender_says_it_is_done(tmp_path: Path):
    a_mailbox(tmp_path)
    failpoints.reset()
    send_letter(tmp_path, SESSION, ForeignLetter(to=PRINCIPAL, content=""), new_id=SequentialIds())
    assert {
        "files.fsync.after",
        "files.rename.after",
        "files.dirsync.after",
    } <= failpoints.reached()


@pytest.mark.parametrize(
    ("session", "agent", "hint"),
    [
        ("s2", PRINCIPAL, "no session 's2' here; there is s1"),
        (SESSION, "princpal", "no agent 'princpal' here; there is principal"),
        (SESSION, "zzz", "there is principal"),
    ],
)
def test_an_unknown_recipient_is_answered_with_the_nearest_names(
    tmp_path: Path, session: str, agent: str, hint: str
):
    a_mailbox(tmp_path)
    letter = ForeignLetter(to=agent, content="")
    with pytest.raises(NotFound, match=hint):
        send_letter(tmp_path, session, letter, new_id=SequentialIds())


def test_without_any_mailbox_folder_the_sender_says_so(tmp_path: Path):
    letter = ForeignLetter(to=PRINCIPAL, content="")
    with pytest.raises(NotFound, match="no mailbox folder"):
        send_letter(tmp_path / "missing", SESSION, letter, new_id=SequentialIds())


@pytest.mark.parametrize(("session", "agent"), [("../s1", PRINCIPAL), (SESSION, "../principal")])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, session: str, agent: str):
    a_mailbox(tmp_path)
    letter = ForeignLetter(to=agent, content="")
    with pytest.raises(BadRequest):
        send_letter(tmp_path, session, letter, new_id=SequentialIds())


@pytest.mark.parametrize(
    "ext", [{"x": "\ud800"}, {"x": "a\0b"}, {"x": "y" * LETTER_BYTES_MAX}, {"x": float("nan")}]
)
def test_what_the_daemon_would_refuse_is_not_sent(tmp_path: Path, ext: dict[str, object]):
    home = a_mailbox(tmp_path)
    letter = ForeignLetter(to=PRINCIPAL, content="", ext=ext)
    with pytest.raises(BadRequest, match="would be refused"):
        send_letter(tmp_path, SESSION, letter, new_id=SequentialIds())
    assert list((home / "new").iterdir()) == list((home / "tmp").iterdir()) == []
