"""Removing what nobody needs: old letters in `done/`, abandoned files, deleted sessions.

At leisure and in small batches: a bulk removal slows down every later creation in the same place of
some file systems. The mailboxes of external agents are theirs to tidy.
"""

import asyncio
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit.files import DirHandle, list_names
from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.mailbox.addresses import Address, AddressBook
from brainpilot_rt.mailbox.handlers import OnThread, PostPolicy
from brainpilot_rt.mailbox.maildir import BUILDING, MailboxGone
from brainpilot_rt.mailbox.untrusted import identity_of

TRASH: Final = ".trash-"
"""Start of a name under the root under which a deleted session waits to be removed."""
PRUNE_BATCH: Final = 256
"""Letters removed from one `done/` in one go, and consumed letters between two prunings."""

_PAUSE_S: Final = 3600.0


async def tidy_for_ever(
    root: Path, book: AddressBook, on_thread: OnThread, clock: Clock, policy: PostPolicy
) -> None:
    """Tidy every mailbox of ours now and once an hour."""
    while True:
        before_ns = int((clock.now().timestamp() - policy.tmp_age_s) * 1e9)
        await on_thread(partial(sweep_leftovers, root, before_ns))
        for address in book:
            if address.external or not address.made:
                continue
            while await prune(address, on_thread, policy.done_max) == PRUNE_BATCH:
                pass
            with suppress(MailboxGone, OSError):
                await on_thread(partial(address.box.sweep_tmp, before_ns))
        await asyncio.sleep(_PAUSE_S)


async def prune(address: Address, on_thread: OnThread, done_max: int) -> int:
    """Remove up to `PRUNE_BATCH` of the oldest consumed letters beyond `done_max`."""
    address.moved = 0
    with suppress(MailboxGone, OSError):  # Nothing depends on it, and it is tried again.
        return await on_thread(partial(address.box.prune_done, done_max, PRUNE_BATCH))
    return 0


async def prune_full(addresses: Iterable[Address], on_thread: OnThread, policy: PostPolicy) -> None:
    """Prune those into whose `done/` enough letters have gone since the last time."""
    for address in addresses:
        if address.moved >= PRUNE_BATCH:
            await prune(address, on_thread, policy.done_max)


def sweep_leftovers(root: Path, before_ns: int) -> int:
    """Remove half-built and deleted directories last changed before this time; return how many."""
    swept = 0
    with suppress(OSError), DirHandle.open(root) as top:
        for name in list_names(top):
            if not name.startswith((BUILDING, TRASH)):
                continue
            found = identity_of(top, name)
            if found is not None and (name.startswith(TRASH) or found.mtime_ns < before_ns):
                shutil.rmtree(name, ignore_errors=True, dir_fd=top.fd)
                swept += 1
    return swept


def throw_away(root: Path, session: SessionId, token: str) -> None:
    """Remove a session's whole directory: out of sight in one step, then for good."""
    trash = TRASH + token
    with suppress(FileNotFoundError), DirHandle.open(root) as top:
        os.rename(session, trash, src_dir_fd=top.fd, dst_dir_fd=top.fd)
        shutil.rmtree(trash, ignore_errors=True, dir_fd=top.fd)
