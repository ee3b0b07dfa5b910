"""Wires one run: the ports of the turn loop and of its tools, filled with the organs.

Nothing here decides. Facts go to the manager, words to the hub, calls to the runner, letters
through commands. Everything a tool creates gets an id made from its call id, so that a call that is
run again after a crash does nothing twice (D7).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final, Literal

from brainpilot_rt.agents.definition import AgentDefinition, RequestContext
from brainpilot_rt.agents.ports import RunIdentity, TurnPorts
from brainpilot_rt.aiokit.sources import NewId
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.context.assembly import Assembled
from brainpilot_rt.context.conversation import render
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected, Unavailable
from brainpilot_rt.domain.ids import CallId, MessageId, RunId
from brainpilot_rt.domain.messages import AssistantMessage, Message, ToolCall, UserMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest, ReplyFinished
from brainpilot_rt.domain.tools import ToolResult, ToolSpec
from brainpilot_rt.sessions.runs import silent
from brainpilot_rt.sessions.state import RunState, SessionState
from brainpilot_rt.supervision.calls import RunCalls
from brainpilot_rt.supervision.contexts import RunContext
from brainpilot_rt.supervision.crew import equip, resolved
from brainpilot_rt.supervision.money import Caller
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.programs import RunProgram
from brainpilot_rt.supervision.stalls import StallWatch
from brainpilot_rt.supervision.toolports import CALL_PREFIX, ToolPorts
from brainpilot_rt.supervision.turnroute import TurnCalls
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.runner import RunnerLimits, ToolRunner

_TURNS_AFTER_STOP: Final = 8
"""Turns a run has to finish with what it has after its chain of letters was stopped (I-11)."""

_log = logging.getLogger(__name__)


class RunWiring:
    """The ports of one run."""

    def __init__(self, organs: Organs, tools: Registry, state: SessionState, run: RunState) -> None:
        self._organs = organs
        self._root = run.root_id
        self._turns_left = _TURNS_AFTER_STOP
        agent = state.agents[run.agent]
        self.identity = RunIdentity(
            session=state.session, agent=run.agent, role=agent.role, run_id=run.run_id
        )
        context = RequestContext(
            session=state.session,
            agent=run.agent,
            role=agent.role,
            model=organs.model_of(state.provider_id, state.model_id),
            thinking=state.thinking,
            prompt=organs.prompts().get(run.agent),
            max_turns=_turns_left(state, run, organs.settings.max_turns),
            labels=state.labels,
        )
        made = organs.profile(agent.role).create(context)
        allowed = equip(tools, made, organs.grants(agent.role))
        self.definition: AgentDefinition = resolved(made, allowed)
        self.program = RunProgram(organs, self.identity, self.definition)
        self._context = RunContext(organs, self.identity, self.definition)
        self._held: tuple[ev.Event, ...] = ()
        self._specs = {spec.name: spec for spec in allowed.specs()}
        governing = organs.governing
        caller = Caller(
            session=state.session,
            agent=run.agent,
            run_id=run.run_id,
            root_id=run.root_id,
            host_run_id=run.host_run_id,
        )
        self._calls = TurnCalls(
            self.identity,
            RunCalls(governing.calls, caller, self),
            manager=organs.manager,
            log=organs.log,
            router=governing.router,
            estimate=governing.calls.money.expected.before,
            now_ms=organs.clock.now_ms,
        )
        self.tool_ports = ToolPorts(
            organs, self.identity, allowed, self.program, lambda: self._calls.spent
        )
        self.runner = ToolRunner(
            allowed,
            self.tool_ports.runner_ports(),
            clock=organs.clock,
            limits=RunnerLimits(
                parallel_max=organs.settings.tools_parallel_max,
                result_tokens_max=organs.settings.tool_result_tokens_max,
            ),
        )

    def ports(self) -> TurnPorts:
        """The world as the turn loop sees it."""
        return TurnPorts(
            stream=self._stream,
            emit=self.record,
            show=self._show,
            offer=self._offer,
            call_tools=self._call_tools,
            boundary=self._boundary,
            remind=self._remind,
            prepare=self._prepare,
            proceed=self._proceed,
            assemble=self._assemble,
            spent=self._spent,
            new_message_id=lambda: MessageId(f"msg_{self._organs.new_id()}"),
            monotonic=self._organs.clock.monotonic,
        )

    @property
    def run_id(self) -> RunId:
        """The run that is wired."""
        return self.identity.run_id

    def _state(self) -> SessionState:
        return self._organs.manager.state(self.identity.session)

    def hold(self, *facts: ev.Event) -> None:
        """Facts that need no commit of their own: they go first in the next one."""
        self._held += facts

    def preceded(self, *facts: ev.Event) -> tuple[ev.Event, ...]:
        """These facts after those that were held, which the caller commits now."""
        held, self._held = self._held, ()
        return (*held, *facts)

    async def record(self, *facts: ev.Event) -> list[ev.Recorded]:
        """Commit facts, after those that were held."""
        return await self._organs.manager.record(self.identity.session, *self.preceded(*facts))

    def _show(
        self,
        message_id: MessageId,
        index: int,
        offset: int,
        text: str,
        kind: Literal["text", "reasoning"],
    ) -> None:
        del index, offset, kind  # the hub counts them itself, as everybody is told
        self._organs.hub.show(self.identity.session, message_id, text)

    async def _stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        organs = self._organs
        if organs.liveness.closing:
            raise asyncio.CancelledError  # the daemon stops: this turn is asked at the next start
        stream = self._calls.stream(request, self.program.now)
        hear = organs.secrets.hearing()
        watch = StallWatch(
            organs.settings.stall_notice_s, lambda silent_s: self._stalled(request.turn, silent_s)
        )
        try:
            with organs.liveness.hold("model_call"):
                async for event in stream:
                    watch.heard()
                    for one in hear(event):
                        yield (
                            _own_ids(one, organs.new_id) if isinstance(one, ReplyFinished) else one
                        )
        finally:
            watch.stop()
            await stream.aclose()

    def _stalled(self, turn: int, silent_s: int) -> None:
        stalled = ev.ModelStalled(
            run_id=self.run_id,
            agent=self.identity.agent,
            turn=turn,
            silent_s=silent_s,
            reason="the model has sent nothing",
        )
        self._organs.tasks.spawn(self._notice(stalled), name=f"stall notice of {self.run_id}")

    async def _notice(self, stalled: ev.ModelStalled) -> None:
        """Advice, no more: when the log can not take it, or the run has ended, it is not given."""
        try:
            await self.record(stalled)
        except (CommandRejected, Unavailable) as fault:
            _log.warning("%s is silent, which can not be recorded: %s", self.run_id, fault)

    def _offer(self, names: tuple[str, ...]) -> tuple[ToolSpec, ...]:
        offered = self.program.offer(names)
        return tuple(self._specs[name] for name in offered if name in self._specs)

    async def _call_tools(
        self,
        calls: tuple[ToolCall, ...],
        turn: int,
        preceding: tuple[ev.Event, ...],
        *,
        resumed: bool,
    ) -> list[ToolResult]:
        self.tool_ports.begin(calls, turn, self.preceded(*preceding), resumed=resumed)
        results = await self.runner.run(calls)
        await self._calls.rate(turn, results)
        return results

    async def _boundary(
        self, turn: int, preceding: tuple[ev.Event, ...]
    ) -> tuple[UserMessage, ...]:
        state = self._state()
        agent = self.identity.agent
        if state.agents[agent].paused or not state.queued_for(agent):
            return ()
        records = await self._organs.manager.dispatch(
            self.identity.session,
            cmd.JoinLetters(run_id=self.run_id, turn=turn, preceding=self.preceded(*preceding)),
        )
        for recorded in records:
            match recorded.event:
                case ev.LettersJoined(letter_ids=ids):
                    # Also those that were accepted while this commit was on its way.
                    known = self._state().letters
                    letters = [known[one].letter for one in ids if one in known]
                    return (UserMessage(text=render(letters, recorded.at_ms)),)
                case _:
                    pass
        return ()

    async def _prepare(self, turn: int) -> Sequence[Message] | None:
        compacted = await self._context.prepare(turn)
        self.hold(*await self.program.begin(self._context.excerpt))
        return compacted

    def _spent(self) -> bool:
        use = self._state().roots.get(self._root)
        if use is not None and use.stopped:
            self._turns_left -= 1
        return self._turns_left < 0 or self.program.ends

    async def _remind(self, preceding: tuple[ev.Event, ...]) -> UserMessage | None:
        if not silent(self._state(), self.run_id):
            return None
        records = await self._organs.manager.dispatch(
            self.identity.session,
            cmd.RemindTasks(run_id=self.run_id, preceding=self.preceded(*preceding)),
        )
        texts = [one.event.text for one in records if isinstance(one.event, ev.TaskReminded)]
        return UserMessage(text="\n\n".join(texts)) if texts else None

    async def _proceed(
        self, turn: int, said: str, preceding: tuple[ev.Event, ...]
    ) -> UserMessage | None:
        prompted, facts = await self.program.proceed(turn, said)
        self.hold(*facts)
        if prompted is None:
            return None
        await finish_shielded(self.record(*preceding, prompted))
        return UserMessage(text=prompted.text)

    def _assemble(self, history: Sequence[Message], marker: str, final: bool) -> Assembled:  # noqa: FBT001 - the port's signature
        del final
        assembled, fact = self._context.assemble(history, self.program.guidance(), marker)
        self._held = (fact, *self._held)  # in this context the program was chosen
        return assembled

    async def cancel_tool(self, call_id: str) -> bool:
        """End one running call; False when it is not running."""
        for running in self.runner.running:
            if running.call_id == call_id:
                return await self.runner.interrupt(running.call_id)
        return False


def _turns_left(state: SessionState, run: RunState, most: int) -> int | None:
    """Model calls that this run may make: the daemon's bound, and what is left of its request's."""
    host = state.host_turn
    if host is None or (host.agent, host.root_id) != (run.agent, run.root_id):
        return most or None
    if host.limits.max_turns is None:
        return most or None
    # A run that goes on after a crash counts from where the one before it was.
    left = max(1, host.limits.max_turns - host.turns + run.first_turn)
    return min(left, most) if most else left


def _own_ids(reply: ReplyFinished, new_id: NewId) -> ReplyFinished:
    """Give every call an id of ours: providers repeat theirs, and ours name what it creates."""
    parts = tuple(
        part.model_copy(update={"call_id": CallId(f"{CALL_PREFIX}{new_id()}")})
        if isinstance(part, ToolCall)
        else part
        for part in reply.message.parts
    )
    return reply.model_copy(update={"message": AssistantMessage(parts=parts)})
