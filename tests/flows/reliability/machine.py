"""A state machine over the whole team: everything that may happen, in any order (7.2).

Each rule orders one thing and lets the loop turn a few times or until it rests; so what is ordered
next, a crash too, falls between any two steps of what is under way.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from brainpilot_rt.aiokit import failpoints
from brainpilot_rt.domain.errors import FatalFault, RetryableFault
from brainpilot_rt.domain.ids import USER, AgentName, SessionId
from brainpilot_rt.sessions.audit import Audit
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.testing.models import Call, Reply, Thought
from tests.flows.reliability import oracle
from tests.flows.reliability.clients import Reader
from tests.flows.reliability.world import DEED, FULL, LOOK, World, foreign_name

AGENTS = ("principal", "librarian", "engineer")
SESSIONS = (SessionId("s"), SessionId("t"))
POINTS = (
    "log.commit.before", "log.commit.half", "log.commit.after", "log.acknowledge.before",
    "session.append.before", "session.publish.before", "session.publish.after",
    "files.create.after", "files.write.after", "files.rename.before", "files.rename.after",
    "files.replace.before", "mail.place.before", "mail.place.half", "mail.place.after",
    "mail.adopt.before", "mail.adopt.after", "mail.accept.before", "mail.accept.after",
    "mail.bad.before", "mail.bad.half", "mail.bad.after", "mail.read.after",
    "turn.offered.after", "turn.model_called.before", "turn.replied.after", "turn.committed.after",
    "run.finished.after", "tool.started.before", "tool.started.after", "tool.executed.before",
    "tool.executed.after", "tool.finished.after", "boot.repair.before", "boot.repair.after",
    "boot.resume.before", "boot.resume.after", "log.remove.before", "log.remove.after",
)  # fmt: skip
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "torn": b'{"to": "principal", "content": "hel',
    "list": b"[]",
    "stray": json.dumps({"to": "nobody", "content": "x"}).encode(),
    "surrogate": b'{"to": "principal", "content": "\\ud800"}',
    "deep": b'{"to": "principal", "content": ' + b"[" * 3000 + b"]" * 3000 + b"}",
}

turns = st.sampled_from([None, None, None, 0, 1, 2, 3, 5, 9])
agents = st.sampled_from(AGENTS)
sessions = st.sampled_from([SESSIONS[0], SESSIONS[0], SESSIONS[0], SESSIONS[1]])
picks = st.integers(0, 7)
seeds = st.none() | st.integers(0, 1 << 20)

seen: Counter[str] = Counter()
"""How often each rule was played, over all examples of this process."""


def reply(what: str, to: str, *, task: bool) -> Reply:
    """What a model may say."""
    said: dict[str, tuple[Any, ...]] = {
        "text": ("Hel", "lo."),
        "thought": (Thought("Hm."), "So."),
        "send": ("I ask.", Call("send_message", {"to": to, "content": "work"})),
        "result": (
            Call("send_message", {"to": to, "content": "found", "msg_type": "result_deliver"}),
        ),
        "many": tuple(
            Call("send_message", {"to": one, "content": "work"}) for one in AGENTS if task
        )
        or (Call(LOOK), Call(LOOK)),
        "deed": (Call(DEED), Call(LOOK)) if task else (Call(DEED),),
        "ask": (
            Call("ask_user", {"question": "Which?", "options": ["yes", "no"] if task else []}),
        ),
        "create": (Call("create_agent", {"agent_type": to}),),
        "destroy": (Call("destroy_agent", {"agent_type": to}),),
        "unknown": (Call("no_such_tool", {"x": 1}), "Hm."),
        "cut": ("Hel", RetryableFault("the connection was cut")),
        "error": (FatalFault("no", code="auth"),),
    }
    return Reply(said[what])


OFFERED_AGAIN_S = 60.0

KINDS = ("text", "text", "thought", "send", "send", "result", "many", "deed", "deed", "ask",
         "create", "destroy", "unknown", "cut", "error")  # fmt: skip


class Team(RuleBasedStateMachine):
    """The machine. `self.world` is the system, the few dicts beside it are the model."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=_shm(), prefix="model-"))
        self.world: World
        self.audits: dict[SessionId, tuple[Audit, int]] = {}
        self.dropped: dict[str, bytes] = {}
        self.full = False
        self.refused = False
        """The disk was full: what it refused is offered again after a while."""

    # --- plumbing ---------------------------------------------------------------------------

    def go(self, what: str, turns: int | None) -> None:
        """Let it go on; whoever died lives again."""
        seen[what] += 1
        if self.world.life is not None:
            self.world.turn(turns)
        if self.world.life is None:
            self.revive()
        if turns is None and not self.full:
            if self.refused:
                self.refused = False
                self.world.turn(pass_s=OFFERED_AGAIN_S)
                if self.world.life is None:
                    self.revive()
            _none(oracle.at_rest(self.world), "at rest")

    def revive(self) -> None:
        seen["died"] += 1
        self.world.start()

    def ask(self, what: str, work: Any, note: Any = None) -> None:
        self.world.ask(what, work, note)

    @property
    def backend(self) -> Any:
        return self.world.crew.backend

    @initialize(seed=seeds)
    def begin(self, seed: int | None) -> None:
        self.world = World(self.root, seed)
        self.create(SESSIONS[0], None)

    # --- people -----------------------------------------------------------------------------

    @rule(session=sessions, turns=turns)
    def create(self, session: SessionId, turns: int | None) -> None:
        if session not in self.world.gone:
            self.ask("create", self.backend.create_session(NewSession(session=session)))
        self.go("create", turns)

    @rule(session=sessions, agent=agents, turns=turns)
    def send(self, session: SessionId, agent: str, turns: int | None) -> None:
        post = self.backend.post_message(session, agent=agent, content="Hi.", message_id=None)
        self.ask("post", post, (session, agent))
        self.go("send", turns)

    @rule(session=sessions, pick=picks, words=st.sampled_from(["yes", "no"]), turns=turns)
    def answer(self, session: SessionId, pick: int, words: str, turns: int | None) -> None:
        state = self.world.crew.organs.manager.find(session)
        for asked in list(state.questions)[: 1 + pick % 2] if state is not None else []:
            self.ask("answer", self.backend.answer(session, asked, words, None), asked)
        self.go("answer", turns)

    @rule(session=sessions, agent=st.none() | agents, turns=turns)
    def stop(self, session: SessionId, agent: str | None, turns: int | None) -> None:
        name = AgentName(agent) if agent else None
        self.ask("stop", self.backend.interrupt(session, name))
        self.go("stop", turns)

    @rule(session=sessions, agent=agents, turns=turns)
    def delete_agent(self, session: SessionId, agent: str, turns: int | None) -> None:
        supervisor = self.world.crew.supervisor
        self.ask("destroy", supervisor.destroy(session, AgentName(agent), USER))
        self.go("delete_agent", turns)

    @rule(session=sessions, turns=turns)
    def evict(self, session: SessionId, turns: int | None) -> None:
        self.ask("evict", self.backend.evict_session(session))
        self.go("evict", turns)

    @precondition(lambda self: not self.full)
    @rule(turns=turns)
    def delete_session(self, turns: int | None) -> None:
        self.world.gone.add(SESSIONS[1])
        self.ask("delete", self.backend.delete_session(SESSIONS[1]))
        self.go("delete_session", turns)

    # --- models and tools -------------------------------------------------------------------

    @rule(pick=picks, what=st.sampled_from(KINDS), to=agents, task=st.booleans(), turns=turns)
    def model_reply(self, pick: int, what: str, to: str, turns: int | None, *, task: bool) -> None:
        self._decide(lambda life: life.calls, pick, reply(what, to, task=task))
        self.go(f"model_reply {what}", turns)

    @rule(turns=turns)
    def models_reply(self, turns: int | None) -> None:
        for pick in range(4):
            self._decide(lambda life: life.calls, pick, Reply(("Well.",)))
        self.go("models_reply", turns)

    @rule(pick=picks, how=st.sampled_from(["ok", "ok", "err"]), turns=turns)
    def tool_finish(self, pick: int, how: str, turns: int | None) -> None:
        self._decide(lambda life: life.execs, pick, how)
        self.go("tool_finish", turns)

    def _decide(self, among: Callable[[Any], list[Any]], pick: int, value: Any) -> None:
        waiting = [one for one in among(self.world.life) if not one.decided.done()]
        if waiting:
            waiting[pick % len(waiting)].decided.set_result(value)

    # --- files ------------------------------------------------------------------------------

    @rule(session=sessions, agent=agents, number=st.integers(0, 3), other=st.booleans())
    def drop_foreign(self, session: SessionId, agent: str, number: int, *, other: bool) -> None:
        """The same name again is a duplicate, or a conflict when it says something else."""
        seen["drop_foreign"] += 1
        letter = {"to": agent, "content": "other" if other else "foreign"}
        self._drop(session, agent, foreign_name(number), json.dumps(letter).encode())

    @rule(session=sessions, agent=agents, what=st.sampled_from(sorted(HOSTILE)))
    def drop_hostile(self, session: SessionId, agent: str, what: str) -> None:
        seen["drop_hostile"] += 1
        self._drop(session, agent, f"bad-{what}", HOSTILE[what])

    def _drop(self, session: SessionId, agent: str, name: str, data: bytes) -> None:
        box = self.world.folder / "mail" / session / agent
        if (box / "new").is_dir() and (box / "tmp").is_dir():
            self.world.put(box, f"{name}.json", data)

    @rule(turns=turns)
    def deliver_scan(self, turns: int | None) -> None:
        self.world.crew.watcher.changed()
        self.ask("scan", self.world.crew.office.scan())
        self.go("deliver_scan", turns)

    # --- the machine and the daemon ---------------------------------------------------------

    @rule()
    def crash(self) -> None:
        seen["crash"] += 1
        self.world.crash()
        self.revive()

    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 3))
    def crash_at(self, point: str, nth: int) -> None:
        seen["crash_at"] += 1
        failpoints.configure(f"{point}=kill@{nth}")

    @precondition(lambda self: not self.full)
    @rule()
    def restart(self) -> None:
        seen["restart"] += 1
        self.world.stop()
        self.revive()

    @rule(seconds=st.sampled_from([1, 5, 30, 600]))
    def pass_time(self, seconds: int) -> None:
        seen["pass_time"] += 1
        self.world.turn(None, pass_s=seconds)
        if self.world.life is None:
            self.revive()

    @rule(seconds=st.sampled_from([-3600, 7200, 380_000_000]), turns=turns)
    def clock(self, seconds: int, turns: int | None) -> None:
        self.world.clock.step_s += seconds
        self.go("clock", turns)

    @rule(on=st.booleans(), turns=turns)
    def disk_full(self, turns: int | None, *, on: bool) -> None:
        failpoints.reset()
        self.full = on
        if on:
            self.refused = True
            failpoints.configure(";".join(f"{one}=raise:ENOSPC@1+" for one in FULL))
        self.go("disk_full", turns)

    @precondition(lambda self: not self.full)
    @rule(turns=turns)
    def reap(self, turns: int | None) -> None:
        """An idle reaper asks with what it saw before something more may have come."""
        epoch = self.backend.liveness().idle_epoch
        self.go("reap", turns)
        if self.backend.shutdown_if_idle(epoch) == ():
            seen["reaped"] += 1
            self.world.stop()
            self.revive()

    # --- readers ----------------------------------------------------------------------------

    @rule(session=sessions, turns=turns)
    def sse_connect(self, session: SessionId, turns: int | None) -> None:
        if len(self.world.readers) < 3 and session in self.world.visible:
            self.world.readers.append(Reader(session))
            self._follow(self.world.readers[-1])
        self.go("sse_connect", turns)

    @rule(pick=picks, turns=turns)
    def sse_resume(self, pick: int, turns: int | None) -> None:
        if self.world.readers:
            reader = self.world.readers[pick % len(self.world.readers)]
            reader.leave()
            self._follow(reader)
        self.go("sse_resume", turns)

    @rule(pick=picks, on=st.booleans(), turns=turns)
    def sse_stall(self, pick: int, turns: int | None, *, on: bool) -> None:
        if self.world.readers:
            self.world.readers[pick % len(self.world.readers)].stall(on=on)
        self.go("sse_stall", turns)

    def _follow(self, reader: Reader) -> None:
        life = self.world.life
        assert life is not None
        if reader.session not in self.world.gone:
            self.ask("sse", reader.follow(life.streams))

    # --- what must be true ------------------------------------------------------------------

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "world"):
            _none(oracle.step(self.world, self.audits), "now")

    @override
    def teardown(self) -> None:
        seen["examples"] += 1
        failpoints.reset()
        try:
            if hasattr(self, "world"):
                self._finish()
        finally:
            failpoints.reset()
            if hasattr(self, "world"):
                self.world.close()
            shutil.rmtree(self.root, ignore_errors=True)

    def _finish(self) -> None:
        world = self.world
        for reader in world.readers:
            reader.leave()
        _none(oracle.quiesce(world), "at the end")
        for reader in world.readers:
            self._follow(reader)
        world.turn()
        for reader in world.readers:
            head = len(world.visible.get(reader.session, []))
            behind = bool(reader.keys) and f".{head}" not in reader.keys[-1]
            if reader.session not in world.gone and behind:
                world.faults.append(f"{reader.session}: {reader.keys[-1]} is not the head {head}")
            reader.leave()
        world.turn()
        _none(oracle.step(world, self.audits), "at the end")
        _none(oracle.at_rest(world), "at the end")
        _none(oracle.promises(world), "at the end")
        _none(oracle.second_start_changes_nothing(world), "at the second start")
        _none(oracle.integrity(world), "at the end")


def _none(found: list[str], when: str) -> None:
    assert not found, f"{when}: " + "\n".join(found)


def _shm() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
