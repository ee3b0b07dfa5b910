"""The program of a run: what its letters want, and how that is answered.

Decisions are in `agents/intent` and `agents/programs`, pure; here they meet the log, the documents
and the model. What was decided is part of the run's record, so a run that is resumed decides
nothing again. A classifier that fails costs its answer, never the run.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from brainpilot_rt.agents import intent
from brainpilot_rt.agents.definition import AgentDefinition, parse_model
from brainpilot_rt.agents.intent import Classified
from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.agents.programs import choice
from brainpilot_rt.context.excerpts import Excerpt
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import ProviderFault
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.domain.thinking import ProgramName
from brainpilot_rt.sessions.runs import waits
from brainpilot_rt.sessions.state import RunState
from brainpilot_rt.supervision.asides import ask_aside
from brainpilot_rt.supervision.organs import Organs
from brainpilot_rt.supervision.plans import RunPlan
from brainpilot_rt.supervision.research import RunResearch

_WANTING = frozenset({LetterKind.USER_MESSAGE, LetterKind.TASK_DELEGATE})
"""Letters that want something; the others bring something."""

Answer = tuple[ev.ProgramPrompted | None, tuple[ev.Event, ...]]
_NOTHING: Answer = (None, ())


class RunProgram:
    """The program of one run."""

    def __init__(self, organs: Organs, identity: RunIdentity, definition: AgentDefinition) -> None:
        self._organs = organs
        self._identity = identity
        self._definition = definition
        self._program: ProgramName | None = None
        self._taken_up: ProgramName | None = None
        """Chosen by this run for what its letters want: the state may not know it yet."""
        self._research = RunResearch(organs, identity)
        self.ends = False
        """The next reply has to be the last: a bound of the program was met."""
        self.plan = RunPlan(organs, identity, self.end)

    def end(self) -> None:
        """Let the next reply be the last."""
        self.ends = True

    # --- before a turn ---------------------------------------------------------------------

    async def begin(self, context: Callable[[], Excerpt]) -> tuple[ev.Event, ...]:
        """Choose the program by the letters and the context, once; what is recorded of that."""
        run = self._run()
        if self._program is not None or run is None:
            return ()
        if run.record.program is not None:
            self._program = run.record.program
            if self._program == "research":
                await self._research.retrieve(self._wanted(run))
            return ()
        return await self._choose(run, context)

    def offer(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Of the agent's tools, those the program allows in the next turn."""
        return choice.offer(
            self.now, names, first=self._is_first(), planned=self.plan.known is not None
        )

    def guidance(self) -> str:
        """What the program adds to the system prompt of the next turn; may be empty."""
        known = self.plan.known
        if known is not None:
            return self.plan.guidance(known)
        program = self.now
        if program == "research":
            return self._research.guidance()
        return choice.guidance(program, first=self._is_first())

    # --- after a turn ----------------------------------------------------------------------

    async def proceed(self, turn: int, said: str) -> Answer:
        """The model wants to end with `said`: what it is told to do next, and what is recorded."""
        run = self._run()
        state = self._organs.manager.state(self._identity.session)
        if run is None or waits(state, run.agent, run.root_id):
            return _NOTHING  # the run ends, its plan stays open
        if led := self.plan.after_text(said):
            return self._prompt(turn, led.text, led.reason), led.facts
        host = state.host_turn
        if host is None or (host.agent, host.root_id) != (run.agent, run.root_id):
            return _NOTHING
        request = self._taken_up or host.program
        if request not in ("research", "plan_execute"):
            return _NOTHING
        complaint, facts = await self._research.judge(
            said,
            run.record.prompts.get("evidence", 0),
            asked=self.now == "research",
            owed=request == "research",
        )
        return (self._prompt(turn, complaint, "evidence") if complaint else None), facts

    # --- choosing --------------------------------------------------------------------------

    async def _choose(self, run: RunState, context: Callable[[], Excerpt]) -> tuple[ev.Event, ...]:
        wanted = self._wanted(run)
        programs = self._definition.programs
        if self.plan.known is not None:
            return (self._chosen(Classified("plan", 1.0, "its plan is open"), "fixed"),)
        if not wanted or len(programs) <= 1:
            why = "the agent has one program" if wanted else "nothing is asked"
            return (self._chosen(Classified("tool_use", 1.0, why), "fixed"),)
        asked: tuple[ev.Event, ...] = ()
        found: Classified | None = None
        fallback = ""
        if self._asks_model():
            found, fallback, asked = await self._ask_model(wanted, context().text)
        source: Literal["model", "heuristic"] = "model" if found else "heuristic"
        if found is None:
            asks = "research" in programs and intent.asks(wanted)
            there = asks and (context().documents or bool(await self._research.retrieve(wanted)))
            found = intent.heuristic(wanted, documents=there)
        chosen = self._chosen(found, source, fallback)
        facts: tuple[ev.Event, ...] = (*asked, chosen)
        if self._program == "research":
            facts = (*facts, await self._research.retrieved(wanted))
        return facts

    def _chosen(
        self,
        found: Classified,
        source: Literal["model", "heuristic", "fixed"],
        fallback: str = "",
    ) -> ev.IntentClassified:
        program: ProgramName = "plan_execute" if self.plan.known else "react"
        instead = ""
        if source != "fixed":
            definition = self._definition
            program, instead = choice.program_for(
                found.intent, definition.programs, definition.tools
            )
            self._taken_up = program
        self._program = program
        reasoning = "; ".join(part for part in (found.reasoning, instead) if part)
        return ev.IntentClassified(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            intent=found.intent,
            confidence=found.confidence,
            reasoning=reasoning,
            source=source,
            program=program,
            fallback=fallback,
        )

    def _asks_model(self) -> bool:
        match self._organs.thinking.classifier:
            case "model":
                return True
            case "heuristic":
                return False
            case "auto":
                named = self._organs.thinking.classifier_model is not None
                return named or self._organs.free(self._definition.model)

    async def _ask_model(
        self, text: str, context: str
    ) -> tuple[Classified | None, str, tuple[ev.Event, ...]]:
        """A model's word, or why there is none; and what it cost."""
        words = intent.prompt(text, programs=self._definition.programs, context=context)
        try:
            async with asyncio.timeout(self._organs.thinking.classifier_wait_s):
                reply, asked = await ask_aside(
                    self._organs, self._identity, "classify", words, self._classifier()
                )
        except (ProviderFault, ValueError) as fault:
            return None, f"the classifier failed: {fault}", ()
        except TimeoutError:
            return None, "the classifier was silent for too long", ()
        found = intent.parse(reply)
        return found, "" if found else "the classifier did not answer what was asked", asked

    def _classifier(self) -> ModelRef | None:
        return parse_model(self._organs.thinking.classifier_model) or self._definition.model

    # --- what it looks at ------------------------------------------------------------------

    def _run(self) -> RunState | None:
        state = self._organs.manager.state(self._identity.session)
        return state.runs.get(self._identity.run_id)

    @property
    def now(self) -> ProgramName:
        """By which it works."""
        run = self._run()
        return self._program or (run.record.program if run else None) or "react"

    def _is_first(self) -> bool:
        """No reply of this run yet, the runs it resumes included."""
        run = self._run()
        return run is not None and run.turns == 0

    def _wanted(self, run: RunState) -> str:
        """What the letters want that the run began with; empty when they only bring something."""
        letters = self._organs.manager.state(self._identity.session).letters
        known = (letters[one].letter for one in run.letter_ids if one in letters)
        return "\n\n".join(one.content for one in known if one.kind in _WANTING)

    def _prompt(
        self, turn: int, text: str, reason: Literal["step", "plan_done", "evidence"]
    ) -> ev.ProgramPrompted:
        return ev.ProgramPrompted(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=turn,
            text=text,
            reason=reason,
        )
