"""What the turn loop needs of the world, what it is given and what it hands back.

The loop owns these ports; supervision fills them. A port is as small as the loop's use of it. Three
of them take `preceding`: facts the loop knows but has not committed (the end of a text, the reply),
which belong into the same commit as what the port is about to record. That keeps a turn at one
commit per step, and leaves no instant at which a reply is kept and its calls are not (D7, D8).

Rule for every port that takes `preceding`: the commit that contains it is the first thing that may
suspend, and it is shielded (`aiokit.tasks.finish_shielded`). So when the run is cancelled there,
either nothing was awaited or the commit happened, and no text stays open.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from brainpilot_rt.domain.events import Event, Recorded
from brainpilot_rt.domain.ids import AgentName, MessageId, RunId, SessionId
from brainpilot_rt.domain.messages import Message, ToolCall, UserMessage
from brainpilot_rt.domain.model_calls import ModelEvent, ModelRequest
from brainpilot_rt.domain.tools import ToolResult, ToolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Who runs, and on behalf of which run the facts are recorded."""

    session: SessionId
    agent: AgentName
    role: str
    run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. A run that is stopped raises CancelledError instead."""

    outcome: Literal["completed", "failed"]
    reason: str = ""
    """Completed: empty, or what was unusual (`max_turns`, `length`, `refusal`, `empty_reply`: the
    last reply had no text). Failed: a sentence for a person."""
    error_code: str | None = None
    """Of a failure: a stable word for programs (`provider_fatal`, `output_length`, ...)."""
    retryable: bool = False
    """True: the same run may succeed later (the provider said so, or the network did)."""
    retry_after_s: float | None = None
    """The provider's own wish, if it had one."""
    message_id: MessageId | None = None
    """The text that is the answer. None: no text, or it was said before this run was resumed
    (`Conversation.last_text_id` knows it then)."""
    answer: str = ""
    """The last text the run said."""
    turns: int
    """Model calls of this run that got a reply, those before a resume included."""
    closing: tuple[Event, ...] = ()
    """Facts not yet committed. They go first in the transaction that holds `run_finished`; that
    commit is shielded, because a text may still be open until it."""


class Prompt(Protocol):
    """What one model call reads."""

    @property
    def system(self) -> str:
        """The system prompt, turn marker included."""
        ...

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation, cut to its budget and repaired."""
        ...


class Emit(Protocol):
    """Records facts."""

    def __call__(self, *events: Event) -> Awaitable[list[Recorded]]:
        """Commit the events together, in this order; durable when it returns."""
        ...


class CallTools(Protocol):
    """Executes calls."""

    def __call__(
        self,
        calls: tuple[ToolCall, ...],
        turn: int,
        preceding: tuple[Event, ...],
        *,
        resumed: bool,
    ) -> Awaitable[list[ToolResult]]:
        """Run the calls in parallel; exactly one result per call, in call order.

        Commits `preceding` together with `tool_planned` and `tool_started`, then each
        `tool_finished`. A failing tool is a result, never an exception. `resumed`: the calls were
        planned before a crash, so each is repeated or not by its effect class (D7), and `preceding`
        is empty. When cancelled: every planned call has its `tool_finished` before it raises.
        """
        ...


async def _as_it_was(_turn: int) -> None:
    return None


async def _content(_turn: int, _said: str, _preceding: tuple[Event, ...]) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPorts:
    """The world as the turn loop sees it."""

    stream: Callable[[ModelRequest], AsyncIterator[ModelEvent]]
    """Call the model: deltas, then one `ReplyFinished`. Failures are raised as `ProviderFault`."""

    emit: Emit
    """One commit."""

    show: Callable[[MessageId, int, int, str, Literal["text", "reasoning"]], None]
    """`show(message_id, index, offset, text, kind)`: a live chunk of an open text. `index` counts
    the chunks of the text from 0, `offset` the characters before this one. Never blocks or raises.
    """

    offer: Callable[[tuple[str, ...]], tuple[ToolSpec, ...]]
    """Of the tools the definition names, those this agent may use at this moment, in that order."""

    call_tools: CallTools
    """Gate and execute the calls of one reply."""

    boundary: Callable[[int, tuple[Event, ...]], Awaitable[tuple[UserMessage, ...]]]
    """`boundary(turn, preceding)`: letters that arrived meanwhile, rendered, to be read by turn
    number `turn`; commits `preceding` with `letters_joined`. When nothing arrived: returns () and
    commits nothing, without suspending."""

    remind: Callable[[tuple[Event, ...]], Awaitable[UserMessage | None]]
    """`remind(preceding)`: the agent is about to end. If it holds a task it has not delivered and
    was not reminded of: commits `preceding` with `task_reminded` and returns the reminder. Else
    returns None and commits nothing, without suspending."""

    prepare: Callable[[int], Awaitable[Sequence[Message] | None]] = _as_it_was
    """`prepare(turn)`: before a turn is asked, with nothing uncommitted: looks at what may have
    changed since the last one. Returns the whole conversation anew when it was compacted."""

    proceed: Callable[[int, str, tuple[Event, ...]], Awaitable[UserMessage | None]] = _content
    """`proceed(turn, said, preceding)`: the model has said its text of `turn` and calls nothing.
    If the program wants more: commits `preceding` with `program_prompted` and returns what the
    model reads next. Else returns None; what it wants recorded then goes with the end. It may look
    things up before it commits: who is cancelled there leaves the texts to the end of the run,
    which closes them as aborted."""

    assemble: Callable[[Sequence[Message], str, bool], Prompt]
    """`assemble(history, marker, final)`: what the model reads. `marker` is the text that ends the
    system prompt (may be empty). `final`: this call may not use tools."""

    spent: Callable[[], bool] = lambda: False
    """Asked once before each turn: must it be the last, whatever `max_turns` says?"""

    new_message_id: Callable[[], MessageId]
    """A fresh id for a text."""

    monotonic: Callable[[], float]
    """Seconds that never go back, for durations."""
