"""The address book: one entry per mailbox that is served, and the letter files that are known."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from brainpilot_rt.domain.ids import AgentName, LetterId, SessionId
from brainpilot_rt.domain.letters import AgentCard
from brainpilot_rt.mailbox.inbox import Inbox
from brainpilot_rt.mailbox.maildir import Mailbox, MailboxGone
from brainpilot_rt.mailbox.untrusted import FileIdentity

_KNOWN_MAX: Final = 65_536


@dataclass(slots=True)
class Unfinished:
    """A file that may still be written: like this since when (loop time), and how often seen."""

    since: float
    identity: FileIdentity
    looks: int = 1


@dataclass(slots=True, eq=False)
class Address:
    """One mailbox the postoffice serves, and what it remembers about it."""

    session: SessionId
    agent: AgentName
    card: AgentCard
    box: Mailbox
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    unfinished: dict[str, Unfinished] = field(default_factory=dict[str, Unfinished])
    placed: dict[LetterId, Literal["queued", "claimed"]] = field(
        default_factory=dict[LetterId, Literal["queued", "claimed"]]
    )
    """Letters in an external agent's mailbox that are not consumed yet."""
    stuck: set[str] = field(default_factory=set[str])
    """Files that could not be moved to `bad/`; said once."""
    trouble: str = ""
    """What is wrong with the directory; said once."""
    waiting: dict[str, FileIdentity] = field(default_factory=dict[str, FileIdentity])
    """Files that were turned away because the mailbox is full: offered again, oldest first."""
    moved: int = 0
    """Letters consumed since `done/` was last pruned."""
    made: bool = False
    """Whether the directory was seen whole by this process."""
    lost: bool = False
    """Whether it has vanished since, and its owner has not been told yet."""

    @property
    def inbox(self) -> Inbox:
        """The mailbox as its reader sees it."""
        return Inbox(self.box)

    @property
    def external(self) -> bool:
        """Whether another process reads this mailbox."""
        return self.card.kind == "external"


class AddressBook:
    """The sessions that are open, and the mailboxes in each."""

    def __init__(self) -> None:
        self.sessions: dict[SessionId, dict[AgentName, Address]] = {}

    def __iter__(self) -> Iterator[Address]:
        """Every address, as a snapshot."""
        return iter([one for agents in self.sessions.values() for one in agents.values()])

    def get(self, session: str, agent: str) -> Address | None:
        """The address, None if there is none."""
        return self.sessions.get(SessionId(session), {}).get(AgentName(agent))

    def of(self, session: SessionId, agent: AgentName) -> Address:
        """The address; `MailboxGone` if there is none."""
        found = self.get(session, agent)
        if found is None:
            raise MailboxGone(f"{session}/{agent} is not in the address book")
        return found

    def add(self, address: Address) -> None:
        """Open the address, and its session if it was closed."""
        self.sessions.setdefault(address.session, {})[address.agent] = address

    def drop(self, session: SessionId, agent: AgentName) -> None:
        """Close one address, if it was open."""
        self.sessions.get(session, {}).pop(agent, None)


class KnownLetters:
    """Letter files that need no look: placed by the daemon, or offered and accepted.

    Bounded; one that fell out is offered again, and the session knows its id.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[str, FileIdentity | None] = OrderedDict()

    def add(self, letter_id: str, identity: FileIdentity | None) -> None:
        """Remember a file; None while it is being written."""
        self._files[letter_id] = identity
        self._files.move_to_end(letter_id)
        while len(self._files) > _KNOWN_MAX:
            self._files.popitem(last=False)

    def __contains__(self, letter_id: str) -> bool:
        return letter_id in self._files

    def is_same(self, letter_id: str, identity: FileIdentity) -> bool:
        """Whether this very file is known, not another one put in its place."""
        known = self._files.get(letter_id, identity)
        return letter_id in self._files and known in {None, identity}
