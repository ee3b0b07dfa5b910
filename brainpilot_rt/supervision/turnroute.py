"""What the router has to know before a turn of a run: its class, its size, and what is held.

Held is the model of the agent's previous turn: its prompt cache has most of what will be asked, and
in a loop of tool calls it goes on (pain 19). After a restart it is read from the log.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.messages import ToolResultMessage, UserMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRef, ModelRequest, ReplyFinished
from brainpilot_rt.domain.thinking import ProgramName
from brainpilot_rt.domain.tools import ToolResult
from brainpilot_rt.domain.usage import NO_USAGE, Usage
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.models.routing import Held
from brainpilot_rt.models.task_classes import Moment, task_class
from brainpilot_rt.sessions.manager import SessionManager
from brainpilot_rt.supervision.calls import RunCalls
from brainpilot_rt.supervision.routing import Router, Wanted

CACHE_MS: Final = 300_000
"""Milliseconds that a provider keeps a prompt in its cache, as those publish it that have one."""
_LOOK_BACK: Final = 8


@dataclass(frozen=True, slots=True)
class _Last:
    model: ModelRef
    task_class: str
    input_tokens: int
    at_ms: int


class TurnCalls:
    """The governed model calls of one run, each with what the router has to know of it."""

    def __init__(  # noqa: PLR0913 - what a route is found by
        self,
        identity: RunIdentity,
        calls: RunCalls,
        *,
        manager: SessionManager,
        log: EventLog,
        router: Router,
        estimate: Callable[[ModelRequest], Usage],
        now_ms: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._calls = calls
        self._manager = manager
        self._log = log
        self._router = router
        self._estimate = estimate
        self._now_ms = now_ms
        self._last: _Last | None = None
        self._looked = False

    @property
    def spent(self) -> bool:
        """Whether a budget of the run is used up."""
        return self._calls.spent

    async def rate(self, turn: int, results: Sequence[ToolResult]) -> None:
        """The tools of a turn have ended."""
        await self._calls.rate(turn, results)

    async def stream(
        self, request: ModelRequest, program: ProgramName
    ) -> AsyncGenerator[ModelEvent, None]:
        """One reply, as `RunCalls.stream` gives it."""
        wanted = await self._wanted(request, program)
        async with aclosing(self._calls.stream(request, wanted)) as events:
            async for event in events:
                if isinstance(event, ReplyFinished) and self._calls.last is not None:
                    last = self._calls.last
                    taken = _taken(event.usage)
                    self._last = _Last(last.model, last.task_class, taken, self._now_ms())
                yield event

    async def _wanted(self, request: ModelRequest, program: ProgramName) -> Wanted:
        """What the next turn wants."""
        state = self._manager.state(self._identity.session)
        run = state.runs.get(self._identity.run_id)
        in_loop = bool(request.messages) and isinstance(request.messages[-1], ToolResultMessage)
        asked = next(
            (one for one in reversed(request.messages) if isinstance(one, UserMessage)), None
        )
        moment = Moment(
            intent=run.record.intent if run else None,
            program=program,
            first=run is None or run.turns == 0,
            results_pending=in_loop,
            closing=not request.tools,
            asked_chars=len(asked.text) if asked else 0,
        )
        auto = request.model is None and (state.agent is not None or self._router.auto_for_teams)
        free = auto and len(self._router.candidates(auto=True)) > 1
        wanted = Wanted(
            task_class=task_class(moment),
            pinned=request.model,
            auto=auto,
            usage=self._estimate(request) if free else NO_USAGE,
            prefer="floor" if run is not None and run.record.downgraded else "",
        )
        if not free:
            return wanted
        return await self._with_held(wanted, in_loop=in_loop)

    async def _with_held(self, wanted: Wanted, *, in_loop: bool) -> Wanted:
        if self._last is None and not self._looked:
            self._looked = True
            self._last = await self._from_log()
        last = self._last
        if last is None:
            return wanted
        warm = self._now_ms() - last.at_ms < CACHE_MS
        cached = min(last.input_tokens, wanted.usage.input) if warm else 0
        held = Held(
            model=last.model,
            task_class=last.task_class,
            in_loop=in_loop,
            cached_share=cached / wanted.usage.input if wanted.usage.input else 0.0,
        )
        return replace(wanted, held=held, cached=cached)

    async def _from_log(self) -> _Last | None:
        found = await self._log.read_back(
            self._identity.session, limit=_LOOK_BACK, types=frozenset({"turn_rated"})
        )
        for recorded in reversed(found):
            event = recorded.event
            if isinstance(event, ev.TurnRated) and event.agent == self._identity.agent:
                return _Last(event.model, event.task_class, _taken(event.usage), recorded.at_ms)
        return None


def _taken(usage: Usage) -> int:
    return usage.input + usage.cache_read + usage.cache_write
