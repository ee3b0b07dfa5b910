"""The judge of every harness that kills daemons: ten promises, read from what the dead leave.

    1  everything acknowledged is in the log, and at rest it has reached its end
    2  no letter is accepted twice or consumed twice
    3  an irreversible call took effect at most once, and once when the log says that it completed
    4  `seq` is gap-free per session, `pos` never steps back, nothing that was shown is gone
    5  a daemon that folds the log anew tells the state that lived
    6  SQLite finds nothing wrong, in a copy made through its backup interface
    7  no process survives, no descriptor strays
    8  the audit and the check of the mailboxes find nothing
    9  everything comes to rest within a deadline
    10 another restart changes nothing

`Oracle.after_death` judges what can be judged of a daemon just killed (1 to 4, and 7 for what an
earlier life has left); it reads only what is new in the log. `judge` does everything: it starts
the last two lives of a home itself.
"""

import asyncio
import json
import random
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from brainpilot_rt.cli.export import log_at_rest
from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.ids import DAEMON_STREAM, parse_session_id
from brainpilot_rt.mailbox.check import check_tree
from brainpilot_rt.settings import load
from brainpilot_rt.supervision.boot import audit_session
from brainpilot_rt.supervision.toolbox import marker
from brainpilot_rt.testing.daemon import DaemonHome
from proof.life import Life, Nursery, marked
from proof.workload import PATIENCE_S, TOKEN, Books, Client, Json, Op, quiesce

STRAYS_MAX: Final = 4
"""Descriptors a daemon may have more than the one that starts after it: connections closing."""

_NEW: Final = "SELECT session, seq, pos, type, payload FROM events WHERE pos > ? ORDER BY pos"


@dataclass(slots=True)
class Oracle:
    """What is known of one home's log, up to date with its last reading."""

    home: DaemonHome
    books: Books
    pos: int = 0
    heads: dict[str, int] = field(default_factory=dict[str, int])
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    """Token -> letter id, of letters from users and foreigners."""
    open: dict[str, str] = field(default_factory=dict[str, str])
    """Letters without an end: id -> session."""
    calls: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Planned calls without a result: id -> (tool, its command)."""
    done: set[str] = field(default_factory=set[str])
    """Tokens of irreversible calls that the log calls completed."""
    titles: set[str] = field(default_factory=set[str])
    answered: set[str] = field(default_factory=set[str])
    """Questions with an answer."""
    types: Counter[str] = field(default_factory=Counter[str])
    """Events by type; `tool_finished` also by status, as `tool_finished completed`."""
    rest_s: float = 0.0
    """How long it took to come to rest, once it was judged."""
    wrong: dict[str, None] = field(default_factory=dict[str, None])
    """What is wrong, each once, in the order found."""
    _effects_read: int = 0
    effects: Counter[str] = field(default_factory=Counter[str])

    @property
    def log(self) -> Path:
        """The log's file."""
        return self.home.data_dir / "log.db"

    def after_death(self) -> list[str]:
        """Judge what a dead daemon leaves; what is wrong that was not wrong before."""
        before = len(self.wrong)
        if self.log.exists():
            with reading(self.log) as connection:
                newest = self._newest(connection)
                if newest < self.pos:
                    self._blame(f"the log went back from {self.pos} to {newest}")
                rows = connection.execute(_NEW, (self.pos,)) if newest else ()
                for session, seq, pos, kind, payload in rows:
                    self._take(session, seq, pos, kind, payload)
        self._compare()
        return list(self.wrong)[before:]

    def figures(self) -> Counter[str]:
        """What was acknowledged and what it cost, as counts."""
        kinds = Counter(op.kind for op in self.books.acknowledged)
        return Counter(
            acknowledged_posts=kinds.total(),
            acknowledged_letters=sum(
                token in self.accepted for token in self.books.letters.values()
            ),
            acknowledged_calls=self.types["tool_finished completed"],
            acknowledged_tasks=self.types["task_opened"],
            turns=self.types["model_replied"],
            effects=self.effects.total(),
            unknown=self.types["tool_finished unknown"],
            interrupted=self.types["run_interrupted"],
            events=self.pos,
        )

    def _blame(self, text: str) -> None:
        self.wrong[text] = None

    def _newest(self, connection: sqlite3.Connection) -> int:
        """The highest `pos`; before the first migration there is none."""
        sql = "SELECT count(*) FROM sqlite_master WHERE name = 'events'"
        if not connection.execute(sql).fetchone()[0]:
            return 0
        return connection.execute("SELECT max(pos) FROM events").fetchone()[0] or 0

    def _take(self, session: str, seq: int, pos: int, kind: str, payload: bytes) -> None:
        if seq != self.heads.get(session, 0) + 1:
            self._blame(f"{session}: {seq} follows {self.heads.get(session, 0)}")
        self.heads[session] = seq
        self.pos = pos
        self.types[kind] += 1
        if kind.startswith(("letter_", "run_f", "tool_p", "tool_f", "session_u", "question_a")):
            self._keep(session, kind, json.loads(payload))

    def _keep(self, session: str, kind: str, event: Json) -> None:
        match kind:
            case "letter_accepted" | "letter_received":
                self._accept(session, event["letter"])
            case "letter_consumed" | "run_finished":
                self._end(event["letter_ids"], kind)
            case "letter_expired" | "letter_died":
                self._end([event["letter_id"]], kind)
            case "tool_planned":
                self.calls[event["call_id"]] = (event["name"], str(event["arguments"]))
            case "tool_finished":
                self._finish(event)
            case "session_updated":
                self.titles.add(event["title"])
            case "question_answered":
                if event["request_id"] in self.answered:
                    self._blame(f"question {event['request_id']} was answered twice")
                self.answered.add(event["request_id"])
            case _:
                pass

    def _accept(self, session: str, letter: Json) -> None:
        name = letter["id"]
        if name in self.open:
            self._blame(f"letter {name} was accepted twice")
        self.open[name] = session
        token = TOKEN.match(letter["content"])
        if token is not None and letter["authority"]["origin"] in ("user", "external"):
            if token[0] in self.accepted:
                self._blame(f"{token[0]} became {self.accepted[token[0]]} and {name}")
            self.accepted[token[0]] = name

    def _end(self, names: Iterable[str], kind: str) -> None:
        for name in names:
            if self.open.pop(name, None) is None:
                self._blame(f"letter {name} ended a second time, by {kind}")

    def _finish(self, event: Json) -> None:
        self.types[f"tool_finished {event['status']}"] += 1
        tool, arguments = self.calls.pop(event["call_id"], ("", ""))
        if not tool:
            self._blame(f"call {event['call_id']} has a result without a plan, or two")
        token = TOKEN.search(arguments)
        if tool == "bash" and event["status"] == "completed" and token is not None:
            self.done.add(token[0])

    def _compare(self) -> None:
        """The log against the books."""
        for op in self.books.acknowledged:
            if not self._holds(op):
                self._blame(f"acknowledged and not in the log: {op.kind} {op.key} {op.answer}")
        for session, seq in self.books.shown.items():
            if seq > self.heads.get(session, 0):
                self._blame(f"{session}: {seq} was shown, the log ends before it")
        self._read_effects()
        for token, times in self.effects.items():
            if times > 1:
                self._blame(f"{token} took effect {times} times")
        for token in self.done - self.effects.keys():
            self._blame(f"{token} is completed in the log and had no effect")

    def _holds(self, op: Op) -> bool:
        answer = op.answer or {}
        match op.kind:
            case "session":
                return answer["id"] in self.heads
            case "message":
                return self.accepted.get(op.token) == answer.get("letterId")
            case "title":
                return op.body["title"] in self.titles
            case "answer":
                return op.body["request_id"] in self.answered

    def _read_effects(self) -> None:
        if self.books.effects.exists():
            with self.books.effects.open("rb") as file:
                file.seek(self._effects_read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._effects_read += len(whole)
            self.effects.update(whole.decode().split())


def judge(
    home: DaemonHome,
    books: Books,
    nursery: Nursery,
    *,
    oracle: Oracle | None = None,
    doctor: bool = False,
) -> list[str]:
    """All ten lines, of a home whose daemon is dead: what is wrong with it.

    `doctor` also asks the command, which says the same as the audit and the check of the mailboxes.
    """
    oracle = oracle or Oracle(home, books)
    wrong = oracle.after_death()
    life = nursery.start(home, BP_DEBUGGABLE="1")
    states, opened = {}, []
    try:
        with closing(Client(life, books, random.Random(0))) as client:
            begun = time.monotonic()
            wrong += quiesce(client)
            wrong += _letters_left(life, books)
            oracle.rest_s = time.monotonic() - begun
            states = _states(client, books)
        opened = life.descriptors()
        wrong += _ended(life)
    finally:
        life.kill()
    wrong += oracle.after_death()
    wrong += [f"letter {name} of {session} has no end" for name, session in oracle.open.items()]
    lost = [name for name, token in books.letters.items() if token not in oracle.accepted]
    wrong += [f"foreign letter {name} was never taken in" for name in lost]
    wrong += asyncio.run(_audited(home))
    heads = dict(oracle.heads)
    wrong += _restarted(home, books, nursery, states, opened)
    wrong += oracle.after_death()
    del heads[DAEMON_STREAM]
    changed = {name: head for name, head in oracle.heads.items() if heads.get(name, head) != head}
    wrong += [f"a restart without any demand wrote to {name}" for name in changed]
    wrong += [f"SQLite: {text}" for text in damage(oracle.log)]
    wrong += [f"process {pid} survived" for pid in orphans(home)]
    wrong += _boxes(home)
    if doctor:
        ended = asyncio.run(home.command("doctor"))
        wrong += [] if ended.code == 0 else [f"doctor: {ended.out} {ended.err}"]
    return wrong


@contextmanager
def reading(path: Path) -> Generator[sqlite3.Connection]:
    """The log of a dead daemon, to read: its write-ahead log stays as the daemon left it."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            # It died while it made the file: a journal has to be played back, in a copy.
            with tempfile.TemporaryDirectory(prefix="prove-") as folder:
                for one in path.parent.glob(f"{path.name}*"):
                    shutil.copy(one, folder)
                with closing(sqlite3.connect(Path(folder, path.name))) as copy:
                    yield copy
        else:
            yield connection


def damage(path: Path) -> list[str]:
    """What `integrity_check` finds in a copy made by SQLite's backup."""
    with reading(path) as connection, closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)
        found = [str(row[0]) for row in copy.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def orphans(home: DaemonHome) -> list[int]:
    """Living tool processes of this home, of whichever life."""
    return marked(marker(load(home.environment())))


def recovered(home: DaemonHome) -> Counter[str]:
    """What the start-ups of a home had to repair, from the log at rest."""
    counts = Counter[str]()
    with reading(home.data_dir / "log.db") as connection:
        sql = "SELECT payload FROM events WHERE session = ? AND type = 'daemon_recovered'"
        for (payload,) in connection.execute(sql, (DAEMON_STREAM,)):
            counts.update(json.loads(payload)["counts"])
    return counts


def _states(client: Client, books: Books) -> dict[str, Any]:
    return {
        session: client.request("GET", f"/sessions/{session}/state")[1]
        for session in books.sessions
    }


def _ended(life: Life) -> list[str]:
    code = life.stop()
    return [] if code == 0 else [f"a daemon at rest ended with {code}: {life.said()[-2000:]}"]


def _restarted(
    home: DaemonHome, books: Books, nursery: Nursery, states: dict[str, Any], opened: list[str]
) -> list[str]:
    """A restart: the same states from the log alone, no more and no fewer open files."""
    life = nursery.start(home, BP_DEBUGGABLE="1")
    try:
        with closing(Client(life, books, random.Random(0))) as client:
            again = _states(client, books)
        extra = _kinds(opened) - _kinds(life.descriptors())
        wrong = _ended(life)
    finally:
        life.kill()
    wrong += [
        f"the state of {session} was {state} and is {again[session]} after a restart"
        for session, state in states.items()
        if again[session] != state
    ]
    if extra.total() > STRAYS_MAX:
        wrong.append(f"descriptors strayed: {extra}")
    return wrong


def _kinds(descriptors: Iterable[str]) -> Counter[str]:
    return Counter(one.partition(":[")[0] for one in descriptors)


async def _audited(home: DaemonHome) -> list[str]:
    async with log_at_rest(home.data_dir) as log:
        rows = await log.sessions()
        names = [row.session for row in rows]
        return [
            f"audit: {one}"
            for name in names
            for one in await audit_session(log, parse_session_id(name))
        ]


def _letters_left(life: Life, books: Books) -> list[str]:
    """Wait until no box of a session at rest holds a letter that is not at its end.

    A death can leave a file in a `tmp/`; such a one is nobody's letter and is swept by its age.
    """
    root = Path(life.ready()["mailbox_dir"])
    ends = time.monotonic() + PATIENCE_S
    while left := [
        str(path.relative_to(root))
        for box in ("new", "cur")
        for path in root.glob(f"*/*/{box}/*.json")
        if path.parts[-4] in books.sessions
    ]:
        if time.monotonic() > ends:
            return [f"a letter stays in its box: {one}; {life.said()[-2000:]}" for one in left]
        time.sleep(0.01)
    return []


def _boxes(home: DaemonHome) -> list[str]:
    try:
        reports = check_tree(home.data_dir / "mailbox")
    except NotFound:
        return []
    return [f"{report.path}: {report}" for report in reports if not report.ok]
