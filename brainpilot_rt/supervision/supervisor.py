"""The supervisor: a worker for every run, a timer for what time will change, and every stop.

It starts nothing on its own account: a run begins when the authority committed `run_started`, and
this module hears of it on the feed. A stop raises the fence first, then cancels, waits until
everything has really exited, and only then answers (D9).
"""

import asyncio
import logging

from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.aiokit.tasks import TaskSet, finish_shielded
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import CommandRejected, Unavailable
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName, RunId, SessionId
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions.hub import Item
from brainpilot_rt.sessions.recovery import cut, resume
from brainpilot_rt.sessions.runs import after_stop
from brainpilot_rt.sessions.snapshot import has_mail, working
from brainpilot_rt.sessions.state import SessionState
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.timers import WAKE_AGAIN_S, Timers
from brainpilot_rt.supervision.worker import Worker

TOOL_GRACE_S = 5.0
"""Seconds running tools get to finish and commit when the daemon stops."""

DESTROYED = "destroyed"

_log = logging.getLogger(__name__)


class Supervisor:
    """Owns the workers of all sessions."""

    def __init__(self, organs: Organs, tasks: TaskSet, clock: Clock) -> None:
        self._organs = organs
        self._tasks = tasks
        self._timers = Timers(organs.manager, tasks, clock)
        self._workers: dict[RunId, tuple[Worker, asyncio.Task[None]]] = {}
        self._stopping: dict[tuple[SessionId, AgentName | None], asyncio.Event] = {}
        self._live = False

    async def start(self) -> None:
        """Work every run the recovered sessions have, and every one that begins from now on."""
        self._live = True
        self._organs.hub.listen(self._on_item)
        for state in self._organs.manager.resident():
            for run_id in state.runs:
                self._spawn(state.session, run_id)
            if state.interrupted:
                hit("boot.resume.before")
                await self._organs.manager.amend(state.session, resume)
                hit("boot.resume.after")
            await self._timers.wake(state.session)

    def workers(self, session: SessionId) -> list[Worker]:
        """Workers of a session."""
        return [worker for worker, _ in self._workers.values() if worker.session == session]

    # --- the feed ---------------------------------------------------------------------------

    def _on_item(self, item: Item) -> None:
        if not isinstance(item, ev.Recorded) or not self._live:
            return
        if isinstance(item.event, ev.RunStarted):
            self._spawn(item.session, item.event.run_id)
        if isinstance(item.event, _TIMED):
            self._timers.arm(item.session)

    def _spawn(self, session: SessionId, run_id: RunId) -> None:
        if run_id in self._workers:
            return
        worker = Worker(self._organs, session, run_id)
        task = self._tasks.spawn(worker.work(), name=f"run {session}/{run_id}")
        self._workers[run_id] = (worker, task)
        task.add_done_callback(lambda _done: self._workers.pop(run_id, None))

    # --- stops ------------------------------------------------------------------------------

    async def interrupt(self, session: SessionId, agent: AgentName | None) -> bool:
        """Stop one agent or the session; True when there was something to stop. Single-flight."""
        key = (session, agent)
        while key in self._stopping:
            await self._stopping[key].wait()
        state = await self._organs.manager.load(session)
        if not _anything_to_stop(state, agent):
            return False
        ended = self._stopping[key] = asyncio.Event()
        try:
            await finish_shielded(self._stop(session, agent, "by the user"))
        finally:
            del self._stopping[key]
            ended.set()
        return True

    async def _stop(self, session: SessionId, agent: AgentName | None, reason: str) -> None:
        manager = self._organs.manager
        await manager.dispatch(session, cmd.Interrupt(agent=agent))
        await self._end(session, agent, reason)
        await self._settled(session, agent, reason)

    async def _settled(self, session: SessionId, agent: AgentName | None, reason: str) -> None:
        """Record what a stop leaves. What the log refuses now it is offered until it takes it."""
        try:
            await self._settle(session, agent, reason)
        except Unavailable:
            if self._live:
                later = self._settle_later(session, agent, reason)
                self._tasks.spawn(later, name=f"end of a stop of {session}")
            raise

    async def _settle(self, session: SessionId, agent: AgentName | None, reason: str) -> None:
        await self._end_orphans(session, agent, reason)
        if reason != DESTROYED:
            await self._organs.manager.amend(
                session, lambda state, moment: after_stop(state, agent, moment)
            )

    async def _settle_later(self, session: SessionId, agent: AgentName | None, reason: str) -> None:
        while True:
            await asyncio.sleep(WAKE_AGAIN_S)
            try:
                return await self._settle(session, agent, reason)
            except Unavailable as fault:
                _log.warning("the end of a stop of %s waits for the log: %s", session, fault)
            except CommandRejected:
                return None  # the session is gone, or somebody else ended the run

    async def _end(self, session: SessionId, agent: AgentName | None, reason: str) -> None:
        """Cancel workers and return when they have exited."""
        state = self._organs.manager.state(session)
        mine = [
            (worker, task)
            for run_id, (worker, task) in list(self._workers.items())
            if worker.session == session
            and (agent is None or (run_id in state.runs and state.runs[run_id].agent == agent))
        ]
        for worker, _ in mine:
            worker.stop_reason = reason
        async with asyncio.TaskGroup() as group:
            for _, task in mine:
                group.create_task(self._tasks.cancel(task), name=f"end {task.get_name()}")

    async def _end_orphans(self, session: SessionId, agent: AgentName | None, reason: str) -> None:
        """A worker that could not record its end (the log was in trouble) leaves that to us."""
        for run_id, run in self._organs.manager.state(session).runs.items():
            if run_id not in self._workers and agent in (None, run.agent):
                await self._organs.manager.dispatch(
                    session,
                    cmd.FinishRun(run_id=run_id, outcome="aborted", turns=run.turns, reason=reason),
                )

    async def interrupt_tool(self, session: SessionId, call_id: str) -> bool:
        """End one running tool call; False when it is not running."""
        for worker in self.workers(session):
            if worker.wiring is not None and await worker.wiring.cancel_tool(call_id):
                return True
        return False

    async def destroy(self, session: SessionId, agent: AgentName, by: AgentName) -> None:
        """Stop an agent's run, then the agent, for good."""
        manager = self._organs.manager
        known = (await manager.load(session)).agents.get(agent)
        if agent != PRINCIPAL and known is not None and known.phase is not AgentPhase.STOPPED:
            # The fence first: without it the end of one run would begin the next.
            await manager.dispatch(session, cmd.Interrupt(agent=agent))
            await self._end(session, agent, DESTROYED)
            await self._settled(session, agent, DESTROYED)
        await manager.dispatch(session, cmd.DestroyAgent(agent=agent, by=by))

    async def evict(self, session: SessionId) -> int:
        """Stop everything of a session and drop it from memory.

        The number of its agents that were there to be stopped, idle ones too: none when it was not
        in memory.
        """
        manager = self._organs.manager
        found = manager.find(session)
        stopped = 0 if found is None else _present(found)
        state = await manager.load(session)
        if _anything_to_stop(state, None):
            await finish_shielded(self._stop(session, None, "evicted"))
        await manager.dispatch(session, cmd.Evict(agents_stopped=stopped))
        now = manager.find(session)
        if now is not None and not now.runs:  # else somebody has spoken since: it is in use again
            self._timers.drop(session)
            manager.forget(session)
            self._organs.conversations.forget(session)
        return stopped

    async def close(self) -> None:
        """Stop for a shutdown: texts and runs are cut so that the next start resumes them."""
        self._live = False
        hit("stop.admission.after")
        self._timers.close()
        await self._let_tools_finish()
        hit("stop.tools.after")
        running = [task for _, task in self._workers.values()]
        async with asyncio.TaskGroup() as group:
            for task in running:
                group.create_task(self._tasks.cancel(task), name=f"end {task.get_name()}")
        hit("stop.workers.after")
        for state in self._organs.manager.resident():
            if state.runs:
                await self._organs.manager.amend(
                    state.session, lambda now, _moment: cut(now), follow=False
                )

    async def _let_tools_finish(self) -> None:
        """Running tools may finish and commit; model calls and questions are cancelled at once."""
        busy = [task for worker, task in self._workers.values() if self._uses_tools(worker)]
        idle = [task for _, task in self._workers.values() if task not in busy]
        for task in idle:
            task.cancel()
        if busy:
            await asyncio.wait(busy, timeout=TOOL_GRACE_S)

    def _uses_tools(self, worker: Worker) -> bool:
        state = self._organs.manager.find(worker.session)
        if worker.wiring is None or state is None:
            return False
        asked = {one.call_id for one in state.questions.values()}
        return any(one.call_id not in asked for one in worker.wiring.runner.running)


def _present(state: SessionState) -> int:
    managed = [agent for agent in state.agents.values() if agent.kind == "managed"]
    return sum(agent.phase is not AgentPhase.STOPPED for agent in managed)


def _anything_to_stop(state: SessionState, agent: AgentName | None) -> bool:
    if agent is None:
        return bool(state.host_turn or state.questions or working(state))
    known = state.agents.get(agent)
    return known is not None and (known.phase is AgentPhase.RUNNING or has_mail(state, known))


_TIMED = (
    ev.RunFinished,
    ev.RunInterrupted,
    ev.LetterAccepted,
    ev.LetterReceived,
    ev.LetterExpired,
    ev.StopRequested,
    ev.AgentStopped,
    ev.ApprovalRequested,
)
