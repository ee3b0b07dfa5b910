"""The turn loop: one run of one agent, from its history to an outcome.

    turn:  boundary (letters join) -> context prepared -> model call -> tools in parallel -> next
    end:   a reply without calls, nothing new to read, no undelivered task to be reminded of, and
           the program (respond, react, research, ...) wants nothing more

Counting: turns count from 0 inside a run and go on across a resume. With `max_turns`, or when the
host says that a run has spent what it may, the last one is forced: no tools, the definition's
message instead of the marker, and nothing is consulted after it. Calls the model makes there anyway
are refused, each with its one result.

What is committed when: texts are announced while they grow; their ends, the reply and whatever
follows from it go into one commit, made by the port that knows what follows. Of the last reply they
are handed back as `closing`, for the transaction that ends the run. A cancelled or failed model
call leaves its texts closed as aborted and no reply: the turn is asked again (D8).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from brainpilot_rt.agents.definition import AgentDefinition
from brainpilot_rt.agents.ports import RunIdentity, RunResult, TurnPorts
from brainpilot_rt.agents.reply import as_message, judge, last_calls, refuse
from brainpilot_rt.agents.speech import Speech
from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain.errors import FatalFault, ProviderFault, RetryableFault
from brainpilot_rt.domain.events import Event, ModelAttemptFailed, ModelReplied, Thinking
from brainpilot_rt.domain.ids import MessageId
from brainpilot_rt.domain.messages import AssistantMessage, Message, ToolCall
from brainpilot_rt.domain.model_calls import (
    AttemptFailed,
    ModelEvent,
    ModelRequest,
    ReasoningDelta,
    ReplyFinished,
    StopReason,
    TextDelta,
    ToolCallDelta,
)
from brainpilot_rt.domain.tools import ToolResult

NO_TOOLS_TEXT = "Not run: the turn limit is reached and this turn has no tools."
CUT_TEXT = (
    "Not run: the reply hit the output limit, so this call may be incomplete. Ask for less in one "
    "reply, for example write a long file in several pieces."
)


async def run(
    definition: AgentDefinition,
    ports: TurnPorts,
    history: Sequence[Message],
    *,
    identity: RunIdentity,
    first_turn: int = 0,
    thinking: Thinking = "off",
) -> RunResult:
    """Work until the agent has answered or can not go on.

    `history` ends with what is to be read, or, on a resume, with calls that have no result (they
    are run first; they belong to the turn before `first_turn`), or with a text that is already the
    answer. Raises CancelledError when stopped, and what the log raises when it fails.
    """
    work = _Work(definition, ports, identity, thinking, list(history))
    turn = first_turn
    await work.answer_open_calls(max(turn - 1, 0))
    if work.has_answered() and not await work.continues(turn, ()):
        return RunResult(outcome="completed", answer=work.said[1], turns=turn)
    cut = False
    while True:
        final = definition.is_final(turn) or ports.spent()
        work.transcript += await ports.boundary(turn, ())
        if (fresh := await ports.prepare(turn)) is not None:
            work.transcript = list(fresh)
        try:
            reply = await work.ask(turn, final=final)
        except ProviderFault as fault:
            return _failed(fault, turns=turn)
        if final or (not reply.calls and not await work.continues(turn + 1, reply.facts)):
            return work.end(turn, reply)
        if reply.calls and reply.stop is StopReason.LENGTH:
            if cut:
                return work.give_up_cut(turn, reply)
            await work.refuse_cut(turn, reply)
            cut = True
        elif reply.calls:
            await work.use_tools(turn, reply)
            cut = False
        hit("turn.committed.after")
        turn += 1


@dataclass(frozen=True, slots=True)
class _Reply:
    """A whole reply; `facts` are the ends of its texts and `model_replied`, not yet committed."""

    calls: tuple[ToolCall, ...]
    text: str
    stop: StopReason
    facts: tuple[Event, ...]


@dataclass(slots=True)
class _Work:
    """The state of a run in memory: the conversation so far, and what was said last."""

    definition: AgentDefinition
    ports: TurnPorts
    identity: RunIdentity
    thinking: Thinking
    transcript: list[Message]
    said: tuple[MessageId | None, str] = (None, "")

    def has_answered(self) -> bool:
        """True when the history ends with a reply that calls nothing: there is nothing to ask."""
        match self.transcript[-1:]:
            case [AssistantMessage(tool_calls=()) as last]:
                self.said = (None, last.text)
                return True
            case _:
                return False

    async def answer_open_calls(self, turn: int) -> None:
        """Run the calls that a crash left without a result."""
        position, calls = last_calls(self.transcript)
        asked = self.transcript[position - 1] if calls else None
        if not isinstance(asked, AssistantMessage):
            return
        open_calls = tuple(call for call in asked.tool_calls if calls[call.call_id] is None)
        if not open_calls:
            return
        results = await self.ports.call_tools(open_calls, turn, (), resumed=True)
        calls |= {result.call_id: as_message(result) for result in results}
        self.transcript[position:] = [result for result in calls.values() if result is not None]

    async def continues(self, turn: int, facts: tuple[Event, ...]) -> bool:
        """After a reply without calls: is there more to read in `turn`? Commits `facts` if so."""
        if joined := await self.ports.boundary(turn, facts):
            self.transcript += joined
            return True
        if (reminder := await self.ports.remind(facts)) is not None:
            self.transcript.append(reminder)
            return True
        if (wanted := await self.ports.proceed(max(turn - 1, 0), self.said[1], facts)) is not None:
            self.transcript.append(wanted)
            return True
        return False

    async def ask(self, turn: int, *, final: bool) -> _Reply:
        """One model call. On any failure its texts are closed as aborted before it is raised."""
        speech = Speech(self.ports, self.identity, turn)
        began = self.ports.monotonic()
        hit("turn.model_called.before")
        stream = self.ports.stream(self._request(turn, final=final))
        try:
            finished = await self._listen(turn, speech, stream)
            await speech.settle()
        except BaseException:
            await speech.abort()
            raise
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        hit("turn.replied.after")
        duration_ms = round((self.ports.monotonic() - began) * 1000)
        self.transcript.append(finished.message)
        if finished.message.text:
            self.said = (speech.answer_id, finished.message.text)
        return _Reply(
            calls=finished.message.tool_calls,
            text=finished.message.text,
            stop=finished.stop_reason,
            facts=(*speech.finished(), self._replied(turn, finished, duration_ms)),
        )

    async def _listen(
        self, turn: int, speech: Speech, stream: AsyncIterator[ModelEvent]
    ) -> ReplyFinished:
        finished: ReplyFinished | None = None
        async for event in stream:
            hit("turn.heard.after")
            match event:
                case TextDelta() | ReasoningDelta():
                    speech.hear(event)
                case AttemptFailed():
                    await self._note_attempt(turn, event)
                case ReplyFinished():
                    finished = event
                case ToolCallDelta():
                    pass
        if finished is None:
            raise FatalFault("the model stopped in the middle of a reply", code="protocol")
        if finished.message.text and speech.answer_id is None:
            speech.hear(TextDelta(index=0, text=finished.message.text))
        return finished

    async def use_tools(self, turn: int, reply: _Reply) -> None:
        """Run the calls; the transcript gets their results in call order."""
        results = await self.ports.call_tools(reply.calls, turn, reply.facts, resumed=False)
        self.transcript += map(as_message, results)

    async def refuse_cut(self, turn: int, reply: _Reply) -> None:
        """Calls of a reply that hit the output limit: none is run, the model may try once more."""
        facts, results = self._refuse(turn, reply, CUT_TEXT)
        await finish_shielded(self.ports.emit(*reply.facts, *facts))
        self.transcript += map(as_message, results)

    def give_up_cut(self, turn: int, reply: _Reply) -> RunResult:
        """A second reply in a row hit the output limit."""
        facts, _ = self._refuse(turn, reply, CUT_TEXT)
        return RunResult(
            outcome="failed",
            reason="Two replies in a row hit the output limit in the middle of a tool call.",
            error_code="output_length",
            turns=turn + 1,
            closing=(*reply.facts, *facts),
        )

    def end(self, turn: int, reply: _Reply) -> RunResult:
        """The last reply. The answer is its text or, if it has none, what was said before."""
        facts, _ = self._refuse(turn, reply, NO_TOOLS_TEXT)
        message_id, answer = self.said
        verdict = judge(reply.stop, reply.text, unfinished=bool(reply.calls))
        return RunResult(
            outcome=verdict.outcome,
            reason=verdict.reason,
            error_code=verdict.error_code,
            message_id=message_id,
            answer=answer,
            turns=turn + 1,
            closing=(*reply.facts, *facts),
        )

    def _refuse(self, turn: int, reply: _Reply, why: str) -> tuple[list[Event], list[ToolResult]]:
        effects = {spec.name: spec.effect for spec in self.ports.offer(self.definition.tools)}
        ledger = (self.identity.run_id, self.identity.agent, turn)
        return refuse(reply.calls, why, ledger=ledger, effects=effects)

    def _request(self, turn: int, *, final: bool) -> ModelRequest:
        definition = self.definition
        prompt = self.ports.assemble(self.transcript, definition.marker(turn, final=final), final)
        wants_thinking = definition.thinking_enabled and self.thinking == "off"
        return ModelRequest(
            session=self.identity.session,
            agent=self.identity.agent,
            role=self.identity.role,
            run_id=self.identity.run_id,
            turn=turn,
            model=definition.model,
            system=prompt.system,
            messages=prompt.messages,
            tools=() if final else self.ports.offer(definition.tools),
            max_tokens=definition.max_tokens,
            temperature=definition.temperature,
            thinking="medium" if wants_thinking else self.thinking,
        )

    def _replied(self, turn: int, finished: ReplyFinished, duration_ms: int) -> ModelReplied:
        return ModelReplied(
            run_id=self.identity.run_id,
            agent=self.identity.agent,
            turn=turn,
            message=finished.message,
            stop_reason=finished.stop_reason,
            usage=finished.usage,
            model=finished.model,
            cost_usd=finished.cost_usd,
            duration_ms=duration_ms,
        )

    async def _note_attempt(self, turn: int, failed: AttemptFailed) -> None:
        await self.ports.emit(
            ModelAttemptFailed(
                run_id=self.identity.run_id,
                agent=self.identity.agent,
                turn=turn,
                attempt=failed.attempt,
                attempts_max=failed.attempts_max,
                delay_ms=round(failed.delay_s * 1000),
                reason=failed.reason,
            )
        )


def _failed(fault: ProviderFault, *, turns: int) -> RunResult:
    return RunResult(
        outcome="failed",
        reason=fault.message,
        error_code=fault.code,
        retryable=isinstance(fault, RetryableFault),
        retry_after_s=fault.retry_after_s if isinstance(fault, RetryableFault) else None,
        turns=turns,
    )
