"""Serving one mailbox: judge what lies in it, offer the letters, put the rest aside.

A managed agent's `new/` is read here. Every file in it is the daemon's own (known by name, left
alone), a letter of another process (offered), or neither (moved to `bad/` with the reason). What
looks unfinished is given time first: a writer that skips `tmp/` may still be at work on it.

An external agent's mailbox belongs to its process and is never read. Only the whereabouts of the
letters the daemon placed there are looked at: in `cur/` is claimed, in `done/` or gone is consumed.

Disk work runs on the postoffice's threads, a bounded batch at a time, so that a storm in one
mailbox delays nobody else. Offers run on the loop, in the order in which the files were written.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.domain.errors import Busy, CommandRejected, Conflict, Unavailable
from brainpilot_rt.domain.ids import ULID, LetterId
from brainpilot_rt.mailbox.addresses import Address, KnownLetters, Unfinished
from brainpilot_rt.mailbox.codec import (
    PERHAPS_UNFINISHED,
    BadLetter,
    Reason,
    check_address,
    decode_foreign,
)
from brainpilot_rt.mailbox.handlers import (
    FoundLetter,
    MailHandlers,
    OnThread,
    PostPolicy,
    Receipt,
)
from brainpilot_rt.mailbox.inbox import Inbox
from brainpilot_rt.mailbox.maildir import SUFFIX, LetterConflict, MailboxGone
from brainpilot_rt.mailbox.untrusted import FileIdentity

_LOOKS_MIN: Final = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Judged:
    name: str
    identity: FileIdentity
    verdict: FoundLetter | BadLetter


class Reception:
    """Looks into mailboxes, one at a time per `Address`; holds nothing about any of them."""

    def __init__(
        self,
        handlers: MailHandlers,
        on_thread: OnThread,
        known: KnownLetters,
        sources: tuple[Clock, NewId],
        policy: PostPolicy,
    ) -> None:
        self._handlers = handlers
        self._on_thread = on_thread
        self._known = known
        self._clock, self._new_id = sources
        self._policy = policy
        # Two who find the same mailbox missing must not both report it.
        self._making = asyncio.Lock()

    def needs_look(self, address: Address) -> bool:
        """Whether there is anything to do; blocking. `MailboxGone` when there is no mailbox."""
        if address.external:
            # A copy, made in one step: the loop goes on placing letters meanwhile.
            return bool(address.box.find(list(address.placed)))
        illegal, fresh = self._fresh(address.inbox)
        address.made = True
        return bool(illegal or fresh)

    async def look(self, address: Address) -> float | None:
        """Serve one mailbox; None when nothing is left, else seconds after which to look again."""
        async with address.lock:
            try:
                if address.external:
                    return await self._read_receipts(address)
                return await self._take_in(address)
            except MailboxGone:
                if address.external:
                    return None  # Its process owns the directory; the census says if it left.
                await self.restore(address)
                return 0.0
            except Unavailable as trouble:
                _log.warning("%s/%s waits: %s", address.session, address.agent, trouble.message)
                return None

    async def restore(self, address: Address) -> None:
        """Make a managed agent's mailbox; its owner is told by the next look if it was lost."""
        async with self._making:
            # As of now: a sweep that passes meanwhile finds it, and then it counts as made.
            there_before = address.made
            changed = await self._on_thread(partial(address.box.create, address.card))
        address.lost = address.lost or (there_before and changed)
        address.made = True

    # --- managed agents -------------------------------------------------------------------------

    async def _take_in(self, address: Address) -> float | None:
        if not address.made:
            await self.restore(address)
        if address.lost:
            _log.warning("mailbox %s was lost and is made anew", address.box.path)
            await self._handlers.on_rebuilt(address.session, address.agent)
            address.lost = False
        illegal, fresh = await self._on_thread(partial(self._fresh, address.inbox))
        for name in illegal:
            detail = "letter files are named <name>.json, the name in a-z, 0-9 and hyphens"
            await self._refuse(address, name, name, BadLetter(Reason.ILLEGAL_NAME, detail))
        address.unfinished = {
            name: address.unfinished[name] for name, _ in fresh if name in address.unfinished
        }
        again_s = await self._offer_all(address, fresh)
        if address.unfinished:
            pause_s = self._policy.unfinished_grace_s / (_LOOKS_MIN - 1)
            again_s = min(again_s or pause_s, pause_s)
        return again_s

    async def _offer_all(
        self, address: Address, fresh: Sequence[tuple[str, FileIdentity]]
    ) -> float | None:
        """Offer files in their order; seconds after which to offer again what did not fit.

        Once the mailbox is full, what was turned away before is not even read, and the rest is read
        only to find answers: those always fit.
        """
        turned_away, address.waiting = address.waiting, {}
        again_s: float | None = None
        for start in range(0, len(fresh), self._policy.batch):
            batch: list[tuple[str, FileIdentity]] = []
            for name, identity in fresh[start : start + self._policy.batch]:
                if again_s is not None and turned_away.get(name) == identity:
                    address.waiting[name] = identity
                else:
                    batch.append((name, identity))
            for judged in await self._on_thread(partial(self._judge_all, address, batch)):
                pause_s = again_s
                if again_s is None or not _is_plain(judged):
                    pause_s = await self._settle(address, judged)
                if pause_s is not None:
                    again_s = pause_s
                    address.waiting[_now_named(judged)] = judged.identity
        return again_s

    def _fresh(self, box: Inbox) -> tuple[list[str], list[tuple[str, FileIdentity]]]:
        """Illegal names, and the letter files nobody knows, in the order they were written."""
        names = box.list_new()
        if not names.letters:
            return names.illegal, []
        found = box.identities(names.letters)
        fresh = [
            (name, identity)
            for name, identity in found.items()
            if not self._known.is_same(name.removesuffix(SUFFIX), identity)
        ]
        return names.illegal, sorted(fresh, key=lambda one: (one[1].mtime_ns, one[0]))

    def _judge_all(
        self, address: Address, batch: Sequence[tuple[str, FileIdentity]]
    ) -> list[_Judged]:
        judged: list[_Judged] = []
        for name, identity in batch:
            try:
                verdict = self._judge(address, name)
            except BadLetter as fault:
                verdict = fault
            except LetterConflict as clash:
                verdict = BadLetter(Reason.CONFLICT, str(clash))
            except OSError as trouble:
                _log.warning("cannot read %s in %s: %s", ascii(name), address.box.path, trouble)
                continue
            if verdict is not None:
                judged.append(_Judged(name, identity, verdict))
        if any(_now_named(one) != one.name for one in judged):
            address.inbox.sync_names()
        return judged

    def _judge(self, address: Address, name: str) -> FoundLetter | None:
        """Read one file; None when nothing is left of it to do."""
        box, stem = address.inbox, name.removesuffix(SUFFIX)
        data = box.read_new(name)
        if data is None:
            return None
        hit("mail.read.after")
        letter = decode_foreign(data, self._policy.letters)
        check_address(letter, address.session, address.agent, stem)
        if not ULID.fullmatch(stem):
            letter_id = LetterId(self._new_id())
            box.adopt(name, letter_id)
        elif box.settled_copy(name, data):
            box.drop_copy(name)
            return None
        else:
            letter_id = LetterId(stem)
        return FoundLetter(letter=letter, letter_id=letter_id, file=name)

    async def _settle(self, address: Address, judged: _Judged) -> float | None:
        """Act on one verdict; seconds after which to look again, if that is needed."""
        if isinstance(judged.verdict, BadLetter):
            fault = judged.verdict
            if fault.reason not in PERHAPS_UNFINISHED or await self._has_given_up(address, judged):
                await self._refuse(address, judged.name, judged.name, fault)
            return None
        address.unfinished.pop(judged.name, None)
        return await self._offer(address, judged.verdict, judged.identity)

    async def _offer(
        self, address: Address, found: FoundLetter, identity: FileIdentity
    ) -> float | None:
        now_named = found.letter_id + SUFFIX
        hit("mail.accept.before")
        try:
            waits = await self._handlers.on_letter(address.session, address.agent, found)
        except Busy as busy:
            return busy.retry_after_s
        except CommandRejected as rejected:
            reason = Reason.CONFLICT if isinstance(rejected, Conflict) else Reason.REJECTED
            await self._refuse(address, now_named, found.file, BadLetter(reason, rejected.message))
            return None
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - one letter must not hold up the others; tried again
            _log.exception("letter %s for %s/%s", found.letter_id, address.session, address.agent)
            return None
        hit("mail.accept.after")
        if waits:
            self._known.add(found.letter_id, identity)
        else:
            move = partial(address.box.move, [found.letter_id], to="done", out_of=("new",))
            await self._on_thread(move)
        return None

    async def _has_given_up(self, address: Address, judged: _Judged) -> bool:
        """Whether a file that looks unfinished has looked so long enough to be refused."""
        now = asyncio.get_running_loop().time()
        seen = address.unfinished.get(judged.name)
        if seen is None or seen.identity != judged.identity:
            address.unfinished[judged.name] = Unfinished(now, judged.identity)
            return False
        seen.looks += 1
        if seen.looks < _LOOKS_MIN or now - seen.since < self._policy.unfinished_grace_s:
            return False
        del address.unfinished[judged.name]
        assert isinstance(judged.verdict, BadLetter)
        if judged.verdict.reason is not Reason.HARD_LINK:
            return True
        return not await self._on_thread(partial(address.inbox.finish_link, judged.name))

    async def _refuse(self, address: Address, name: str, called: str, fault: BadLetter) -> None:
        now = self._clock.now().isoformat()
        bury = partial(address.inbox.bury, name, fault, at=now, called=called, spare=self._new_id())
        try:
            kept = await self._on_thread(bury)
        except OSError as trouble:
            if name not in address.stuck:
                address.stuck.add(name)
                _log.warning("cannot refuse %s in %s: %s", ascii(name), address.box.path, trouble)
            return
        address.stuck.discard(name)
        if kept is None:
            return
        try:
            await self._handlers.on_refused(
                address.session, address.agent, kept, fault.reason, fault.detail
            )
        except CommandRejected as rejected:
            _log.warning("%s/%s: %s", address.session, address.agent, rejected.message)

    # --- external agents ------------------------------------------------------------------------

    async def _read_receipts(self, address: Address) -> None:
        places = await self._on_thread(partial(address.box.find, list(address.placed)))
        for letter_id, box in places.items():
            if box == "new" or (box == "cur" and address.placed.get(letter_id) == "claimed"):
                continue
            receipt: Receipt = "claimed" if box == "cur" else "consumed"
            try:
                await self._handlers.on_external_receipt(
                    address.session, address.agent, letter_id, receipt
                )
            except CommandRejected as rejected:
                _log.warning("receipt of %s: %s", letter_id, rejected.message)
            if receipt == "claimed":
                address.placed[letter_id] = "claimed"
            else:
                address.placed.pop(letter_id, None)


def _is_plain(judged: _Judged) -> bool:
    """Whether this is a letter that answers nothing: new work, which a full mailbox refuses."""
    found = judged.verdict
    return isinstance(found, FoundLetter) and not (found.letter.task_id or found.letter.reply_to)


def _now_named(judged: _Judged) -> str:
    found = judged.verdict
    return found.letter_id + SUFFIX if isinstance(found, FoundLetter) else judged.name
