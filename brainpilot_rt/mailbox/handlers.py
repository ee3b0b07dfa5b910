"""What the postoffice is told when it is built, and what it tells its owner."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, TypeVar

from brainpilot_rt.domain.ids import AgentName, LetterId, SessionId
from brainpilot_rt.domain.letters import AgentCard, ForeignLetter
from brainpilot_rt.mailbox.codec import LetterLimits, Reason

Receipt: TypeAlias = Literal["claimed", "consumed"]
Result = TypeVar("Result")


class OnThread(Protocol):
    """Runs a blocking call on a thread of the postoffice."""

    def __call__(self, call: Callable[[], Result], /) -> Awaitable[Result]:
        """Return what the call returns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PostPolicy:
    """How often the postoffice looks, and how much at once."""

    rescan_s: float = 5.0
    """Seconds between two looks at every mailbox, whatever the watcher says."""
    unfinished_grace_s: float = 5.0
    """Seconds an unreadable file must stay unchanged before it is refused."""
    batch: int = 64
    """Letters read in one go on a thread."""
    done_max: int = 1_000
    """Letters kept in `done/`; the oldest beyond that are removed."""
    tmp_age_s: float = 36 * 3600.0
    """Seconds after which an abandoned file in `tmp/` is removed."""
    letters: LetterLimits = field(default_factory=LetterLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLetter:
    """A well-formed foreign letter lying in a managed agent's `new/`."""

    letter: ForeignLetter
    letter_id: LetterId
    file: str
    """The name its writer gave the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailHandlers:
    """What the postoffice tells its owner. Any may raise `Unavailable`: it is told again later."""

    on_letter: Callable[[SessionId, AgentName, FoundLetter], Awaitable[bool]]
    """Commit the letter. True: it waits in `new/` under its id. False: it was consumed before.

    Called again for the same letter after a restart. `Conflict`: another letter has this id;
    `Busy`: offered again later; any other `CommandRejected`: the file goes to `bad/`."""
    on_refused: Callable[[SessionId, AgentName, str, Reason, str], Awaitable[None]]
    """A file was moved to `bad/` under this name, for this reason, with this detail."""
    on_agent_dir: Callable[[SessionId, AgentName, AgentCard], Awaitable[None]]
    """A mailbox of an external agent appeared. `CommandRejected`: it is left alone."""
    on_agent_gone: Callable[[SessionId, AgentName], Awaitable[None]]
    """The mailbox of an external agent is gone."""
    on_external_receipt: Callable[[SessionId, AgentName, LetterId, Receipt], Awaitable[None]]
    """What an external agent did with a letter placed in its mailbox."""
    on_rebuilt: Callable[[SessionId, AgentName], Awaitable[None]]
    """A managed agent's mailbox was lost and is back, empty: place again what is promised."""
    on_unknown_session: Callable[[str], Awaitable[None]]
    """A directory with the name of a session nobody opened appeared; nothing in it is read."""
