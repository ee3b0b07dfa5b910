"""The server over a fake backend, a reader of its streams, and a busy session to read."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from brainpilot_rt.domain.events import (
    Event,
    NoticePosted,
    RunFinished,
    RunStarted,
    TextFinished,
    TextStarted,
    ToolFinished,
    ToolPlanned,
    UserEcho,
)
from brainpilot_rt.domain.ids import (
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RunId,
    SessionId,
)
from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.access import Scope
from brainpilot_rt.server.app import build_app
from brainpilot_rt.server.config import ServerConfig, hosts_of
from brainpilot_rt.server.ports import NewSession
from brainpilot_rt.settings import HttpSettings
from brainpilot_rt.testing.bridge import BridgeTransport
from brainpilot_rt.testing.fake_backend import FakeBackend
from brainpilot_rt.testing.sources import ManualClock, SequentialIds

TOKEN = "a-token-of-the-tests"
PORT = 8081
SESSION = SessionId("busy")
AGENTS = tuple(AgentName(name) for name in ("principal", "librarian", "writer"))


@dataclass(frozen=True)
class Seen:
    """One frame a reader got: its cursor (empty if it has none) and its JSON."""

    key: str
    frame: dict[str, Any]

    @property
    def event_id(self) -> str:
        """The identity clients de-duplicate by."""
        return self.frame["_event_id"]


@dataclass
class Server:
    """A running server."""

    app: Starlette
    backend: FakeBackend
    client: httpx.AsyncClient
    transport: BridgeTransport

    async def read(self, path: str, cursor: str = "", **headers: str) -> list[Seen]:
        """Everything a stream has to say, up to its first heartbeat or its end."""
        return [seen async for seen in self.follow(path, cursor, **headers)]

    async def read_into(self, seen: list[Seen], path: str, cursor: str = "") -> None:
        """The same, into a list that keeps what came before a cancellation."""
        async for one in self.follow(path, cursor):
            seen.append(one)  # noqa: PERF401 - kept one by one on purpose

    async def follow(
        self, path: str, cursor: str = "", **headers: str
    ) -> AsyncGenerator[Seen, None]:
        """Frames of a stream as they come, up to its first heartbeat or its end."""
        more = {"last-event-id": cursor} if cursor else {}
        async with self.client.stream("GET", path, headers=more | headers) as response:
            assert response.status_code == 200, await response.aread()
            async for seen in frames_in(response):
                if seen.frame.get("name") == "session_heartbeat":
                    return
                yield seen


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until it is so."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def frames_in(response: httpx.Response) -> AsyncGenerator[Seen, None]:
    """Parse a stream as a client would: by blank lines."""
    rest = b""
    async for chunk in response.aiter_raw():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            seen = parse_block(block)
            if seen is not None:
                yield seen


def parse_block(block: bytes) -> Seen | None:
    """One frame; None for a comment."""
    key, data = "", None
    for line in block.decode().split("\n"):
        name, _, value = line.partition(": ")
        assert name in {"id", "data", ""}, line
        if name == "id":
            key = value
        elif name == "data":
            assert data is None
            data = json.loads(value)
    return None if data is None else Seen(key, data)


@asynccontextmanager
async def serving(
    backend: FakeBackend | None = None,
    folder: Path | None = None,
    token: Callable[[], str] = lambda: TOKEN,
    clients: Callable[[], Mapping[str, Scope]] = dict,
    **http: Any,
) -> AsyncGenerator[Server]:
    """Build, serve, and take everything down."""
    clock = ManualClock()
    own = backend is None
    backend = backend or FakeBackend(clock, SequentialIds(), folder or Path("/nonexistent"))
    if own:
        await backend.records.load()
    settings = HttpSettings(**http)
    config = ServerConfig(
        http=settings, hosts=hosts_of(PORT), token=token, clients=clients, clock=clock
    )
    app = build_app(backend, config)
    transport = BridgeTransport(app)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=transport, base_url=f"http://127.0.0.1:{PORT}", headers=headers
    ) as client:
        yield Server(app, backend, client, transport)
        app.state.streams.close()
    if own:
        await backend.log.close()


def lasting(seen: Sequence[Seen]) -> list[Seen]:
    """The frames that are part of the log or of its texts."""
    return [one for one in seen if one.key]


def is_chunk(seen: Seen) -> bool:
    """Whether it is a piece of a text."""
    return seen.frame["type"].endswith("MESSAGE_CONTENT")


def orderly(seen: Sequence[Seen]) -> tuple[list[Any], dict[str, list[Any]]]:
    """What must be the same however texts of several agents were interleaved.

    The frames that are no chunks in order, and the chunks of each text in order. Asserts that each
    frame came once, and that the chunks of a text lie between its start and its end.
    """
    ids = [one.event_id for one in seen]
    assert len(ids) == len(set(ids)), "a frame came twice"
    steady: list[Any] = []
    texts: dict[str, list[Any]] = {}
    open_now: set[str] = set()
    for one in seen:
        frame = one.frame
        kind = frame["type"]
        if is_chunk(one):
            assert frame["message_id"] in open_now, "a piece outside its text"
            texts.setdefault(frame["message_id"], []).append(frame)
            continue
        if kind.endswith("MESSAGE_START"):
            open_now.add(frame["message_id"])
        elif kind.endswith("MESSAGE_END"):
            open_now.discard(frame["message_id"])
        steady.append(frame)
    return steady, texts


@dataclass
class Script:
    """Makes a session busy. Steps are numbers, so that any list of them runs."""

    backend: FakeBackend
    session: SessionId = SESSION
    made: int = 0

    async def begin(self) -> None:
        """The session, and a message."""
        await self.backend.create_session(NewSession(session=self.session, title="busy"))
        await self.backend.view(self.session)

    async def step(self, number: int) -> None:
        """Do something: mostly texts, so that several are open at once."""
        agent = AGENTS[number % len(AGENTS)]
        text = self._text_of(agent)
        kind = (number // len(AGENTS)) % 6
        if kind <= 2 and text is not None:
            self.backend.say(self.session, text, f"{number}\n\u00e9\U0001f600"[: 1 + number % 6])
        elif kind <= 1 or (kind == 2 and text is None):
            await self._start_text(agent, "reasoning" if number % 5 == 0 else "text")
        elif kind == 3 and text is not None:
            await self.backend.finish_text(self.session, text)
        elif kind == 4 and text is not None and number % 2:
            await self.abort(text)
        else:
            await self.backend.commit(self.session, *self._events(agent, number))

    async def end(self) -> None:
        """Finish what is open."""
        for text in list(self.backend.loaded[self.session].texts):
            await self.backend.finish_text(self.session, text)

    def _text_of(self, agent: AgentName) -> MessageId | None:
        texts = self.backend.loaded[self.session].texts
        return next((key for key, (event, _, _) in texts.items() if event.agent == agent), None)

    async def _start_text(self, agent: AgentName, kind: Any) -> None:
        self.made += 1
        message_id = MessageId(f"msg_{SequentialIds.nth((1_700_000_000_000 << 80) + self.made)}")
        started = TextStarted(
            run_id=RunId(f"run_{agent}"), agent=agent, turn=0, message_id=message_id, kind=kind
        )
        await self.backend.commit(self.session, started)

    async def abort(self, text: MessageId, *, crashed: bool = False) -> None:
        """Close a text as a stop does, or as recovery does: then nothing that was said is known."""
        started, seq, chunks = self.backend.loaded[self.session].texts[text]
        known = [] if crashed else chunks
        cut = TextFinished(
            run_id=started.run_id,
            agent=started.agent,
            message_id=text,
            kind=started.kind,
            text="".join(known),
            chunks=tuple(map(len, known)),
            started_seq=seq,
            aborted=True,
        )
        await self.backend.commit(self.session, cut)

    def _events(self, agent: AgentName, number: int) -> list[Event]:
        """One to four events, some with several frames."""
        self.made += 1
        run_id, call_id = RunId(f"run_{self.made}"), CallId(f"call_{self.made}")
        letter = LetterId(SequentialIds.nth(self.made))
        echo = UserEcho(
            message_id=MessageId(f"m{self.made}"),
            host_run_id=HostRunId("run_h"),
            letter_id=letter,
            text="go on",
        )
        some: list[Event] = [
            RunStarted(
                run_id=run_id, agent=agent, letter_ids=(letter,), root_id=letter, echo=(echo,)
            ),
            ToolPlanned(
                run_id=run_id,
                agent=agent,
                turn=0,
                call_id=call_id,
                name="read",
                arguments={"path": "a.txt"},
                effect=Effect.PURE,
            ),
            ToolFinished(
                run_id=run_id,
                agent=agent,
                call_id=call_id,
                name="read",
                content="words",
                status="completed",
            ),
            RunFinished(
                run_id=run_id, agent=agent, outcome="completed", letter_ids=(letter,), turns=1
            ),
            NoticePosted(notice_id=f"n{self.made}", level="info", message="said once"),
        ]
        first = number % len(some)
        return some[first : first + 1 + number % 3]
