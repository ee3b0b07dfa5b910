"""A postoffice on virtual time, with handlers that write down what they are told."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.ids import AgentName, LetterId, SessionId
from brainpilot_rt.domain.letters import AgentCard, Authority, Letter, LetterKind
from brainpilot_rt.mailbox.codec import Reason
from brainpilot_rt.mailbox.handlers import FoundLetter, MailHandlers, PostPolicy, Receipt
from brainpilot_rt.mailbox.postoffice import PostOffice
from brainpilot_rt.mailbox.watcher import Watcher
from brainpilot_rt.testing.sources import ManualClock, SequentialIds
from brainpilot_rt.testing.watcher import ManualWatcher

SESSION = SessionId("s1")
PRINCIPAL = AgentName("principal")
BOT = AgentName("bot")
GOOD = b'{"to":"principal","content":"hello"}'


class Told:
    """What the postoffice told its owner, in order, and how the owner answers."""

    def __init__(self) -> None:
        self.letters: list[FoundLetter] = []
        self.refused: list[tuple[str, Reason]] = []
        self.joined: list[AgentName] = []
        self.gone: list[AgentName] = []
        self.receipts: list[tuple[LetterId, Receipt]] = []
        self.rebuilt: list[AgentName] = []
        self.unknown: list[str] = []
        self.answer: Callable[[FoundLetter], bool] = lambda _: True
        self.admit: Callable[[AgentCard], None] = lambda _: None
        self.gates: dict[AgentName, asyncio.Event] = {}
        """The answer about a letter for this agent waits until the gate is open."""

        self.news = asyncio.Event()

    async def until(self, so: Callable[[], bool]) -> None:
        """Wait until something told makes this so."""
        while not so():
            self.news.clear()
            await self.news.wait()

    @property
    def contents(self) -> list[str]:
        return [found.letter.content for found in self.letters]

    def handlers(self) -> MailHandlers:
        async def on_letter(session: SessionId, agent: AgentName, found: FoundLetter) -> bool:
            if agent in self.gates:
                await self.gates[agent].wait()
            accepted = self.answer(found)
            self.letters.append(found)
            self.news.set()
            return accepted

        async def on_refused(
            session: SessionId, agent: AgentName, file: str, reason: Reason, detail: str
        ) -> None:
            assert detail
            self.refused.append((file, reason))

        async def on_agent_dir(session: SessionId, agent: AgentName, card: AgentCard) -> None:
            self.admit(card)
            self.joined.append(agent)
            self.news.set()

        async def on_agent_gone(session: SessionId, agent: AgentName) -> None:
            self.gone.append(agent)

        async def on_external_receipt(
            session: SessionId, agent: AgentName, letter_id: LetterId, receipt: Receipt
        ) -> None:
            self.receipts.append((letter_id, receipt))
            self.news.set()

        async def on_rebuilt(session: SessionId, agent: AgentName) -> None:
            self.rebuilt.append(agent)

        async def on_unknown_session(name: str) -> None:
            self.unknown.append(name)

        return MailHandlers(
            on_letter=on_letter,
            on_refused=on_refused,
            on_agent_dir=on_agent_dir,
            on_agent_gone=on_agent_gone,
            on_external_receipt=on_external_receipt,
            on_rebuilt=on_rebuilt,
            on_unknown_session=on_unknown_session,
        )


def crashed(name: str, cause: BaseException) -> None:
    raise AssertionError(f"{name} crashed") from cause


def an_office(
    root: Path, told: Told, *, watcher: Watcher | None = None, policy: PostPolicy | None = None
) -> PostOffice:
    return PostOffice(
        root,
        told.handlers(),
        watcher=watcher or ManualWatcher(),
        sources=(ManualClock(), SequentialIds()),
        policy=policy or PostPolicy(),
        on_crash=crashed,
    )


@asynccontextmanager
async def open_office(
    root: Path, told: Told, *, watcher: Watcher | None = None, policy: PostPolicy | None = None
) -> AsyncGenerator[PostOffice]:
    """A started postoffice with one session, whose principal has a mailbox."""
    office = an_office(root, told, watcher=watcher, policy=policy)
    office.open_session(SESSION)
    office.open_agent(SESSION, AgentCard(name=PRINCIPAL, kind="managed"))
    await office.start()
    try:
        yield office
    finally:
        await office.stop()


def drop(home: Path, name: str, data: bytes = GOOD) -> Path:
    """Deliver as another process would: written in `tmp/`, then renamed."""
    (home / "tmp" / name).write_bytes(data)
    return (home / "tmp" / name).rename(home / "new" / name)


def join(root: Path, name: str = BOT) -> Path:
    """Create an external agent's mailbox as its own process would."""
    home = root / SESSION / name
    for box in ("tmp", "new", "cur", "done", "bad"):
        (home / box).mkdir(parents=True)
    (home / "agent.json").write_text(json.dumps({"name": name, "kind": "external"}))
    return home


def a_letter(number: int = 1, *, to: AgentName = PRINCIPAL, content: str = "hi") -> Letter:
    letter_id = LetterId(SequentialIds.nth(1_000 + number))
    return Letter(
        id=letter_id,
        session=SESSION,
        from_=AgentName("librarian"),
        to=to,
        kind=LetterKind.RESULT_DELIVER,
        content=content,
        root_id=letter_id,
        created_at="2026-01-02T03:04:05+00:00",
        authority=Authority(origin="agent"),
    )


def refuse_with(error: CommandRejected) -> Callable[[object], bool]:
    """An answer that says no."""

    def answer(_: object) -> bool:
        raise error

    return answer
