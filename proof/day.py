"""One day of a daemon, the same every time: what the enumeration of crash points runs.

A user's work with commands, files and a delegation; a provider that is overloaded once; letters of
another process, a good and a bad one; a session that is deleted. Together they hit every failpoint.

The client is the simplest careful one: it repeats what it asked under the same key until it has an
answer, and keeps books of what was acknowledged. The provider is a function of the conversation, so
a repeated question gets the same reply, and every question is counted.
"""

import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
from typing_extensions import override

from brainpilot_rt.testing.daemon import DaemonHome
from proof.life import Life

Json = dict[str, Any]
Piece = str | tuple[str, Json]
"""What a reply consists of: a text, or a call with its arguments."""

WORK, LATE, FOREIGN, GONE = "work", "late", "foreign", "gone"
"""The sessions of the day."""
PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.01
_NAME: Final = re.compile(r'You are "([^"]+)"')


class Overloaded(Exception):
    """The provider says 503, come back in four minutes: the run is put off, its letter released."""


class NotDone(Exception):
    """The day did not come to its end in time."""


# --- the provider ---------------------------------------------------------------------------


def reply(agent: str, said: list[Json]) -> list[Piece]:
    """What the model says next in this conversation."""
    turn = sum(one["role"] == "assistant" for one in said)
    told = " ".join(str(one["content"]) for one in said if one["role"] == "user")
    if agent == "librarian":
        return _librarian(turn, told)
    if "job:late" in told:
        if "go on" not in told:
            raise Overloaded
        return ["Now it is done."]
    if "job:work" not in told:
        return ["Noted."]
    return _principal(turn, told)


def _principal(turn: int, told: str) -> list[Piece]:
    if turn == 0:
        return [
            "Let me see. ",
            ("bash", {"command": "echo ran >> ran.txt"}),
            ("write", {"path": "notes.txt", "content": "a\n"}),
            ("ls", {}),
        ]
    if turn == 1:
        return [
            ("edit", {"path": "notes.txt", "old_text": "a", "new_text": "aa"}),
            ("send_message", {"to": "librarian", "content": "count", "msg_type": "task_delegate"}),
        ]
    if "It is one." in told:
        return ["All ", "is ", "done."]
    return ["I wait."]


def _librarian(turn: int, told: str) -> list[Piece]:
    if turn == 0:
        return [("read", {"path": "notes.txt"})]
    task = re.search(r"task_[0-9a-z]{26}", told)
    if turn == 1 and task:
        answer = {"to": "principal", "content": "It is one.", "msg_type": "result_deliver"}
        return [("send_message", {**answer, "task_id": task[0]})]
    return ["Told."]


class Provider:
    """Serves `reply` as an OpenAI-compatible model; one may serve many daemons at the same time."""

    def __init__(self) -> None:
        self.asked: dict[str, Counter[str]] = {}
        """Key of the daemon -> what was asked of it, by conversation."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: Any) -> None:
                """Be silent."""

            def do_POST(self) -> None:
                with contextlib.suppress(OSError, ValueError):  # it died in the middle of asking
                    provider.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="provider", daemon=True
        )
        self._thread.start()

    def env(self, key: str) -> dict[str, str]:
        """The environment of a daemon that uses it."""
        return {
            "OPENAI_API_KEY": key,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self._server.server_address[1]}/v1",
            "OPENAI_MODEL": "scripted",
            "BP_SHELL": "unsandboxed",
        }

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one question."""
        body: Json = json.loads(request.rfile.read(int(request.headers["content-length"])))
        said: list[Json] = [one for one in body["messages"] if one["role"] != "system"]
        found = _NAME.search(str(body["messages"][0]["content"]))
        agent = found[1] if found else ""
        key = request.headers["authorization"].removeprefix("Bearer ")
        books = self.asked.setdefault(key, Counter())
        books[json.dumps([agent, said], sort_keys=True)] += 1
        try:
            pieces = reply(agent, said)
        except Overloaded:
            request.send_response(503)
            request.send_header("retry-after", "240")
            request.send_header("content-length", "0")
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.end_headers()
        for chunk in _chunks(pieces):
            request.wfile.write(b"data: " + chunk + b"\n\n")


def _chunks(pieces: list[Piece]) -> Iterator[bytes]:
    calls = 0
    for piece in pieces:
        delta: Json = {"content": piece}
        if not isinstance(piece, str):
            function = {"name": piece[0], "arguments": json.dumps(piece[1])}
            delta = {"tool_calls": [{"index": calls, "id": f"c{calls}", "function": function}]}
            calls += 1
        yield json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()
    stop = "tool_calls" if calls else "stop"
    yield json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": stop}]}).encode()
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    yield json.dumps({"choices": [], "usage": usage}).encode()
    yield b"[DONE]"


# --- the client -----------------------------------------------------------------------------


@dataclass(slots=True)
class Day:
    """The client of one home; it lives through the deaths of its daemons."""

    home: DaemonHome
    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    """Key of a request -> the id its first good answer told."""
    refused: int = 0
    """Requests answered with 5xx: not acknowledged, asked again."""
    dropped: bool = False

    def live(self, life: Life, patience_s: float = PATIENCE_S) -> None:
        """Ask for everything and wait until all is done.

        `httpx.HTTPError` when the daemon dies, `NotDone` when it takes longer than `patience_s`.
        """
        until = time.monotonic() + patience_s
        with httpx.Client(
            base_url=life.ready()["url"],
            headers={"authorization": f"Bearer {life.token}"},
            timeout=PATIENCE_S,
            trust_env=False,
        ) as http:
            self._ask(http, "/sessions", until, id=WORK)
            self._ask(http, f"/sessions/{WORK}/messages", until, content="job:work")
            self._ask(http, "/sessions", until, id=FOREIGN)
            self._drop(http, Path(life.ready()["mailbox_dir"]) / FOREIGN / "principal", until)
            self._ask(http, "/sessions", until, id=LATE)
            self._ask(http, f"/sessions/{LATE}/messages", until, content="job:late")
            self._until(http, LATE, until, _put_off)
            self._ask(http, f"/sessions/{LATE}/messages", until, "again", content="go on")
            self._ask(http, "/sessions", until, id=GONE)
            while http.delete(f"/sessions/{GONE}").status_code >= 500:
                self._pause(until, "delete")
            for name in (WORK, FOREIGN, LATE):
                self._until(http, name, until, _over)
            while not tidy(Path(life.ready()["mailbox_dir"])):
                http.get("/healthz")
                self._pause(until, "the mailboxes are not tidy")

    def _ask(self, http: httpx.Client, path: str, until: float, key: str = "", **body: str) -> None:
        key = f"{path}#{key or body.get('id', '')}"
        if key in self.acknowledged:
            return
        while True:
            answer = http.post(path, json=body, headers={"idempotency-key": key})
            if answer.status_code in {200, 201}:
                told: Json = answer.json()
                self.acknowledged[key] = str(told.get("messageId") or told.get("id") or "")
                return
            if answer.status_code < 500:
                raise NotDone(f"{path}: {answer.status_code} {answer.text}")
            self.refused += 1
            self._pause(until, f"{path}: {answer.text}")

    def _until(self, http: httpx.Client, name: str, until: float, holds: Any) -> None:
        while True:
            answer = http.get(f"/sessions/{name}/export")
            if answer.status_code == 200:
                lines = [json.loads(line) for line in answer.text.splitlines()]
                if holds(lines):
                    return
            self._pause(until, f"{name} does not come to its end")

    def _drop(self, http: httpx.Client, box: Path, until: float) -> None:
        """Deliver two letters as another process does, one that is none."""
        if self.dropped:
            return
        while not (box / "new").is_dir():
            http.get("/healthz")  # a daemon that has died makes none
            self._pause(until, "no mailbox")
        for name, data in (("hello", b'{"to":"principal","content":"hello"}'), ("list", b"[1]")):
            (box / "tmp" / f"{name}.json").write_bytes(data)
            (box / "tmp" / f"{name}.json").rename(box / "new" / f"{name}.json")
        self.dropped = True

    def _pause(self, until: float, what: str) -> None:
        if time.monotonic() > until:
            raise NotDone(what)
        time.sleep(_POLL_S)


def tidy(mailboxes: Path) -> bool:
    """Every letter lies where letters end."""
    return not any(
        next(box.iterdir(), None)
        for name in ("tmp", "new", "cur")
        for box in mailboxes.glob(f"*/*/{name}")
    )


def _put_off(lines: list[Json]) -> bool:
    """The run that met the overload has ended, to be tried again later (or for good)."""
    return any(line["type"] == "run_finished" for line in lines)


def _over(lines: list[Json]) -> bool:
    """Nothing of this session is open: no run, no host turn, no letter."""
    count = Counter(line["type"] for line in lines)
    ended = sum(len(line.get("letter_ids", ())) for line in lines if line["type"] in _LETTER_ENDS)
    return (
        count["run_started"] == count["run_finished"] + count["run_interrupted"]
        and count["host_turn_started"] == count["host_turn_finished"] > 0
        and count["letter_accepted"] + count["letter_received"] == ended
    )


_LETTER_ENDS: Final = ("run_finished", "letter_consumed")
