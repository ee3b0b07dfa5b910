"""The plan of an agent, as its tools change it: decided in `agents/programs`, kept in the log."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.agents.programs import plan_execute
from brainpilot_rt.agents.programs.plan_execute import Bounds, Move
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.thinking import StepStatus
from brainpilot_rt.sessions.state import OpenPlan
from brainpilot_rt.supervision.organs import Organs


@dataclass(frozen=True, slots=True)
class Led:
    """What the model is told next, why, and what is recorded before."""

    text: str
    reason: Literal["step", "plan_done"]
    facts: tuple[ev.Event, ...] = ()


class RunPlan:
    """The plan of one run's agent; satisfies the planning port of tools."""

    def __init__(self, organs: Organs, identity: RunIdentity, end: Callable[[], None]) -> None:
        """`end`: the next reply of the run has to be its last."""
        self._organs = organs
        self._identity = identity
        self._end = end
        thinking = organs.thinking
        self._bounds = Bounds(thinking.plan_steps_max, thinking.replans_max)
        self._idle_max = thinking.repeats_max
        self._idle = 0
        """Planning calls in a row that changed nothing."""

    @property
    def known(self) -> OpenPlan | None:
        """The plan this run follows."""
        state = self._organs.manager.state(self._identity.session)
        run = state.runs.get(self._identity.run_id)
        return state.plans.get((run.agent, run.root_id)) if run else None

    def guidance(self, known: OpenPlan) -> str:
        """The plan as the model sees it."""
        return plan_execute.guidance(known.plan, self._bounds.replans_max - known.replans)

    def after_text(self, said: str) -> Led | None:
        """Where a text leads: it ends the open step, or the step was not even begun."""
        known = self.known
        at = known.plan.next_step if known else None
        if known is None or at is None:
            return None
        if not known.begun:
            return Led(plan_execute.step_text(known.plan, at), "step")
        plan = plan_execute.closed(known.plan, at, "done", said)
        reason = "plan_done" if plan.next_step is None else "step"
        changed = self._changed(Move("", plan, "step_closed"))
        return Led(plan_execute.next_text(plan), reason, (changed,))

    async def propose(self, call_id: CallId, goal: str, steps: tuple[str, ...]) -> tuple[str, bool]:
        """A plan, or another one in the place of the present one."""
        known = self.known
        plan, replans = (known.plan, known.replans) if known else (None, 0)
        move = plan_execute.propose(plan, replans, goal, steps, self._bounds)
        return await self._done(call_id, move)

    async def revise(
        self, call_id: CallId, steps: tuple[str, ...], reason: str
    ) -> tuple[str, bool]:
        """Other steps for those that are open."""
        known = self.known
        if known is None:
            return "There is no plan to revise. Begin with propose_plan.", True
        move = plan_execute.revise(known.plan, known.replans, steps, self._bounds)
        return await self._done(call_id, move, reason)

    async def close(self, call_id: CallId, status: StepStatus, note: str) -> tuple[str, bool]:
        """The open step has ended."""
        known = self.known
        return await self._done(
            call_id, plan_execute.close(known.plan if known else None, status, note)
        )

    async def _done(self, call_id: CallId, move: Move, reason: str = "") -> tuple[str, bool]:
        known = self.known
        if known is not None and known.call_id == call_id:  # run again after a crash
            return plan_execute.next_text(known.plan), False
        facts: list[ev.Event] = []
        move = self._not_for_ever(move)
        if move.limit:
            facts.append(self._limited(move))
        if move.plan:
            facts.append(self._changed(move, call_id, reason))
        if facts:
            await self._organs.manager.record(self._identity.session, *facts)
        if move.final:
            self._end()
        return move.said, move.failed

    def _not_for_ever(self, move: Move) -> Move:
        """The move, made the last when planning has long come to nothing."""
        self._idle = 0 if move.plan else self._idle + 1
        if move.final or self._idle <= self._idle_max:
            return move
        return replace(
            move,
            said=f"{move.said} {plan_execute.END_TEXT}",
            limit="repeats",
            actual=self._idle,
            final=True,
            failed=True,
        )

    def _changed(self, move: Move, call_id: CallId | None = None, reason: str = "") -> ev.Event:
        assert move.plan is not None
        return ev.PlanChanged(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            op=move.op,
            plan=move.plan,
            reason=reason,
            call_id=call_id,
        )

    def _limited(self, move: Move) -> ev.LimitExceeded:
        assert move.limit is not None
        bounds = self._bounds
        limits = {
            "steps": bounds.steps_max,
            "replans": bounds.replans_max,
            "repeats": self._idle_max,
        }
        return ev.LimitExceeded(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            kind=move.limit,
            limit=limits[move.limit],
            actual=move.actual,
            reason="the next reply is the last" if move.final else "the steps beyond are not kept",
        )
