"""Going round: hints in milliseconds, a sweep over every mailbox every few seconds.

The watcher may lose, merge or repeat what it reports, so nothing depends on it but speed. A hint
about a file that the daemon itself placed costs one lookup. Everything else costs a listing, and a
mailbox with something in it gets a task of its own until nothing is left, so that a slow handler or
a storm in one mailbox delays no other.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from brainpilot_rt.aiokit.tasks import TaskSet
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.mailbox.addresses import Address, AddressBook, KnownLetters
from brainpilot_rt.mailbox.census import Registrar
from brainpilot_rt.mailbox.handlers import OnThread
from brainpilot_rt.mailbox.maildir import SUFFIX, MailboxGone
from brainpilot_rt.mailbox.reception import Reception
from brainpilot_rt.mailbox.watcher import Hint

_AT_ONCE: Final = 200
_HINT_PAUSE_S: Final = 0.02

_log = logging.getLogger(__name__)


class Rounds:
    """Decides which mailbox is looked at when."""

    def __init__(
        self,
        root: str,
        book: AddressBook,
        known: KnownLetters,
        reception: Reception,
        registrar: Registrar,
        tasks: TaskSet,
    ) -> None:
        self._prefix = root.rstrip("/") + "/"
        self._book = book
        self._known = known
        self._reception = reception
        self._registrar = registrar
        self._tasks = tasks
        self._serving: dict[Address, asyncio.Event] = {}
        self._due = asyncio.Event()
        self._hinted: set[SessionId] = set()
        self._all_due = False
        self._open = False

    def open(self) -> None:
        """From now on mailboxes are looked at."""
        self._open = True

    def close(self) -> None:
        """Start nothing any more; what has been started is ended by the owner of the tasks."""
        self._open = False

    def on_hint(self, hint: Hint) -> None:
        """Look where the watcher points; everywhere when it does not know."""
        if hint is None:
            self._all_due = True
            self._due.set()
            return
        for path in hint:
            self._follow(path)

    def mark(self, address: Address) -> None:
        """See to it that a mailbox is looked at, now and until nothing is left to do in it."""
        if not self._open:
            return
        serving = self._serving.get(address)
        if serving is not None:
            serving.set()
            return
        again = self._serving[address] = asyncio.Event()
        name = f"mail of {address.session}/{address.agent}"
        self._tasks.spawn(self._serve(address, again), name=name)

    async def sweep(self, on_thread: OnThread) -> list[Address]:
        """Look for newcomers and for mailboxes with something to do; return those."""
        todo = await self._registrar.register()
        addresses = list(self._book)
        for start in range(0, len(addresses), _AT_ONCE):
            some = addresses[start : start + _AT_ONCE]
            survey = await on_thread(partial(self._survey, some))
            for address, state in zip(some, survey, strict=True):
                if state == "gone":
                    await self._registrar.sign_off(address)
                elif state == "busy":
                    todo.append(address)
        return todo

    async def finish(self, addresses: Sequence[Address]) -> None:
        """Look into these mailboxes until nothing but unfinished files is left."""
        for address in addresses:
            while await self._look(address) == 0.0:
                pass

    async def go_round(self, on_thread: OnThread, rescan_s: float) -> None:
        """Sweep every `rescan_s` seconds and when the watcher lost track. Ends when cancelled."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            self._due.clear()
            hinted, self._hinted = self._hinted, set()
            try:
                if self._all_due or loop.time() >= next_s:
                    self._all_due = False
                    next_s = loop.time() + rescan_s
                    found = await self.sweep(on_thread)
                else:
                    found = await self._registrar.register(hinted)
                for address in found:
                    self.mark(address)
            except (Unavailable, OSError) as trouble:
                _log.warning("sweep of the mailboxes: %s", trouble)
            except Exception:  # noqa: BLE001 - boundary of the task; the next sweep tries again
                _log.exception("sweep of the mailboxes")
            # Changes in a directory that is no mailbox of ours must not keep the processor busy.
            await asyncio.sleep(_HINT_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._due.wait()

    async def _serve(self, address: Address, again: asyncio.Event) -> None:
        try:
            while True:
                again.clear()
                pause_s = await self._look(address)
                if pause_s is None and not again.is_set():
                    return
                if pause_s:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause_s):
                            await again.wait()
        finally:
            del self._serving[address]

    async def _look(self, address: Address) -> float | None:
        if self._book.get(address.session, address.agent) is not address:
            return None
        try:
            again_s = await self._reception.look(address)
        except OSError as trouble:
            _complain(address, trouble)
        except Exception:  # noqa: BLE001 - boundary of the mailbox's task; the sweep tries again
            _log.exception("mail of %s/%s", address.session, address.agent)
        else:
            address.trouble = ""
            return again_s
        return None

    def _survey(self, addresses: Sequence[Address]) -> list[str]:
        return [self._state_of(address) for address in addresses]

    def _state_of(self, address: Address) -> str:
        try:
            return "busy" if self._reception.needs_look(address) else "idle"
        except MailboxGone:
            return "gone" if address.external and not address.box.path.is_dir() else "busy"
        except OSError as trouble:
            _complain(address, trouble)
            return "idle"

    def _follow(self, path: str) -> None:
        session, _, rest = path.removeprefix(self._prefix).partition("/")
        agents = self._book.sessions.get(SessionId(session))
        if agents is None:
            return
        agent, _, inside = rest.partition("/")
        address = self._book.get(session, agent)
        if address is None:
            self._hinted.add(SessionId(session))
            self._due.set()
        elif _concerns(address, inside, self._known):
            self.mark(address)


def _complain(address: Address, trouble: OSError) -> None:
    """Say once what is wrong with a mailbox; it is looked at again with every sweep."""
    if str(trouble) != address.trouble:
        address.trouble = str(trouble)
        _log.warning("mailbox %s can not be used: %s", address.box.path, trouble)


def _concerns(address: Address, inside: str, known: KnownLetters) -> bool:
    """Whether a change of this path in a mailbox may be anything new."""
    box, _, name = inside.partition("/")
    stem = name.removesuffix(SUFFIX)
    if address.external:
        return stem in address.placed
    if not name:
        return box in {"", "new"}
    return box == "new" and stem not in known
