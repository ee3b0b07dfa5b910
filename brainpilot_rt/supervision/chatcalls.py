"""Governed calls that belong to no session: a client brings its whole conversation.

Their facts are in the daemon's stream, committed before the answer is given.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import BudgetExceeded, FatalFault
from brainpilot_rt.domain.ids import DAEMON_STREAM
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest, ReplyFinished
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.supervision.calls import Calls, RunCalls
from brainpilot_rt.supervision.money import EXHAUSTED, Caller
from brainpilot_rt.supervision.routing import Wanted
from brainpilot_rt.supervision.secrets import Secrets

Note = Callable[[ev.Event], None]


class Sink:
    """Facts of one request, on their way into the daemon's stream."""

    def __init__(self, manager: SessionManager, note: Note) -> None:
        self._manager = manager
        self._note = note
        self._held: tuple[ev.Event, ...] = ()

    def hold(self, *facts: ev.Event) -> None:
        """They go with the next commit."""
        self._held += facts
        for fact in facts:
            self._note(fact)

    async def record(self, *facts: ev.Event) -> None:
        """Commit them now, after what is held."""
        held, self._held = self._held, ()
        for fact in facts:
            self._note(fact)
        if held or facts:
            await self._manager.record(DAEMON_STREAM, *held, *facts)


async def governed_chat(
    calls: Calls, sink: Sink, secrets: Secrets, request: ModelRequest, wanted: Wanted
) -> AsyncGenerator[ModelEvent, None]:
    """The answer, under routing, budgets and guardrails.

    Raises `ProviderFault` and `BudgetExceeded` only.
    """
    run = RunCalls(
        calls, Caller(session=DAEMON_STREAM, agent=request.agent, run_id=request.run_id), sink
    )
    hear = secrets.hearing()
    try:
        async with aclosing(run.stream(request, wanted, "chat")) as events:
            async for event in events:
                if isinstance(event, ReplyFinished):
                    await run.rate(0, ())
                    await sink.record()
                for heard in hear(event):
                    yield heard
    except FatalFault as fault:
        if fault.code == EXHAUSTED:
            raise BudgetExceeded(fault.message) from None
        raise
    finally:
        await finish_shielded(sink.record())
