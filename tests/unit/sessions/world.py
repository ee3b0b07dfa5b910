"""One session without a log: decide, evolve, whatever follows, and the books of the audit."""

from dataclasses import dataclass, field
from typing import Any

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected
from brainpilot_rt.domain.ids import (
    PRINCIPAL,
    AgentName,
    CallId,
    HostRunId,
    LetterId,
    MessageId,
    RequestId,
    RunId,
    SessionId,
    TaskId,
)
from brainpilot_rt.domain.letters import AgentCard, ForeignLetter, LetterKind
from brainpilot_rt.sessions.audit import Audit
from brainpilot_rt.sessions.decide import decide
from brainpilot_rt.sessions.evolve import evolve
from brainpilot_rt.sessions.moment import Moment, RefusedLoudly
from brainpilot_rt.sessions.schedule import follow_ups
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.settings import SessionLimits
from brainpilot_rt.testing.sources import START, SequentialIds

SESSION = SessionId("s")


@dataclass
class World:
    """A session that exists, on a clock that stands still until it is moved."""

    limits: SessionLimits = field(default_factory=SessionLimits)
    now_ms: int = int(START.timestamp() * 1000)
    new_id: SequentialIds = field(default_factory=SequentialIds)
    state: SessionState = field(default_factory=lambda: SessionState(session=SESSION))
    log: list[ev.Recorded] = field(default_factory=list[ev.Recorded])

    def __post_init__(self) -> None:
        self.do(cmd.CreateSession(title="t"))

    @property
    def moment(self) -> Moment:
        return Moment(now_ms=self.now_ms, new_id=self.new_id, limits=self.limits)

    def commit(self, events: list[ev.Event], *, follow: bool = True) -> list[ev.Event]:
        """What the manager appends for these events."""
        batch: list[ev.Event] = []
        more = events or (follow_ups(self.state, self.moment) if follow else [])
        while more:
            for event in more:
                place = Recorded(self.state.seq + 1, self.now_ms, event)
                self.state = evolve(self.state, place)
                self.log.append(place)
            batch += more
            assert len(batch) < 1000
            more = follow_ups(self.state, self.moment) if follow else []
        return batch

    def do(self, command: cmd.Command) -> list[ev.Event]:
        """Decide and commit; raises the refusal, after what had to be seen of it was committed."""
        try:
            events = decide(self.state, command, self.moment)
        except RefusedLoudly as loudly:
            self.commit(loudly.events)
            raise loudly.error from None
        return self.commit(events)

    def tried(self, command: cmd.Command) -> list[ev.Event]:
        """As `do`; a refusal is no events."""
        try:
            return self.do(command)
        except CommandRejected:
            return []

    def pass_s(self, seconds: float) -> list[ev.Event]:
        """Time passes, and the timer fires."""
        self.now_ms += int(seconds * 1000)
        return self.do(cmd.Wake())

    def run_of(self, agent: str) -> RunId:
        """The run of an agent at work."""
        [run_id] = [run.run_id for run in self.state.runs.values() if run.agent == agent]
        return run_id

    def violations(self) -> list[str]:
        audit = Audit(SESSION).feed(self.log)
        return [f"{one.what} {one.which}" for one in audit.violations()]

    def replayed(self) -> SessionState:
        state = SessionState(session=SESSION)
        for recorded in self.log:
            state = evolve(state, recorded)
        return state

    # --- commands in short --------------------------------------------------------------------

    def post(self, text: str = "Go.", agent: str = PRINCIPAL) -> cmd.PostUserMessage:
        letter_id = self.new_id()
        return cmd.PostUserMessage(
            agent=AgentName(agent),
            content=text,
            letter_id=LetterId(letter_id),
            message_id=MessageId(f"msg_{letter_id}"),
            host_run_id=HostRunId(f"host_{letter_id}"),
        )

    def send(
        self,
        sender: str,
        to: str,
        content: str = "work",
        kind: LetterKind | None = None,
        task_id: str | None = None,
    ) -> cmd.SendLetter:
        own = self.new_id()
        return cmd.SendLetter(
            sender=AgentName(sender),
            run_id=self.run_of(sender),
            to=AgentName(to),
            content=content,
            kind=kind,
            task_id=None if task_id is None else TaskId(task_id),
            letter_id=LetterId(own),
            new_task_id=TaskId(f"task_{own}"),
        )

    def foreign(self, to: str, content: str = "hello", **more: object) -> cmd.ReceiveLetter:
        own = self.new_id()
        return cmd.ReceiveLetter(
            agent=AgentName(to),
            letter=ForeignLetter.model_validate({"to": to, "content": content, **more}),
            letter_id=LetterId(own),
            message_id=MessageId(f"msg_{own}"),
            host_run_id=HostRunId(f"host_{own}"),
            new_task_id=TaskId(f"task_{own}"),
        )

    def finish(
        self, agent: str, outcome: ev.RunOutcome = "completed", **more: Any
    ) -> cmd.FinishRun:
        run_id = self.run_of(agent)
        turns = self.state.runs[run_id].turns
        return cmd.FinishRun(run_id=run_id, outcome=outcome, turns=turns, **more)

    def ask(self, agent: str) -> cmd.AskQuestion:
        own = self.new_id()
        return cmd.AskQuestion(
            request_id=RequestId(f"req_{own}"),
            run_id=self.run_of(agent),
            call_id=CallId(f"call_{own}"),
            agent=AgentName(agent),
            question="?",
        )

    def join_external(self, name: str) -> cmd.JoinExternal:
        return cmd.JoinExternal(agent=AgentName(name), card=AgentCard(name=name, kind="external"))


def Recorded(seq: int, at_ms: int, event: ev.Event) -> ev.Recorded:  # noqa: N802 - the class, with what never differs here
    return ev.Recorded(SESSION, seq, seq, at_ms, event)
