"""An aggressive client of a daemon that dies all the time, with books of its own.

The books say what was promised to it. An operation counts as acknowledged when

- a POST was answered 2xx: a session, a message, the answer to a question, a new title. One that was
  cut by a death is repeated under the same Idempotency-Key in a later life until it is answered;
- a foreign letter (a file: written, synced, renamed) stands in the log as received;
- a tool call stands in the log as completed, or a delegation as an open task.

Every word it says begins with a unique token, so that the log can be compared with the books. The
agents use the mock model: what they do is written in what they are told.
"""

import contextlib
import http.client
import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from brainpilot_rt.aiokit.sources import SystemClock, UlidSource
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.letters import ForeignLetter
from brainpilot_rt.mailbox.sender import send_letter
from brainpilot_rt.testing.daemon import DaemonHome
from proof.life import Life

Json: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["session", "message", "answer", "title"]

PATIENCE_S: Final = 60.0
STALE_S: Final = 2.0
"""A connection that was not used for so long is not used again."""
SESSIONS_AT_A_TIME: Final = 3
TOKEN: Final = re.compile(r"tok-[0-9a-z]+-\d+")
"""How everything said begins."""
PADDING: Final = "and this is said so that the title of the task ends before what follows: " * 2

_FRAME_ID: Final = re.compile(rb"^id: ?[a-z0-9]+\.(\d+)", re.MULTILINE)
_DROPPED: Final = (ConnectionError, http.client.HTTPException, TimeoutError, socket.timeout)


@dataclass(slots=True)
class Op:
    """A POST or PUT, repeated under one key until it is answered."""

    kind: Kind
    key: str
    method: str
    path: str
    body: Json
    session: str = ""
    token: str = ""
    answer: Json | None = None
    tries: int = 0


@dataclass(slots=True)
class Books:
    """What the client knows. Outlives every life of its home."""

    name: str
    """Part of every token; unique among the homes of a run."""
    effects: Path
    """Where irreversible calls append their token; outside of the daemon's data."""
    ops: dict[str, Op] = field(default_factory=dict[str, Op])
    sessions: list[str] = field(default_factory=list[str])
    letters: dict[str, str] = field(default_factory=dict[str, str])
    """Foreign letters: id -> token."""
    shown: dict[str, int] = field(default_factory=dict[str, int])
    """Highest `seq` seen on a stream, by session."""
    latencies_ms: list[float] = field(default_factory=list[float])
    """Of acknowledged messages."""
    sent: int = 0
    """Requests so far, answered or not."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """Answers that promise nothing, by kind and status."""
    tokens: int = 0

    @property
    def acknowledged(self) -> list[Op]:
        """The operations that were answered with a promise."""
        return [op for op in self.ops.values() if op.answer is not None]

    def token(self) -> str:
        """A new token."""
        self.tokens += 1
        return f"tok-{self.name}-{self.tokens}"


def new_home(root: Path, name: str, **env: str) -> tuple[DaemonHome, Books]:
    """A home for daemons under test: the mock model, an unconfined shell, no other program."""
    programs = root / "bin"
    programs.mkdir(parents=True)
    (programs / "bash").symlink_to("/bin/bash")
    base = {"BP_MOCK": "1", "BP_SHELL": "unsandboxed", "PATH": str(programs)}
    return DaemonHome(root, {**base, **env}), Books(name, root / "effects")


class Client:
    """The client in one life. Blocking; one thread at a time."""

    def __init__(self, life: Life, books: Books, rng: random.Random) -> None:
        self.books = books
        self._life = life
        self._rng = rng
        self._port = life.port
        self._headers = {
            "authorization": f"Bearer {life.token}",
            "content-type": "application/json",
        }
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        self._last_s = 0.0
        self._streams: dict[str, socket.socket] = {}
        self._new_id = UlidSource(SystemClock())
        self._mailboxes = Path(life.ready()["mailbox_dir"])

    def request(
        self, method: str, path: str, body: Json | None = None, key: str = ""
    ) -> tuple[int, Json]:
        """One request; ConnectionError and the like when the daemon dies under it."""
        headers = self._headers | ({"idempotency-key": key} if key else {})
        now = time.monotonic()
        if now - self._last_s > STALE_S:
            self._connection.close()  # the daemon closes idle connections; the next one opens it
        self._last_s = now
        self.books.sent += 1
        self._connection.request(
            method, path, None if body is None else json.dumps(body).encode(), headers
        )
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")

    def work(self, until: threading.Event | None = None, steps: int = 1_000_000) -> None:
        """Make demands until told to stop, the steps are done or the daemon is gone."""
        with contextlib.suppress(*_DROPPED):
            self.repeat_unanswered()
            for _ in range(steps):
                if until is not None and until.is_set():
                    return
                self.step()

    def step(self) -> None:
        """One demand, by chance."""
        books = self.books
        live = books.sessions[-SESSIONS_AT_A_TIME:]
        if len(live) < SESSIONS_AT_A_TIME or self._rng.random() < 0.01:
            self.create()
            return
        session = self._rng.choice(live)
        _DEMANDS[self._rng.choices(list(_DEMANDS), _WEIGHTS)[0]](self, session)

    def create(self) -> str:
        """A new session; its name."""
        self._do(Op("session", "", "POST", "/sessions", {}), self.books.token())
        return self.books.sessions[-1]

    def say(self, session: str, token: str, more: str = "") -> Op:
        """Post a user's message."""
        body = {"content": f"{token} {more}"}
        op = Op("message", "", "POST", f"/sessions/{session}/messages", body, session)
        return self._do(op, token)

    def drop(self, session: str) -> str | None:
        """A foreign letter, by files alone; its id, None where there is no mailbox yet."""
        token = self.books.token()
        letter = ForeignLetter(to="principal", content=f"{token} from outside")
        with contextlib.suppress(NotFound, OSError):
            sent = send_letter(self._mailboxes, session, letter, new_id=self._new_id)
            self.books.letters[sent.letter_id] = token
            return sent.letter_id
        return None

    def rename(self, session: str) -> None:
        """Give a session a new title."""
        token = self.books.token()
        self._do(Op("title", "", "PUT", f"/sessions/{session}", {"title": token}, session), token)

    def interrupt(self, session: str) -> None:
        """Stop all work of a session."""
        self.request("POST", f"/sessions/{session}/interrupt", {})

    def act(self, session: str, tool: str, **arguments: str) -> None:
        """Have the principal call a tool; arguments may name `{token}` and `{effects}`."""
        token = self.books.token()
        filled = {
            key: text.format(token=token, effects=self.books.effects)
            for key, text in arguments.items()
        }
        self.say(session, token, _calls(tool, **filled))

    def delegate(self, session: str) -> None:
        """Have the principal give the librarian a task that it delivers on, or forgets to."""
        inner = _calls("send_message", to="principal", msg_type="result_deliver", content="done")
        task = PADDING + (inner if self._rng.random() < 0.7 else "just say it")
        more = _calls("send_message", to="librarian", msg_type="task_delegate", content=task)
        self.say(session, self.books.token(), more)

    def answer_questions(self, session: str) -> Json:
        """Answer what is asked in a session; its state before."""
        _, state = self.request("GET", f"/sessions/{session}/state")
        for question in state.get("questions", []):
            body = {
                "type": "user_input_response",
                "request_id": question["requestId"],
                "answer": "yes",
            }
            path = f"/sessions/{session}/messages"
            op = Op("answer", question["requestId"], "POST", path, body, session)
            self._do(op, self.books.token())
        return state

    def follow(self, session: str) -> None:
        """Open the session's stream; what it says is read when the life is over."""
        if session in self._streams:
            return
        stream = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        token = self._headers["authorization"]
        after = self.books.shown.get(session, 0)
        stream.sendall(
            f"GET /sse/{session}?after={after} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\n"
            f"authorization: {token}\r\n\r\n".encode()
        )
        self._streams[session] = stream

    def repeat_unanswered(self) -> None:
        """Repeat, under the same keys, what a death left unanswered."""
        for op in list(self.books.ops.values()):
            if op.answer is None:
                self._do(op, op.token)

    def close(self) -> None:
        """Let go of every connection, and note what the streams have shown."""
        self._connection.close()
        for session, stream in self._streams.items():
            data = b""
            with stream, contextlib.suppress(OSError):
                stream.settimeout(0.0)
                while piece := stream.recv(1 << 20):
                    data += piece
            seen = [int(number) for number in _FRAME_ID.findall(data)]
            if seen:
                self.books.shown[session] = max(self.books.shown.get(session, 0), *seen)
        self._streams.clear()

    def _do(self, op: Op, token: str) -> Op:
        """Carry an operation out, or on; noted before it is sent."""
        op.key = op.key or token
        op.token = token
        op = self.books.ops.setdefault(op.key, op)
        if op.answer is not None:
            return op
        op.tries += 1
        begun = time.perf_counter()
        status, answer = self.request(op.method, op.path, op.body, op.key)
        stale = op.kind == "answer" and status == HTTPStatus.CONFLICT
        if status >= HTTPStatus.MULTIPLE_CHOICES or answer.get("accepted") is False:
            self.books.refused[f"{op.kind} {status}"] += 1
            if stale or status < HTTPStatus.INTERNAL_SERVER_ERROR:
                del self.books.ops[op.key]
            return op
        op.answer = answer
        if op.kind == "session":
            self.books.sessions.append(answer["id"])
        if op.kind == "message" and op.tries == 1:
            self.books.latencies_ms.append((time.perf_counter() - begun) * 1000)
        return op


def quiesce(client: Client, patience_s: float = PATIENCE_S) -> list[str]:
    """Answer, ask for what was cut and wait until nobody has anything to do; what will not end."""
    books = client.books
    ends = time.monotonic() + patience_s
    client.repeat_unanswered()
    nudged: set[str] = set()
    pending = list(books.sessions)
    while pending:
        session = pending[-1]
        state = client.answer_questions(session)
        if not _busy(state):
            pending.pop()
            continue
        if session not in nudged and any(agent["paused"] for agent in state["agents"]):
            # A stop paused its mail; the user's next word lets it go on.
            nudged.add(session)
            client.say(session, books.token())
        if time.monotonic() > ends:
            return [f"after {patience_s:g} s session {session} is still at work: {state}"]
        time.sleep(0.01)
    return []


def _busy(state: Json) -> bool:
    mail = any(agent["unread"] for agent in state["agents"] if agent["kind"] == "managed")
    return bool(
        mail
        or state["tasks"]
        or state["questions"]
        or state["workState"]["active"]
        or state["runState"]["active"]
    )


def fsync_floor(folder: Path, rounds: int = 200) -> list[float]:
    """Milliseconds of a bare 4 KiB append with fsync, the least any durable answer costs here."""
    took: list[float] = []
    path = folder / "floor"
    with path.open("wb", buffering=0) as file:
        for _ in range(rounds):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    path.unlink()
    return took


def _calls(tool: str, **arguments: str) -> str:
    return f"[[tool:{tool} {json.dumps(arguments)}]]"


_DEMANDS: Final[dict[str, Callable[[Client, str], object]]] = {
    "say": lambda client, session: client.say(session, client.books.token()),
    "run": lambda client, session: client.act(session, "bash", command="echo {token} >> {effects}"),
    "write": lambda client, session: client.act(session, "write", path="note.txt", content="x"),
    "ask": lambda client, session: client.act(session, "ask_user", question="Shall I?"),
    "delegate": Client.delegate,
    "drop": Client.drop,
    "answer": Client.answer_questions,
    "rename": Client.rename,
    "follow": Client.follow,
    "interrupt": Client.interrupt,
}
_WEIGHTS: Final = (30, 14, 6, 3, 6, 14, 8, 6, 3, 0.7)
"""How often each is made, in their order."""
