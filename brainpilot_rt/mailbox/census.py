"""Who has a mailbox under the root: external agents that come and go, sessions nobody opened.

An external agent joins by creating its directory with an `agent.json` and leaves by removing it.
Whether it may join is decided by the owner of the postoffice; a refused one is left alone until its
`agent.json` changes.
"""

import asyncio
import logging
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from brainpilot_rt.aiokit.files import DirHandle, list_names
from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.ids import NAME, UUID, AgentName, SessionId
from brainpilot_rt.domain.letters import AgentCard
from brainpilot_rt.mailbox.addresses import Address, AddressBook
from brainpilot_rt.mailbox.cards import CARD, read_card
from brainpilot_rt.mailbox.codec import BadLetter, LetterLimits, Reason
from brainpilot_rt.mailbox.handlers import MailHandlers, OnThread
from brainpilot_rt.mailbox.maildir import Mailbox, MailboxGone
from brainpilot_rt.mailbox.untrusted import FileIdentity, identity_of

_log = logging.getLogger(__name__)

Key: TypeAlias = tuple[SessionId, AgentName]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A directory of no known agent, with what its `agent.json` says or why it says nothing."""

    key: Key
    card: AgentCard | BadLetter
    card_file: FileIdentity


@dataclass(slots=True)
class Census:
    """What was found in one pass."""

    newcomers: list[Newcomer] = field(default_factory=list[Newcomer])
    unknown_sessions: set[str] = field(default_factory=set[str])


class Registrar:
    """Lets external agents join and leave the address book."""

    def __init__(
        self,
        root: Path,
        book: AddressBook,
        handlers: MailHandlers,
        on_thread: OnThread,
        limits: LetterLimits,
    ) -> None:
        self.unknown_sessions: set[str] = set()
        """Directories with the name of a session that nobody opened."""
        self._root = root
        self._book = book
        self._handlers = handlers
        self._on_thread = on_thread
        self._limits = limits
        self._refused: dict[Key, FileIdentity] = {}
        self._registering = asyncio.Lock()

    async def register(self, sessions: Set[SessionId] | None = None) -> list[Address]:
        """Look for newcomers in these sessions, or in all; return the addresses opened."""
        # One at a time, or a newcomer that two passes see would be asked about twice.
        async with self._registering:
            return await self._register(sessions)

    async def sign_off(self, address: Address) -> None:
        """An external agent's directory is gone: say so, and close its address."""
        async with self._registering:
            if self._book.get(address.session, address.agent) is address:
                await self._handlers.on_agent_gone(address.session, address.agent)
                self._book.drop(address.session, address.agent)

    async def _register(self, sessions: Set[SessionId] | None) -> list[Address]:
        book = self._book.sessions
        known = {
            session: frozenset(book[session])
            for session in (book if sessions is None else sessions)
            if session in book
        }
        census = await self._on_thread(
            partial(take_census, self._root, known, self._refused, complete=sessions is None)
        )
        if sessions is None:
            unknown = census.unknown_sessions - self._book.sessions.keys()
            for name in sorted(unknown - self.unknown_sessions):
                await self._handlers.on_unknown_session(name)
            self.unknown_sessions = unknown
        joined = [await self._judge(newcomer) for newcomer in census.newcomers]
        return [address for address in joined if address is not None]

    async def _judge(self, newcomer: Newcomer) -> Address | None:
        session, agent = newcomer.key
        if session not in self._book.sessions or self._book.get(session, agent) is not None:
            return None  # Closed, or opened by the owner, since the census.
        try:
            card = _acceptable(newcomer)
            if card is None:
                return None
            await self._handlers.on_agent_dir(session, agent, card)
        except (BadLetter, CommandRejected) as refused:
            self._refused[newcomer.key] = newcomer.card_file
            _log.warning("%s/%s may not join: %s", session, agent, refused)
            return None
        self._refused.pop(newcomer.key, None)
        # The owner may have opened it itself when it admitted the agent.
        address = self._book.get(session, agent)
        if address is None:
            box = Mailbox(self._root / session / agent, self._limits)
            address = Address(session, agent, card, box)
            self._book.add(address)
        with suppress(MailboxGone):  # Gone again already; the next sweep says so.
            await self._on_thread(partial(address.box.complete, None))
        return address


def _acceptable(newcomer: Newcomer) -> AgentCard | None:
    """The card of an external agent; None for a managed one, `BadLetter` for no proper card."""
    card = newcomer.card
    if isinstance(card, BadLetter):
        raise card
    if card.name != newcomer.key[1]:
        detail = f"agent.json names {card.name[:80]!r}, the directory is {newcomer.key[1]!r}"
        raise BadLetter(Reason.MISROUTED, detail)
    return card if card.kind == "external" else None


def take_census(
    root: Path,
    known: Mapping[SessionId, Set[AgentName]],
    judged: Mapping[Key, FileIdentity],
    *,
    complete: bool,
) -> Census:
    """Look through the sessions of `known` (each with its agents) for directories of others.

    `judged`: cards already looked at; one is reported again only when the file has changed.
    `complete`: `known` holds every session, so that other directories are those of unknown ones.
    """
    census = Census()
    with suppress(FileNotFoundError), DirHandle.open(root) as top:
        for name in list_names(top) if complete else ():
            if name not in known and (NAME.fullmatch(name) or UUID.fullmatch(name)):
                census.unknown_sessions.add(name)
        for session, agents in known.items():
            with suppress(OSError), top.child(session) as folder:
                for name in list_names(folder):
                    if NAME.fullmatch(name) and name not in agents:
                        newcomer = _look_at(folder, (session, AgentName(name)), judged)
                        if newcomer is not None:
                            census.newcomers.append(newcomer)
    return census


def _look_at(folder: DirHandle, key: Key, judged: Mapping[Key, FileIdentity]) -> Newcomer | None:
    try:
        with folder.child(key[1]) as home:
            card_file = identity_of(home, CARD)
            if card_file is None or judged.get(key) == card_file:
                return None
            try:
                return Newcomer(key, read_card(home), card_file)
            except BadLetter as fault:
                return Newcomer(key, fault, card_file)
    except OSError:  # gone again, no directory, or not to be read: nobody who can join
        return None
