"""What the tools of one run may do, and how their calls are recorded.

`begin` is told what precedes the calls; the first commit of the batch holds it together with
`tool_planned` and `tool_started` (one commit per step of a turn). Ids of what a call creates come
from the call's own id.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected, Conflict
from brainpilot_rt.domain.ids import AgentName, CallId, LetterId, RequestId, TaskId
from brainpilot_rt.domain.messages import ToolCall
from brainpilot_rt.domain.passages import Passages
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.supervision.gates import ToolGate
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.programs import RunProgram
from brainpilot_rt.supervision.toolgate import Desk, RunGate
from brainpilot_rt.supervision.waiting import Waiting
from brainpilot_rt.tools.context import Outgoing, ToolContext
from brainpilot_rt.tools.registry import Registry, Tool
from brainpilot_rt.tools.runner import CallOutcome, RunnerPorts
from brainpilot_rt.tools.steps import Refuse, Verdict
from brainpilot_rt.trace import graph

CALL_PREFIX = "call_"


class ToolPorts:
    """The ports of one run's tools."""

    def __init__(
        self,
        organs: Organs,
        identity: RunIdentity,
        registry: Registry,
        program: RunProgram,
        spent: Callable[[], bool],
    ) -> None:
        """`spent`: whether a budget of the run is used up."""
        self._organs = organs
        self._spent = spent
        self._governed = RunGate(
            organs.governing.governor, identity, registry, _roots(organs, identity)
        )
        self._desk = Desk()
        self._plan = program.plan
        self._gate_of_run = ToolGate(organs, identity, program.end)
        self._identity = identity
        self._registry = registry
        self._session = identity.session
        self._turn = 0
        self._attempts: dict[CallId, int] = {}

    def begin(
        self,
        calls: Sequence[ToolCall],
        turn: int,
        preceding: tuple[ev.Event, ...],
        *,
        resumed: bool,
    ) -> None:
        """The next batch; its first commit will hold `preceding` and what is planned."""
        self._turn = turn
        planned = () if resumed else tuple(self._planned(call) for call in calls)
        self._desk.pending = (*preceding, *planned, *self._gate_of_run.begin(calls))
        run = self._organs.manager.state(self._session).runs.get(self._identity.run_id)
        begun = {one.call_id for one in run.calls.values() if one.started} if run else set[CallId]()
        self._attempts = {call.call_id: 2 if call.call_id in begun else 1 for call in calls}

    def runner_ports(self) -> RunnerPorts:
        """What the runner needs."""
        return RunnerPorts(
            context=self._context,
            gate=self._gate,
            unfit=lambda call: self._desk.note(self._governed.unfit(call, self._turn)),
            started=self._started,
            finished=self._finished,
            review=self._review,
        )

    # --- the record of calls --------------------------------------------------------------

    def _planned(self, call: ToolCall) -> ev.ToolPlanned:
        return ev.ToolPlanned(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=self._turn,
            call_id=call.call_id,
            name=call.name,
            arguments=call.arguments,
            raw_arguments=call.raw_arguments if call.arguments is None else "",
            effect=self._registry.effect(call.name),
        )

    async def _gate(self, call: ToolCall, tool: Tool) -> Verdict:
        agent = self._organs.manager.state(self._session).agents[self._identity.agent]
        if agent.run_id != self._identity.run_id:
            return Refuse("this run has ended")
        if call.name not in self._registry:
            return Refuse("not offered to this agent")
        if self._spent():
            return Refuse("skipped: the budget is exhausted")
        why, facts = self._gate_of_run.check(call)
        self._desk.note(*facts)
        if why:
            return Refuse(why)
        return await self._governed.judge(call, tool, self._turn, self._desk)

    async def _review(self, call: ToolCall, text: str) -> str:
        return await self._governed.review(call, text, self._turn, self._desk)

    async def _started(self, calls: tuple[ToolCall, ...]) -> None:
        pending = self._desk.take()
        started = [
            ev.ToolStarted(
                run_id=self._identity.run_id,
                call_id=call.call_id,
                attempt=self._attempts.get(call.call_id, 1),
            )
            for call in calls
        ]
        if pending or started:
            await self._organs.manager.record(self._session, *pending, *started)

    async def _finished(self, outcome: CallOutcome) -> None:
        result = outcome.result
        if result.status == "interrupted" and self._organs.liveness.closing:
            return  # the daemon stops: the call stays open, its class decides at the next start
        # Taken before the commit: who is cancelled meanwhile must not say it again.
        pending = self._desk.take()
        await self._organs.manager.record(
            self._session,
            *pending,
            ev.ToolFinished(
                run_id=self._identity.run_id,
                agent=self._identity.agent,
                call_id=result.call_id,
                name=result.name,
                content=result.content,
                status=result.status,
                full_output_path=result.full_output_path,
                duration_ms=outcome.duration_ms,
                reason=outcome.reason,
            ),
            *self._gate_of_run.note(result),
            *_withdrawn(self._organs.manager.state(self._session), result.call_id),
        )

    # --- what a tool may do ---------------------------------------------------------------

    def _context(self, call: ToolCall) -> ToolContext:
        own = call.call_id.removeprefix(CALL_PREFIX)

        async def send(letter: Outgoing) -> str:
            return await self._send(own, letter)

        async def ask(question: str, options: tuple[str, ...], free: bool) -> str:  # noqa: FBT001 - the port's signature
            asked = cmd.AskQuestion(
                request_id=RequestId(f"req_{own}"),
                run_id=self._identity.run_id,
                call_id=call.call_id,
                agent=self._identity.agent,
                question=question,
                options=options,
                allow_free_text=free,
            )
            return await self._ask(asked)

        organs = self._organs
        return ToolContext(
            session=self._session,
            agent=self._identity.agent,
            role=self._identity.role,
            run_id=self._identity.run_id,
            call_id=call.call_id,
            workspace=organs.workspace(self._session),
            clock=organs.clock,
            trace_rules=graph,
            send=send,
            ask=ask,
            create_agent=self._create_agent,
            destroy_agent=self._destroy_agent,
            save_trace=self._save_trace,
            trace_nodes=lambda: organs.trace_nodes(self._session),
            search=self._search,
            planning=self._plan,
            redact=organs.secrets.text,
        )

    async def _send(self, own: str, letter: Outgoing) -> str:
        to = letter.to
        records = await self._organs.manager.dispatch(
            self._session,
            cmd.SendLetter(
                sender=self._identity.agent,
                run_id=self._identity.run_id,
                to=to,
                content=letter.content,
                kind=letter.kind,
                task_id=letter.task_id,
                budget=letter.budget,
                letter_id=LetterId(own),
                new_task_id=TaskId(f"task_{own}"),
            ),
        )
        said = [f"Letter {own} to {to} is queued."]
        for recorded in records:
            match recorded.event:
                case ev.TaskOpened(task_id=opened, letter_id=letter_id) if letter_id == own:
                    said.append(f"It opened task {opened}; the result will reach you as a letter.")
                case ev.TaskClosed(task_id=closed, letter_id=letter_id) if letter_id == own:
                    said.append(f"It delivers task {closed}.")
                case ev.AgentCreated(agent=agent) if agent == to:
                    said.append(f"{agent} joined the team.")
                case _:
                    pass
        if self._organs.manager.state(self._session).agents[to].paused:
            said.append(f"{to} is paused by the user and will read it later.")
        return " ".join(said)

    async def _ask(self, asked: cmd.AskQuestion) -> str:
        """Ask durably and wait for as long as it takes; an answer given meanwhile counts."""
        organs = self._organs

        def matches(event: ev.Event) -> bool:
            ends = isinstance(event, ev.QuestionAnswered | ev.QuestionCancelled)
            return ends and event.request_id == asked.request_id

        given = await Waiting(organs.manager, organs.hub, organs.log).word(
            self._session,
            asked,
            is_open=lambda state: asked.request_id in state.questions,
            wanted="question_answered",
            matches=matches,
        )
        if isinstance(given, ev.QuestionAnswered):
            return given.answer
        assert isinstance(given, ev.QuestionCancelled)
        raise Conflict(f"the question was withdrawn: {given.reason}")

    async def _create_agent(self, agent: AgentName) -> str:
        command = cmd.CreateAgent(agent=agent, by=self._identity.agent)
        records = await self._organs.manager.dispatch(self._session, command)
        return f"{agent} is ready." if records else f"{agent} is in the team already."

    async def _destroy_agent(self, agent: AgentName) -> str:
        await self._organs.destroy(self._session, agent, self._identity.agent)
        return f"{agent} was stopped; whoever waited for it has been told."

    async def _save_trace(self, op: Literal["created", "updated"], node: TraceNode) -> None:
        await self._organs.manager.record(
            self._session, ev.TraceNodeSaved(op=op, node=node, agent=self._identity.agent)
        )

    async def _search(self, query: str, top_k: int) -> Passages:
        organs = self._organs
        return await organs.search(self._session, organs.workspace(self._session), query, top_k)


def _roots(organs: Organs, identity: RunIdentity) -> dict[str, str]:
    """Folders of this machine, as models know them; none where the work tree is refused."""
    try:
        return {str(organs.workspace(identity.session).root): "/workspace"}
    except CommandRejected:
        return {}


def _withdrawn(state: SessionState, call_id: CallId) -> list[ev.Event]:
    """A call that ended without the answer to its question asks nobody any more."""
    return [
        ev.QuestionCancelled(request_id=one.request_id, reason="interrupted", agent=one.agent)
        for one in state.questions.values()
        if one.call_id == call_id
    ]
