"""The conformance check: what the daemon would do with the files of a mailbox, changing nothing.

Behind `brainpilot-rt mailbox check DIR`, for authors of programs that write or read mailboxes. It
uses the same codec and the same rules for names as the postoffice, so the two cannot differ.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from brainpilot_rt.aiokit.files import DirHandle, list_names
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import NAME, UUID
from brainpilot_rt.mailbox.cards import CARD, read_card
from brainpilot_rt.mailbox.codec import (
    DEFAULT_LIMITS,
    BadLetter,
    LetterLimits,
    Reason,
    check_address,
    decode_foreign,
)
from brainpilot_rt.mailbox.maildir import BOXES, SUFFIX, classify
from brainpilot_rt.mailbox.untrusted import read_untrusted

_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """What would become of one file; `file` is relative to the mailbox."""

    file: str
    verdict: Literal["ok", "refused", "left_alone"]
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MailboxReport:
    """What one mailbox directory looks like to the daemon."""

    path: Path
    problems: tuple[str, ...]
    """About the directory itself: missing folders, permissions, `agent.json`."""
    files: tuple[FileVerdict, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and no file would be refused."""
        return not self.problems and all(file.verdict != "refused" for file in self.files)


def check_tree(path: Path, limits: LetterLimits = DEFAULT_LIMITS) -> list[MailboxReport]:
    """Check one mailbox, all of a session, or all under a mailbox root, whichever this folder is.

    `NotFound` when there is no mailbox in it.
    """
    path = path.resolve()
    for places in ([path], path.glob("*"), path.glob("*/*")):
        homes = [home for home in sorted(places) if _is_mailbox(home)]
        if homes:
            return [check_mailbox(home, limits) for home in homes]
    raise NotFound(f"{path} holds no mailbox: a folder with {CARD} or new/ in it")


def check_mailbox(path: Path, limits: LetterLimits = DEFAULT_LIMITS) -> MailboxReport:
    """Check the mailbox `<root>/<session>/<agent>`."""
    with DirHandle.open(path) as home:
        problems = tuple(_problems(home))
        files = tuple(verdict for box in ("new", "cur") for verdict in _files(home, box, limits))
    return MailboxReport(path, problems, files)


def _is_mailbox(path: Path) -> bool:
    if path.name.startswith(".") or path.is_symlink():
        return False
    return (path / CARD).is_file() or (path / "new").is_dir()


def _problems(home: DirHandle) -> Iterator[str]:
    agent, session = home.path.name, home.path.parent.name
    if not NAME.fullmatch(agent):
        yield f"{agent!r} is no name for an agent: {NAME.pattern}"
    if not NAME.fullmatch(session) and not UUID.fullmatch(session):
        yield f"{session!r} is no name for a session: {NAME.pattern} or a UUID"
    for folder in (".", *BOXES):
        yield from _folder(home.path / folder, folder, home.path.stat().st_dev)
    try:
        card = read_card(home)
    except FileNotFoundError:
        yield f"{CARD} is missing: nobody knows who reads this mailbox"
    except BadLetter as fault:
        yield f"{CARD}: {fault}"
    else:
        if card.name != agent:
            yield f"{CARD} names {card.name!r}, the folder is {agent!r}"


def _folder(found: Path, called: str, device: int) -> Iterator[str]:
    if found.is_symlink() or not found.is_dir():
        yield f"{called}/ is missing"
    elif stat.S_IMODE(found.stat().st_mode) & _OTHERS:
        yield f"{called}/ is open to others; it should have mode 0700"
    elif found.stat().st_dev != device:
        yield f"{called}/ is on another file system; letters can not be renamed into it"


def _files(home: DirHandle, box: str, limits: LetterLimits) -> Iterator[FileVerdict]:
    try:
        where = home.child(box)
    except (FileNotFoundError, NotADirectoryError):
        return
    with where:
        names = classify(list_names(where))
        for name in names.letters:
            yield _verdict(where, name, limits)
        for name in names.illegal:
            detail = f"the name before {SUFFIX} must match {NAME.pattern}"
            yield FileVerdict(f"{box}/{name}", "refused", Reason.ILLEGAL_NAME, detail)
        for name in names.left_alone:
            yield FileVerdict(f"{box}/{name}", "left_alone")


def _verdict(where: DirHandle, name: str, limits: LetterLimits) -> FileVerdict:
    home = where.path.parent
    file = f"{where.path.name}/{name}"
    try:
        letter = decode_foreign(read_untrusted(where, name, limits.bytes_max), limits)
        check_address(letter, home.parent.name, home.name, name.removesuffix(SUFFIX))
    except BadLetter as fault:
        return FileVerdict(file, "refused", fault.reason, fault.detail)
    except OSError as trouble:
        return FileVerdict(file, "refused", Reason.UNREADABLE, str(trouble.strerror))
    return FileVerdict(file, "ok")
