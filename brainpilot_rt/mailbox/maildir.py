"""One agent's mailbox directory: every step a letter takes on disk.

    tmp/   being written, never read          cur/   claimed by a run
    new/   delivered, unclaimed               done/  consumed
    bad/   refused, each with <name>.reason.json beside it

All steps are renames that never overwrite, so a crash between two of them leaves the letter in one
box or in the other, and repeating a step is harmless. Directories are opened afresh for each call
and relative to each other: a mailbox that somebody deleted or replaced is noticed at once
(`MailboxGone`), and an idle one holds no descriptor.

The daemon's own letters are written without fsync, because the log can redo them; a foreign writer
syncs, because for its letter there is no other copy. Everything here blocks: call it on a thread.
"""

import errno
import os
import secrets
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.files import (
    DirHandle,
    list_names,
    remove,
    rename_noreplace,
    sync_dir,
    write_new,
)
from brainpilot_rt.domain.ids import NAME, LetterId
from brainpilot_rt.domain.letters import AgentCard
from brainpilot_rt.mailbox.cards import CARD, write_card
from brainpilot_rt.mailbox.codec import BadLetter, LetterLimits
from brainpilot_rt.mailbox.untrusted import FileIdentity, identity_of, read_untrusted

Box: TypeAlias = Literal["tmp", "new", "cur", "done", "bad"]
Travelled: TypeAlias = Literal["new", "cur", "done"]
"""A box on a letter's way."""

BOXES: Final[tuple[Box, ...]] = ("tmp", "new", "cur", "done", "bad")
SUFFIX: Final = ".json"
TRAVELLED: Final[tuple[Box, ...]] = ("new", "cur", "done")
BUILDING: Final = ".building-"
"""Start of a name under the root in which a mailbox is built before it is renamed into place."""

_MOVES: Final[dict[Travelled, tuple[str, str]]] = {
    "cur": ("mail.claim.before", "mail.claim.after"),
    "done": ("mail.done.before", "mail.done.after"),
    "new": ("mail.release.before", "mail.release.after"),
}
"""Failpoints of a move into a box."""


class MailboxGone(Exception):
    """The directory, or one of its boxes, does not exist any more."""


class LetterConflict(Exception):
    """Another letter already has this id in this mailbox."""


@dataclass(slots=True)
class NewNames:
    """What lies in `new/`, by name only. `left_alone`: dotfiles and other suffixes."""

    letters: list[str] = field(default_factory=list[str])
    illegal: list[str] = field(default_factory=list[str])
    left_alone: list[str] = field(default_factory=list[str])


def classify(names: Iterable[str]) -> NewNames:
    """Sort names as the protocol treats them."""
    found = NewNames()
    for name in names:
        if name.startswith(".") or not name.endswith(SUFFIX):
            found.left_alone.append(name)
        elif NAME.fullmatch(name.removesuffix(SUFFIX)):
            found.letters.append(name)
        else:
            found.illegal.append(name)
    return found


class Mailbox:
    """The directory `<root>/<session>/<agent>`. Holds no descriptor and no state."""

    def __init__(self, path: Path, limits: LetterLimits) -> None:
        self.path = path
        self.limits = limits

    # --- the directory ------------------------------------------------------------------------

    def create(self, card: AgentCard) -> bool:
        """Make the directory appear at once and whole, or complete it; True if it lacked anything.

        `agent.json` is written when it is missing or says something else. A link or a file in the
        place of the directory or of a box is neither followed nor removed: NotADirectoryError.
        """
        root = self.path.parent.parent
        with DirHandle.open(root, create=True) as top:
            with top.child(self.path.parent.name, create=True) as session:
                if identity_of(session, self.path.name) is None:
                    building = f"{BUILDING}{secrets.token_hex(8)}"
                    top.child(building, create=True).close()
                    Mailbox(root / building, self.limits).complete(card)
                    try:
                        rename_noreplace(top, building, session, self.path.name)
                    except FileExistsError:
                        _discard(top, building)
                    else:
                        return True
            try:
                return self.complete(card)
            except MailboxGone:
                what = (errno.ENOTDIR, "something else stands here", str(self.path))
                raise NotADirectoryError(*what) from None

    def complete(self, card: AgentCard | None) -> bool:
        """Make the boxes that are missing; True if any was. With a card, write it if need be."""
        with self.opened() as home:
            missing = any(identity_of(home, box) is None for box in BOXES)
            for box in BOXES:
                home.child(box, create=True).close()
            if card is not None:
                write_card(home, card)
            return missing

    def place(
        self, letter_id: LetterId, data: bytes, into: Travelled, *, sync: bool = False
    ) -> FileIdentity | None:
        """Put a letter into a box; done already when this mailbox holds the same bytes.

        Returns which file it is now, None when another process has moved it on already. With `sync`
        it is on the disk on return. `LetterConflict` when other bytes have the id.
        """
        name = letter_id + SUFFIX
        hit("mail.place.before")
        with self.opened() as home, open_box(home, "tmp") as tmp, open_box(home, into) as box:
            # The box itself is watched over by the rename.
            others: list[Box] = [one for one in TRAVELLED if one != into]
            there = same_letter(home, name, data, self.limits.bytes_max, others, mend=True)
            if there is not None:
                return there
            try:
                write_new(tmp, name, data, sync=sync)
            except FileExistsError:  # Left by a crash; nobody else writes under this id.
                remove(tmp, name, missing_ok=True)
                write_new(tmp, name, data, sync=sync)
            hit("mail.place.half")
            try:
                rename_noreplace(tmp, name, box, name)
            except FileExistsError:
                remove(tmp, name)
                if same_letter(home, name, data, self.limits.bytes_max, mend=True) is None:
                    return self.place(letter_id, data, into, sync=sync)
            if sync:
                sync_dir(box)
            hit("mail.place.after")
            return identity_of(box, name)

    def move(
        self, letter_ids: Iterable[LetterId], *, to: Travelled, out_of: Sequence[Box]
    ) -> list[LetterId]:
        """Move letters from the first of the boxes that holds each; return those that moved.

        One that stands in `to` already counts as moved; a second file of its name stays where it
        is, for the next look to judge. One that is nowhere is left out.
        """
        before, after = _MOVES[to]
        moved: list[LetterId] = []
        with self.opened() as home, open_box(home, to) as target:
            for letter_id in letter_ids:
                name = letter_id + SUFFIX
                at: Box | None = next((box for box in out_of if _holds(home, box, name)), None)
                if _holds(home, to, name):
                    moved.append(letter_id)
                elif at is not None:
                    with open_box(home, at) as source, suppress(FileNotFoundError):
                        hit(before)
                        rename_noreplace(source, name, target, name)
                        hit(after)
                        moved.append(letter_id)
        return moved

    def find(self, letter_ids: Iterable[LetterId]) -> dict[LetterId, Box | None]:
        """Say in which box each letter stands; None: in none."""
        # The order in which letters travel, and `new` again: a letter on its way is never missed.
        order: tuple[Box, ...] = ("new", "cur", "done", "bad", "new")
        with self.opened() as home, open_box(home, "new"):
            return {
                letter_id: next(
                    (box for box in order if _holds(home, box, letter_id + SUFFIX)), None
                )
                for letter_id in letter_ids
            }

    def mend(self, letters: Mapping[LetterId, bytes]) -> None:
        """Remove what a power failure left of these letters of ours; whole ones stay."""
        with self.opened() as home:
            for letter_id, data in letters.items():
                with suppress(LetterConflict, MailboxGone):
                    same_letter(home, letter_id + SUFFIX, data, self.limits.bytes_max, mend=True)

    def list_claimed(self) -> list[LetterId]:
        """The letters that stand in `cur/`."""
        with self.opened() as home, open_box(home, "cur") as cur:
            return [LetterId(one.removesuffix(SUFFIX)) for one in classify(list_names(cur)).letters]

    # --- tidying ------------------------------------------------------------------------------

    def prune_done(self, keep_max: int, batch: int) -> int:
        """Remove up to `batch` of the oldest letters beyond `keep_max`; return how many."""
        with self.opened() as home, open_box(home, "done") as done:
            names = [name for name in list_names(done) if name.endswith(SUFFIX)]
            oldest = names[: max(0, min(len(names) - keep_max, batch))]
            for name in oldest:
                remove(done, name, missing_ok=True)
            return len(oldest)

    def sweep_tmp(self, before_ns: int) -> int:
        """Remove files in `tmp/` last written before this wall-clock time; return how many."""
        swept = 0
        with self.opened() as home, open_box(home, "tmp") as tmp:
            for name in list_names(tmp):
                found = identity_of(tmp, name)
                if found is None or found.mtime_ns >= before_ns:
                    continue
                try:
                    remove(tmp, name, missing_ok=True)
                except (IsADirectoryError, PermissionError):
                    continue  # A directory is nothing a writer of ours leaves behind.
                swept += 1
        return swept

    @contextmanager
    def opened(self) -> Generator[DirHandle]:
        """The directory; `MailboxGone` when there is none."""
        try:
            home = DirHandle.open(self.path)
        except (FileNotFoundError, NotADirectoryError):
            raise MailboxGone(str(self.path)) from None
        with home:
            yield home


@contextmanager
def open_box(home: DirHandle, box: Box) -> Generator[DirHandle]:
    """One of the boxes; `MailboxGone` when there is none."""
    try:
        where = home.child(box)
    except (FileNotFoundError, NotADirectoryError):
        raise MailboxGone(str(home.path / box)) from None
    with where:
        yield where


def same_letter(
    home: DirHandle,
    name: str,
    data: bytes,
    bytes_max: int,
    boxes: Sequence[Box] = TRAVELLED,
    *,
    mend: bool = False,
) -> FileIdentity | None:
    """Which file holds this letter; `mend`: it is ours, and a torn file of it is removed."""
    for box in boxes:
        if not _holds(home, box, name):
            continue
        with open_box(home, box) as where:
            try:
                there = read_untrusted(where, name, max(bytes_max, len(data)))
            except FileNotFoundError:
                continue
            except BadLetter as fault:
                raise LetterConflict(f"{name} in {box}/ is no file of ours: {fault}") from None
            if there == data:
                return identity_of(where, name)
            if not mend or not data.startswith(there.rstrip(b"\0")):
                raise LetterConflict(f"{name} stands in {box}/ with other content")
            remove(where, name, missing_ok=True)  # not synced when the power failed
    return None


def _holds(home: DirHandle, box: Box, name: str) -> bool:
    try:
        os.stat(f"{box}/{name}", dir_fd=home.fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _discard(top: DirHandle, building: str) -> None:
    with top.child(building) as home:
        remove(home, CARD, missing_ok=True)
        for box in BOXES:
            os.rmdir(box, dir_fd=home.fd)
    os.rmdir(building, dir_fd=top.fd)
