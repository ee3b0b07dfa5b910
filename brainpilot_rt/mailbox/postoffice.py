"""The postoffice: every mailbox under one root, and the one place that notices foreign files.

The daemon's own letters are placed, claimed, released and acknowledged here by id; each call is one
step on a thread, and safe to repeat. Files of other processes are found by the watcher's hints, and
by a regular sweep whatever the watcher says (`Rounds`); what lies in a mailbox is judged
(`Reception`), external agents join and leave (`Registrar`); the owner decides and commits through
its `MailHandlers`. No handler may call `start`, `scan` or `stop`: it would wait for itself.

A mailbox in which nothing happens owns no task, no timer and no descriptor.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal

from brainpilot_rt.aiokit.sources import Clock, NewId
from brainpilot_rt.aiokit.tasks import OnCrash, TaskSet
from brainpilot_rt.domain.ids import AgentName, LetterId, SessionId
from brainpilot_rt.domain.letters import AgentCard, Letter
from brainpilot_rt.mailbox.addresses import Address, AddressBook, KnownLetters
from brainpilot_rt.mailbox.census import Registrar
from brainpilot_rt.mailbox.codec import BadLetter, encode
from brainpilot_rt.mailbox.handlers import MailHandlers, PostPolicy, Result
from brainpilot_rt.mailbox.maildir import Box, LetterConflict, Mailbox, MailboxGone, Travelled
from brainpilot_rt.mailbox.reception import Reception
from brainpilot_rt.mailbox.rounds import Rounds
from brainpilot_rt.mailbox.tidying import prune_full, throw_away, tidy_for_ever
from brainpilot_rt.mailbox.untrusted import FileIdentity
from brainpilot_rt.mailbox.watcher import Watcher

_THREADS: Final = 2
_STOP_S: Final = 5.0

_log = logging.getLogger(__name__)


class _Threads:
    """The postoffice's own threads: letters and tools never queue behind each other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mail")

    async def __call__(self, call: Callable[[], Result], /) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class PostOffice:
    """All mailboxes under one root. `start` it, and `stop` it when done."""

    def __init__(
        self,
        root: Path,
        handlers: MailHandlers,
        *,
        watcher: Watcher,
        sources: tuple[Clock, NewId],
        policy: PostPolicy,
        on_crash: OnCrash,
    ) -> None:
        self.root = root.resolve()
        self.watcher = watcher
        self._policy = policy
        self._clock, self._new_id = sources
        self._on_thread = _Threads()
        self._tasks = TaskSet(on_crash=on_crash)
        self._known = KnownLetters()
        self._book = AddressBook()
        self._registrar = Registrar(
            self.root, self._book, handlers, self._on_thread, policy.letters
        )
        self._reception = Reception(handlers, self._on_thread, self._known, sources, policy)
        self._rounds = Rounds(
            str(self.root), self._book, self._known, self._reception, self._registrar, self._tasks
        )

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Arm the watcher, then look into every mailbox that is open; return when that is done."""
        await self._on_thread(partial(self.root.mkdir, 0o700, parents=True, exist_ok=True))
        self._rounds.open()
        watching = self.watcher.watch(self.root, self._rounds.on_hint)
        self._tasks.spawn(watching, name="mailbox watcher", endless=True)
        await self.scan()
        rounds = self._rounds.go_round(self._on_thread, self._policy.rescan_s)
        self._tasks.spawn(rounds, name="mailbox rounds", endless=True)
        tidying = tidy_for_ever(self.root, self._book, self._on_thread, self._clock, self._policy)
        self._tasks.spawn(tidying, name="mailbox tidying", endless=True)

    async def scan(self) -> None:
        """Offer everything that lies in the open mailboxes; return when it has been answered."""
        await self._rounds.finish(await self._rounds.sweep(self._on_thread))

    async def stop(self) -> None:
        """End all tasks and threads. What was not offered stays where it is."""
        self._rounds.close()
        await self._tasks.close(_STOP_S)
        self._on_thread.close()

    # --- the address book -----------------------------------------------------------------------

    def open_session(self, session: SessionId) -> None:
        """From now on external agents may join this session."""
        if session not in self._book.sessions:
            self._book.sessions[session] = {}
            self._registrar.unknown_sessions.discard(session)
            self._rounds.on_hint({f"{self.root}/{session}/"})

    def open_agent(self, session: SessionId, card: AgentCard) -> None:
        """Serve this agent's mailbox; a managed agent's directory is made if it is missing.

        Repeating it is harmless. Before `start` nothing is made or looked at. `card.name` must be a
        legal name.
        """
        agent = AgentName(card.name)
        address = self._book.get(session, agent)
        if address is not None and address.card.kind == card.kind:
            address.card = card
            return
        box = Mailbox(self.root / session / agent, self._policy.letters)
        address = Address(session, agent, card, box)
        self._book.add(address)
        if not address.external:
            self._rounds.mark(address)

    def close_agent(self, session: SessionId, agent: AgentName) -> None:
        """Serve this mailbox no longer; its files stay."""
        self._book.drop(session, agent)

    async def close_session(self, session: SessionId, *, delete: bool = False) -> None:
        """Serve none of its mailboxes any longer; with `delete`, remove them with all letters."""
        for address in self._book.sessions.pop(session, {}).values():
            async with address.lock:  # a look under way would make the directory anew
                pass
        if delete:
            await self._on_thread(partial(throw_away, self.root, session, self._new_id()))

    @property
    def unknown_sessions(self) -> frozenset[str]:
        """Directories under the root with the name of a session that nobody opened."""
        return frozenset(self._registrar.unknown_sessions)

    # --- letters --------------------------------------------------------------------------------

    async def place(self, letter: Letter, into: Travelled = "new", *, sync: bool = False) -> None:
        """Put a letter into its recipient's mailbox; done already if it is there, in whatever box.

        A managed agent's missing mailbox is made. `MailboxGone` when an external agent left or the
        recipient has no open mailbox; `LetterConflict` when the id stands for other content.
        """
        address = self._book.of(letter.session, letter.to)
        data = encode(letter)
        if not address.external:
            # Before the file is there: its echo must not be taken for a foreign letter.
            self._known.add(letter.id, None)
        identity = await self._in_box(
            address, partial(address.box.place, letter.id, data, into, sync=sync)
        )
        if address.external:
            address.placed.setdefault(letter.id, "queued")
            self._rounds.mark(address)
        else:
            self._known.add(letter.id, identity)

    async def place_all(self, letters: Iterable[tuple[Letter, Travelled]]) -> list[Letter]:
        """Put many letters where they belong in one step; return those that need `place`.

        These are letters to external agents, and all with which anything is the matter.
        """
        left: list[Letter] = []
        steps: list[tuple[Address, Letter, Travelled]] = []
        for letter, into in letters:
            address = self._book.get(letter.session, letter.to)
            if address is None or address.external:
                left.append(letter)
            else:
                self._known.add(letter.id, None)  # before the file is there, as in `place`
                steps.append((address, letter, into))
        if not steps:
            return left
        placed = await self._on_thread(partial(_place_each, steps))
        for (address, letter, into), (well, identity) in zip(steps, placed, strict=True):
            if well:
                self._known.add(letter.id, identity)
                address.moved += into == "done"
            else:
                left.append(letter)
        await prune_full([address for address, _, _ in steps], self._on_thread, self._policy)
        return left

    def expect(
        self,
        session: SessionId,
        agent: AgentName,
        letters: dict[LetterId, Literal["queued", "claimed"]],
    ) -> None:
        """After a restart: letters placed with an external agent and not consumed yet."""
        address = self._book.of(session, agent)
        address.placed = {**letters, **address.placed}
        self._rounds.mark(address)

    async def claim(
        self, session: SessionId, agent: AgentName, letter_ids: Iterable[LetterId]
    ) -> list[LetterId]:
        """Move letters from `new/` to `cur/`; return those that stand in `cur/`."""
        return await self._move(session, agent, letter_ids, "cur", ("new",))

    async def release(
        self, session: SessionId, agent: AgentName, letter_ids: Iterable[LetterId]
    ) -> list[LetterId]:
        """Move letters back from `cur/` to `new/`; return those that stand in `new/`."""
        return await self._move(session, agent, letter_ids, "new", ("cur",))

    async def ack(
        self, session: SessionId, agent: AgentName, letter_ids: Iterable[LetterId]
    ) -> list[LetterId]:
        """Move consumed letters to `done/`; return those that stand there."""
        done = await self._move(session, agent, letter_ids, "done", ("cur", "new"))
        address = self._book.of(session, agent)
        address.moved += len(done)
        await prune_full([address], self._on_thread, self._policy)
        return done

    async def ack_all(self, consumed: Mapping[tuple[SessionId, AgentName], list[LetterId]]) -> None:
        """`ack` in many mailboxes in one step; where it can not be done, by itself."""
        known = [(self._book.get(*where), ids) for where, ids in consumed.items()]
        steps = [(address, ids) for address, ids in known if address is not None]
        moved = await self._on_thread(partial(_consume_each, steps))
        for (address, ids), count in zip(steps, moved, strict=True):
            if count is None:
                with suppress(MailboxGone):  # closed since, or an external agent has left
                    await self.ack(address.session, address.agent, ids)
            else:
                address.moved += count
        await prune_full([address for address, _ in steps], self._on_thread, self._policy)

    async def find(
        self, session: SessionId, agent: AgentName, letters: Iterable[Letter]
    ) -> dict[LetterId, Box | None]:
        """Say in which box each of our letters stands; a torn file is removed and does not count.

        `MailboxGone` when there is no mailbox.
        """
        box, ours = self._book.of(session, agent).box, list(letters)

        def look() -> dict[LetterId, Box | None]:
            box.mend({one.id: encode(one) for one in ours})
            return box.find(one.id for one in ours)

        return await self._on_thread(look)

    async def claimed(self, session: SessionId, agent: AgentName) -> list[LetterId]:
        """The letters whose files stand in `cur/`. `MailboxGone` when there is no mailbox."""
        return await self._on_thread(self._book.of(session, agent).box.list_claimed)

    async def _move(
        self,
        session: SessionId,
        agent: AgentName,
        letter_ids: Iterable[LetterId],
        to: Travelled,
        out_of: tuple[Box, ...],
    ) -> list[LetterId]:
        """Move what can be moved; the log already says what the files only follow."""
        address = self._book.of(session, agent)
        try:
            return await self._in_box(
                address, partial(address.box.move, list(letter_ids), to=to, out_of=out_of)
            )
        except OSError as trouble:
            _log.warning("letters of %s/%s stay where they are: %s", session, agent, trouble)
            return []

    async def _in_box(self, address: Address, call: Callable[[], Result]) -> Result:
        """Work in a mailbox; a managed agent's is made first when it is not there."""
        try:
            return await self._on_thread(call)
        except MailboxGone:
            if address.external:
                raise
            await self._reception.restore(address)
            self._rounds.mark(address)
            return await self._on_thread(call)


def _place_each(
    steps: Sequence[tuple[Address, Letter, Travelled]],
) -> list[tuple[bool, FileIdentity | None]]:
    """Whether each went well, and which file it is then. Blocks."""
    placed: list[tuple[bool, FileIdentity | None]] = []
    for address, letter, into in steps:
        try:
            placed.append((True, address.box.place(letter.id, encode(letter), into)))
        except (MailboxGone, LetterConflict, BadLetter, OSError):
            placed.append((False, None))
    return placed


def _consume_each(boxes: Sequence[tuple[Address, list[LetterId]]]) -> list[int | None]:
    """How many letters of each mailbox stand in `done/` now; None where it failed. Blocks."""
    moved: list[int | None] = []
    for address, ids in boxes:
        try:
            moved.append(len(address.box.move(ids, to="done", out_of=("cur", "new"))))
        except (MailboxGone, OSError):
            moved.append(None)
    return moved
