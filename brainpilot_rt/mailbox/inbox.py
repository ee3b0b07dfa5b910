"""`new/` of a managed agent, as its reader: files that anyone may have put there.

What is judged is what was opened, never what a name said before; what is refused is kept as it is,
in `bad/`, with the reason beside it. Everything here blocks: call it on a thread.
"""

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.files import list_names, remove, rename_noreplace, sync_dir, write_new
from brainpilot_rt.domain.ids import LetterId
from brainpilot_rt.mailbox.codec import BadLetter
from brainpilot_rt.mailbox.maildir import (
    SUFFIX,
    Mailbox,
    MailboxGone,
    NewNames,
    classify,
    open_box,
    same_letter,
)
from brainpilot_rt.mailbox.untrusted import FileIdentity, identity_of, read_untrusted

_KEPT_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}")


class Inbox:
    """What a mailbox's reader does with the files in `new/`. Holds no state."""

    def __init__(self, box: Mailbox) -> None:
        self._box = box

    def list_new(self) -> NewNames:
        """The names in `new/`, classified; `MailboxGone` also without `tmp/`: none could write."""
        with self._box.opened() as home, open_box(home, "new") as new:
            if identity_of(home, "tmp") is None:
                raise MailboxGone(str(home.path / "tmp"))
            return classify(list_names(new))

    def identities(self, names: Iterable[str]) -> dict[str, FileIdentity]:
        """Which file stands in `new/` under each name; names that are gone are left out."""
        with self._box.opened() as home, open_box(home, "new") as new:
            found = ((name, identity_of(new, name)) for name in names)
            return {name: identity for name, identity in found if identity is not None}

    def read_new(self, name: str) -> bytes | None:
        """Read a file in `new/` without trusting it; None when gone, `BadLetter` if unsafe."""
        with self._box.opened() as home, open_box(home, "new") as new:
            try:
                return read_untrusted(new, name, self._box.limits.bytes_max)
            except FileNotFoundError:
                return None

    def settled_copy(self, name: str, data: bytes) -> bool:
        """Whether this letter was claimed or consumed; `LetterConflict` if another of the name."""
        with self._box.opened() as home:
            return (
                same_letter(home, name, data, self._box.limits.bytes_max, ("cur", "done"))
                is not None
            )

    def drop_copy(self, name: str) -> None:
        """Remove a file in `new/` whose bytes stand in `cur/` or `done/` as well."""
        with self._box.opened() as home, open_box(home, "new") as new:
            remove(new, name, missing_ok=True)

    def adopt(self, name: str, letter_id: LetterId) -> None:
        """Give a legal foreign name in `new/` its letter id; for good after `sync_names`."""
        with self._box.opened() as home, open_box(home, "new") as new:
            hit("mail.adopt.before")
            rename_noreplace(new, name, new, letter_id + SUFFIX)
            hit("mail.adopt.after")

    def sync_names(self) -> None:
        """Put the names in `new/` on the disk: under its old one a letter would be another letter.

        For many files at once; each of a storm of them by itself would take a disk's write.
        """
        with self._box.opened() as home, open_box(home, "new") as new:
            sync_dir(new)

    def finish_link(self, name: str) -> bool:
        """Complete a delivery by link that was cut: remove its other name in `tmp/`, if any."""
        with self._box.opened() as home, open_box(home, "new") as new, open_box(home, "tmp") as tmp:
            here, there = identity_of(new, name), identity_of(tmp, name)
            if here is None or here != there:
                return False
            remove(tmp, name, missing_ok=True)
            return True

    def bury(self, name: str, fault: BadLetter, *, at: str, called: str, spare: str) -> str | None:
        """Move a file, link or directory from `new/` to `bad/` as it is, the reason beside it.

        `at`: ISO 8601 time. `called`: the name its writer gave it, under which it is kept if that
        is harmless, else as `spare`. Returns the name in `bad/`, None when the file is gone.
        """
        shown = os.fsencode(called).decode("utf-8", "backslashreplace")
        said = {"file": shown, "reason": fault.reason.value, "detail": fault.detail, "at": at}
        reason = json.dumps(said).encode() + b"\n"
        kept = called.removesuffix(SUFFIX) if _KEPT_NAME.fullmatch(called) else spare
        with self._box.opened() as home, open_box(home, "new") as new, open_box(home, "bad") as bad:
            if identity_of(new, name) is None:
                return None
            for stem in _variants(kept):
                target = stem + SUFFIX
                if identity_of(bad, target) is not None:
                    continue
                # Reason first: a refused file never lies there without one. What stands under the
                # name of the reason is what a crash left of one.
                hit("mail.bad.before")
                try:
                    remove(bad, target + ".reason.json", missing_ok=True)
                except IsADirectoryError:
                    continue
                write_new(bad, target + ".reason.json", reason, sync=False)
                try:
                    hit("mail.bad.half")
                    rename_noreplace(new, name, bad, target)
                except OSError as error:
                    remove(bad, target + ".reason.json", missing_ok=True)
                    if isinstance(error, FileNotFoundError):
                        return None
                    raise
                hit("mail.bad.after")
                return target
        return None


def _variants(stem: str) -> Iterator[str]:
    yield stem
    for number in range(2, 1000):
        yield f"{stem}-{number}"
    yield f"{stem}-{secrets.token_hex(8)}"
