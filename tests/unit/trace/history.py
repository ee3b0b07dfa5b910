"""Logs of sessions, made up event by event."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.citations import Citation
from brainpilot_rt.domain.events import EVENTS, Event, Recorded
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.trace.causal_folds import take
from brainpilot_rt.trace.causes import Causes

MODEL = {"provider": "p", "model": "m"}
USAGE = {"input": 3, "output": 2}


def causes_of(log: Iterable[Recorded]) -> Causes:
    """The graph of a whole log."""
    graph = Causes()
    for recorded in log:
        take(graph, recorded)
    return graph


class History:
    """A log that grows; what is not said is filled in."""

    def __init__(self) -> None:
        self.log: list[Recorded] = []
        self.turns: dict[str, int] = {}

    def add(self, kind: str, **fields: Any) -> None:
        """An event by its type and what matters of it."""
        event: Event = EVENTS.validate_python({"type": kind, **fields})
        seq = len(self.log) + 1
        self.log.append(Recorded(SessionId("s"), seq, seq, seq * 1000, event))

    def letter(self, name: str, sender: str, to: str, content: str = "work", **more: Any) -> None:
        """A letter is accepted. `by`: the run that sent it."""
        letter = {
            "id": name,
            "session": "s",
            "from": sender,
            "to": to,
            "kind": "user_message" if sender == "user" else "task_delegate",
            "content": content,
            "root_id": name,
            "created_at": "t",
            "authority": {"origin": more.pop("origin", "agent")},
        }
        run_id = more.pop("by", None)
        self.add("letter_accepted", letter_id=name, letter=letter | more, run_id=run_id)

    def run(self, run_id: str, agent: str, *letters: str, **more: Any) -> None:
        """A run starts."""
        root = letters[0] if letters else "none"
        self.add(
            "run_started", run_id=run_id, agent=agent, letter_ids=letters, root_id=root, **more
        )

    def turn(self, run_id: str, agent: str, cost: str | None = "0.5", text: str = "") -> None:
        """A model call is paid for."""
        turn = self.turns[run_id] = self.turns.get(run_id, -1) + 1
        self.add(
            "model_replied",
            run_id=run_id,
            agent=agent,
            turn=turn,
            message={"role": "assistant", "parts": [{"type": "text", "text": text}]},
            stop_reason="end",
            usage=USAGE,
            model=MODEL,
            cost_usd=None if cost is None else Decimal(cost),
            duration_ms=1,
        )

    def call(self, run_id: str, agent: str, call_id: str, tool: str, **arguments: Any) -> None:
        """A call is planned and done. `result` is what it says, `status` how it ended."""
        result, status = arguments.pop("result", "ok"), arguments.pop("status", "completed")
        own = {"run_id": run_id, "agent": agent, "call_id": call_id, "name": tool}
        self.add("tool_planned", **own, turn=0, arguments=arguments, effect="idempotent")
        self.add("tool_finished", **own, content=result, status=status)

    def end(self, run_id: str, agent: str, answer: str = "", **more: Any) -> None:
        """A run ends."""
        self.add(
            "run_finished",
            run_id=run_id,
            agent=agent,
            outcome="completed",
            letter_ids=(),
            turns=self.turns.get(run_id, 0) + 1,
            answer=answer,
            message_id=f"msg_{run_id}",
            **more,
        )

    def answer(self, host: str, run_id: str, text: str, *citations: Citation) -> None:
        """The host turn ends with what a run said."""
        self.add(
            "host_turn_finished",
            host_run_id=host,
            outcome="completed",
            agent="principal",
            message_id=f"msg_{run_id}",
            answer=text,
            citations=citations,
        )

    def paid(self) -> int:
        """Tokens of all model calls."""
        return sum(
            one.event.usage.total
            for one in self.log
            if isinstance(one.event, ev.ModelReplied | ev.ModelAsked)
        )
