"""One model reply as it grows, and what it means when it is whole. Pure.

A text (an answer, or a piece of reasoning: each has its own message id) is announced by
`text_started`, shown in chunks and closed by `text_finished` with exactly what was shown. Chunks
may be shown only after the announcement is durable, so what is heard before that waits in `pending`
and becomes one chunk. An unaborted `text_finished` always stands in the same commit as its
`model_replied`: a text that is whole in the log is never said again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from brainpilot_rt.domain.events import Event, TextFinished, ToolFinished, ToolPlanned
from brainpilot_rt.domain.ids import AgentName, CallId, MessageId, RunId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)
from brainpilot_rt.domain.model_calls import StopReason
from brainpilot_rt.domain.tools import Effect, ToolResult


@dataclass(slots=True)
class GrowingText:
    """One text of a reply. `part`: its index in the model's reply."""

    message_id: MessageId
    kind: Literal["text", "reasoning"]
    part: int
    started_seq: int | None = None
    """None until its `text_started` is durable."""
    shown: list[str] = field(default_factory=list[str])
    pending: list[str] = field(default_factory=list[str])
    length: int = 0
    """Characters shown."""
    announcing: bool = False
    """True once its `text_started` is on its way to the log."""

    def conclude(self) -> None:
        """The text is over before anybody was told: every piece counts as shown."""
        self.shown += self.pending
        self.pending.clear()

    def take(self) -> tuple[int, int, str] | None:
        """Move what is pending to what is shown: (index, offset, text), or None."""
        if self.started_seq is None or not self.pending:
            return None
        piece = (len(self.shown), self.length, "".join(self.pending))
        self.pending.clear()
        self.shown.append(piece[2])
        self.length += len(piece[2])
        return piece

    def finished(self, run_id: RunId, agent: AgentName, *, aborted: bool) -> TextFinished:
        """The closing fact. A start in the same commit is `started_seq` 0: the manager fills it."""
        return TextFinished(
            run_id=run_id,
            agent=agent,
            message_id=self.message_id,
            kind=self.kind,
            text="".join(self.shown),
            chunks=tuple(len(piece) for piece in self.shown),
            started_seq=self.started_seq or 0,
            aborted=aborted,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the last reply of a run makes of the run."""

    outcome: Literal["completed", "failed"]
    reason: str = ""
    error_code: str | None = None


_UNUSUAL: Final = {StopReason.LENGTH: "length", StopReason.REFUSAL: "refusal"}
_FAILURES: Final = {
    "max_turns": Verdict(
        "failed", "The turn limit was reached in the middle of work.", "max_turns"
    ),
    "length": Verdict("failed", "The output limit was reached before any text.", "output_length"),
    "refusal": Verdict("failed", "The model declined to answer.", "refusal"),
}


def judge(stop: StopReason, text: str, *, unfinished: bool) -> Verdict:
    """Decide how a run ends. `unfinished`: on the forced last turn the model still wanted tools.

    A reply with text is an answer, whatever cut it; the reason says what was unusual about it.
    """
    unusual = "max_turns" if unfinished else _UNUSUAL.get(stop, "")
    if text:
        return Verdict("completed", unusual)
    return _FAILURES.get(unusual, Verdict("completed", "empty_reply"))


def refuse(
    calls: Iterable[ToolCall],
    why: str,
    *,
    ledger: tuple[RunId, AgentName, int],
    effects: Mapping[str, Effect],
) -> tuple[list[Event], list[ToolResult]]:
    """Calls that are not run: the facts of each (planned, finished), and its one result.

    `ledger` is the run, the agent and the turn. A tool not in `effects` counts as irreversible.
    """
    run_id, agent, turn = ledger
    facts: list[Event] = []
    results: list[ToolResult] = []
    for call in calls:
        facts.append(
            ToolPlanned(
                run_id=run_id,
                agent=agent,
                turn=turn,
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
                raw_arguments=call.raw_arguments,
                effect=effects.get(call.name, Effect.IRREVERSIBLE),
            )
        )
        facts.append(
            ToolFinished(
                run_id=run_id,
                agent=agent,
                call_id=call.call_id,
                name=call.name,
                content=why,
                status="refused",
            )
        )
        results.append(
            ToolResult(call_id=call.call_id, name=call.name, content=why, status="refused")
        )
    return facts, results


def as_message(result: ToolResult) -> ToolResultMessage:
    """A result as the model reads it."""
    return ToolResultMessage(
        call_id=result.call_id, name=result.name, content=result.content, is_error=result.is_error
    )


def last_calls(history: Sequence[Message]) -> tuple[int, dict[CallId, ToolResultMessage | None]]:
    """The calls of the last reply and their results so far, if nothing was said after them.

    Returns the position after that reply and the calls in order; ({} when there are none).
    """
    results: dict[CallId, ToolResultMessage] = {}
    for index in range(len(history) - 1, -1, -1):
        match history[index]:
            case ToolResultMessage() as result:
                results[result.call_id] = result
            case AssistantMessage(tool_calls=calls):
                return index + 1, {call.call_id: results.get(call.call_id) for call in calls}
            case UserMessage():
                break
    return len(history), {}
