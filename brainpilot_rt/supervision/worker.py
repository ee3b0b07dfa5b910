"""One run from its start to its outcome. Never fails: whatever happens becomes an outcome.

A worker exists while a run does. It is cancelled by a stop (then it records `aborted`) or by the
daemon's shutdown (then it records nothing: the supervisor cuts the run so that the next start
resumes it). When the log is in trouble the run waits; it is begun again where the log knows it. A
run whose end fails of a defect of ours is ended as failed, with nothing of what it came to.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace

from brainpilot_rt.agents import turn
from brainpilot_rt.agents.ports import RunResult
from brainpilot_rt.agents.programs.research import claims
from brainpilot_rt.aiokit.failpoints import hit
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain.citations import Citation, parse
from brainpilot_rt.domain.errors import CommandRejected, RuntimeFault, SectionFull, Unavailable
from brainpilot_rt.domain.events import RunOutcome
from brainpilot_rt.domain.ids import PRINCIPAL, RunId, SessionId
from brainpilot_rt.domain.memory import Finding
from brainpilot_rt.sessions.recovery import mend
from brainpilot_rt.sessions.run_folds import taints
from brainpilot_rt.sessions.state import RunState, SessionState
from brainpilot_rt.supervision.delivery import Retry, verdict
from brainpilot_rt.supervision.evidence import looked_up
from brainpilot_rt.supervision.memories import finding_draft
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.wiring import RunWiring
from brainpilot_rt.tools.registry import Registry

STORAGE_PAUSE_S = 1.0
STORAGE_PAUSE_MAX_S = 30.0
_SHOWN = 0.9
"""Confidence in a claim whose quote stands in its source: that is not yet that it follows."""

_log = logging.getLogger(__name__)


class Worker:
    """Works one run."""

    def __init__(self, organs: Organs, session: SessionId, run_id: RunId) -> None:
        self._organs = organs
        self.session = session
        self.run_id = run_id
        self.wiring: RunWiring | None = None
        self.stop_reason = "shutdown"
        """Set before the worker is cancelled: `shutdown` records nothing."""
        self._tries = 0
        self._crash = ""
        """What its end failed of: nothing but an end is recorded any more."""

    async def work(self) -> None:
        """Run to the outcome and record it; survives trouble with the log by beginning again."""
        pause_s = STORAGE_PAUSE_S
        try:
            while not await self._tried():
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, STORAGE_PAUSE_MAX_S)
        except asyncio.CancelledError:
            if self.stop_reason != "shutdown":
                await finish_shielded(self._record_abort())
            raise

    async def _tried(self) -> bool:
        """One try at the run; False when it has to wait for the next."""
        try:
            if self._crash:
                await finish_shielded(self._record_bare("failed", self._crash))
                return True
            if self._tries:
                await self._organs.manager.amend(
                    self.session, lambda state, _moment: mend(state, self.run_id, self._tries)
                )
            self._tries += 1
            await self._once()
        except Unavailable as fault:
            _log.warning("run %s waits for the log: %s", self.run_id, fault)
            return False
        except Exception as crash:  # noqa: BLE001 - whatever it is, no run stays open
            _log.exception("the end of run %s can not be recorded as it is", self.run_id)
            first, self._crash = not self._crash, f"internal error: {type(crash).__name__}"
            return first and await self._tried()
        return True

    async def _once(self) -> None:
        if (known := self._current()) is None:
            return
        tools = await self._organs.tools(self.session, known[1].agent)
        if (found := self._current()) is None:  # it may have ended meanwhile
            return
        state, run = found
        hit("turn.offered.after")
        await finish_shielded(self._finish(run, await self._result(tools, state, run)))

    def _current(self) -> tuple[SessionState, RunState] | None:
        state = self._organs.manager.find(self.session)
        run = state.runs.get(self.run_id) if state is not None else None
        return None if state is None or run is None else (state, run)

    async def _result(self, tools: Registry, state: SessionState, run: RunState) -> RunResult:
        """The loop's result; a defect of ours fails the run with its name, not the daemon."""
        try:
            self.wiring = RunWiring(self._organs, tools, state, run)
            await self._organs.load_trace(self.session)
            conversation = await self._organs.conversations.of(
                self.session, run.agent, [one.letter for one in state.letters.values()]
            )
            result = await turn.run(
                self.wiring.definition,
                self.wiring.ports(),
                conversation.messages(),
                identity=self.wiring.identity,
                first_turn=run.turns,
                thinking=state.thinking,
            )
        except Unavailable:
            raise
        except RuntimeFault as fault:
            return RunResult(
                outcome="failed", reason=fault.message, error_code=fault.code, turns=run.turns
            )
        except Exception as crash:  # noqa: BLE001 - the named boundary of a run
            _log.exception("run %s crashed", self.run_id)
            reason = f"internal error: {type(crash).__name__}"
            return RunResult(outcome="failed", reason=reason, error_code="crash", turns=run.turns)
        if result.answer and result.message_id is None:
            return replace(result, message_id=conversation.last_text_id)
        return result

    async def _finish(self, run: RunState, result: RunResult) -> None:
        organs = self._organs
        fate = verdict(
            failed=result.outcome == "failed",
            retryable=result.retryable,
            retry_after_s=result.retry_after_s,
            attempt=run.attempt,
            attempts_max=organs.attempts_max,
            now_ms=organs.clock.now_ms(),
        )
        held = self.wiring.preceded() if self.wiring else ()
        if any(map(taints, held)):  # before anything is said that rests on it
            await organs.manager.record(self.session, *held)
            held = ()
        cited = claims(result.answer) if run.agent == PRINCIPAL else []
        total = len(parse(result.answer)) if cited else 0
        found = await self._looked_up([one for one, _ in cited])
        holding = [one for one, wrong in found if not wrong]
        if result.outcome == "completed":
            shown = zip(found, cited, strict=True)
            await self._remember(
                run, [(claim, citation) for (citation, wrong), (_, claim) in shown if not wrong]
            )
        await self._record(
            cmd.FinishRun(
                run_id=run.run_id,
                outcome=result.outcome,
                turns=result.turns,
                reason=result.reason,
                error_code=result.error_code,
                message_id=result.message_id,
                answer=result.answer,
                citations=tuple(holding),
                unverified_citations=total - len(holding),
                retry_at_ms=fate.at_ms if isinstance(fate, Retry) else None,
                closing=(*held, *result.closing),
            )
        )

    async def _looked_up(self, cited: list[Citation]) -> list[tuple[Citation, str]]:
        """Each citation and why it does not hold; without a work tree none does."""
        try:
            tree = self._organs.workspace(self.session)
        except CommandRejected as refused:
            return [(one, refused.message) for one in cited]
        return await asyncio.to_thread(looked_up, tree, cited) if cited else []

    async def _remember(self, run: RunState, shown: Iterable[tuple[str, Citation]]) -> None:
        """Claims that were shown are findings of the team, as many as fit."""
        for claim, citation in shown:
            finding = Finding(
                claim=claim or citation.quote, citation=citation, confidence=_SHOWN, verified=True
            )
            try:
                await self._organs.memories.remember(
                    self.session, finding_draft(finding, run.agent), by=run.agent, run_id=run.run_id
                )
            except CommandRejected as refused:
                _log.info("a finding of %s is not remembered: %s", run.run_id, refused)
                if isinstance(refused, SectionFull):
                    return  # one refusal says it, thousands of them would bury the rest

    async def _record_abort(self) -> None:
        """What the log refuses is left to the supervisor, which stops us and stays."""
        try:
            await self._record_bare("aborted", self.stop_reason)
        except Unavailable as fault:
            _log.warning("the end of run %s can not be recorded: %s", self.run_id, fault)

    async def _record_bare(self, outcome: RunOutcome, reason: str) -> None:
        """An end without what the run came to."""
        found = self._current()
        if found is not None:
            await self._record(
                cmd.FinishRun(
                    run_id=self.run_id,
                    outcome=outcome,
                    turns=found[1].turns,
                    reason=reason,
                    error_code="crash" if outcome == "failed" else None,
                ),
                bare=True,
            )

    async def _record(self, command: cmd.FinishRun, *, bare: bool = False) -> None:
        """An end that is refused has come too late, or has to be recorded barely."""
        try:
            await self._organs.manager.dispatch(self.session, command)
        except CommandRejected as refused:
            if self._current() is not None and not bare:
                raise
            _log.warning("the end of run %s was refused: %s", self.run_id, refused)
        hit("run.finished.after")
