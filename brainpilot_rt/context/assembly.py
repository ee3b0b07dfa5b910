"""What one model call reads: a conversation any provider accepts, within a budget. Pure.

Two steps. `repair` makes any history well formed: it opens with a user message, user and assistant
alternate (results of calls between them), every call has exactly one result right after its reply
and in call order, nothing is empty. `cut` drops the oldest exchanges until the rest fits; a call is
never parted from its result, and the latest thing said to the agent is never dropped, however long
the work on it has become. What was dropped is said in one line.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Final, TypeAlias

from brainpilot_rt.context.conversation import interrupted
from brainpilot_rt.domain.ids import CallId
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    ToolResultMessage,
    UserMessage,
    message_chars,
)

BUDGET_CHARS: Final = 400_000
"""Characters of conversation, about 100,000 tokens: half of a common context window."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A prompt. `left_out`: messages that did not fit; `chars`: characters of those that did."""

    system: str
    messages: tuple[Message, ...]
    left_out: int = 0
    chars: int = 0


@dataclass(slots=True)
class _Exchange:
    """A reply and the results of its calls: kept together or dropped together."""

    reply: AssistantMessage
    results: dict[CallId, ToolResultMessage] = field(
        default_factory=dict[CallId, ToolResultMessage]
    )

    @property
    def answered(self) -> bool:
        """Whether every call has its result."""
        return len(self.results) == len({call.call_id for call in self.reply.tool_calls})

    def messages(self) -> list[Message]:
        """The reply, then one result per call in call order."""
        results = (self.results.get(call.call_id) for call in self.reply.tool_calls)
        pairs = zip(self.reply.tool_calls, results, strict=True)
        return [self.reply, *(result or interrupted(call) for call, result in pairs)]


_Unit: TypeAlias = UserMessage | _Exchange


class Assembler:
    """Assembles one conversation again and again, each time only what is new in it.

    Everything before the latest user message is settled once no call in it is open: whatever is
    said later can not change how it was repaired. Any history may be given; one that does not go
    on from the last is read anew.
    """

    def __init__(self) -> None:
        self._read: list[Message] = []
        self._settled: list[Message] = []
        self._starts: list[int] = []
        """Where in `_settled` the user messages stand, ..."""
        self._before: list[int] = []
        """... and how many characters come before each."""
        self._size = 0

    def assemble(
        self, system: str, history: Sequence[Message], *, budget_chars: int = BUDGET_CHARS
    ) -> Assembled:
        """Repair the history and cut it to `budget_chars`.

        The latest user message and the latest exchange are kept even when they alone are over it.
        """
        said = list(history)
        self._settle(said)
        tail = [_messages(unit) for unit in _repair(said[len(self._read) :])]
        size = self._size + sum(map(message_chars, chain.from_iterable(tail)))
        first = bisect_left(self._before, size - budget_chars)
        if first < len(self._before):
            left_out = self._starts[first]
            messages = [*self._settled[left_out:], *chain.from_iterable(tail)]
            size -= self._before[first]
        else:
            messages = list(chain.from_iterable(_cut(tail, budget_chars)))
            left_out = len(self._settled) + sum(map(len, tail)) - len(messages)
            size = sum(map(message_chars, messages))
        match messages[:1]:
            case [UserMessage() as first_said] if left_out:
                messages[0] = UserMessage(text=f"{_note(left_out)}\n\n{first_said.text}")
            case [UserMessage()]:
                pass
            case _:
                messages.insert(0, UserMessage(text=_note(left_out)))
        return Assembled(system, tuple(messages), left_out, size)

    def _forget(self) -> None:
        for remembered in (self._read, self._settled, self._starts, self._before):
            remembered.clear()
        self._size = 0

    def _settle(self, said: list[Message]) -> None:
        done = len(self._read)
        if said[:done] != self._read:
            self._forget()
            done = 0
        self._read[:] = said[:done]  # the same, but now these objects: the next look is quick
        end = _latest_said(said, done)
        units = _repair(said[done:end])
        if not units or not all(isinstance(one, UserMessage) or one.answered for one in units):
            return
        if isinstance(units[-1], UserMessage):
            return  # it will be joined with what comes next
        for unit in units:
            if isinstance(unit, UserMessage):
                self._starts.append(len(self._settled))
                self._before.append(self._size)
            messages = _messages(unit)
            self._settled += messages
            self._size += sum(map(message_chars, messages))
        self._read += said[done:end]


def _latest_said(said: Sequence[Message], done: int) -> int:
    """Index of the latest user message that is not empty; `done` when there is none after it."""
    for index in range(len(said) - 1, done, -1):
        message = said[index]
        if isinstance(message, UserMessage) and message.text.strip():
            return index
    return done


def _note(left_out: int) -> str:
    if left_out:
        return f"[Left out to save space: {left_out} earlier message{'s' * (left_out > 1)}.]"
    return "[The beginning of this conversation is not available.]"


def _repair(history: Iterable[Message]) -> list[_Unit]:
    """Well-formed units; late results go to their call, strays and repeats are dropped."""
    units: list[_Unit] = []
    asked: dict[CallId, _Exchange] = {}
    for message in history:
        last = units[-1] if units else None
        match message:
            case UserMessage(text=text):
                if not text.strip():
                    continue
                if isinstance(last, UserMessage):
                    units[-1] = UserMessage(text=f"{last.text}\n\n{text}")
                else:
                    units.append(message)
            case AssistantMessage():
                if not message.text.strip() and not message.tool_calls:
                    continue
                exchange = _Exchange(message)
                if isinstance(last, _Exchange) and not last.reply.tool_calls:
                    exchange = _Exchange(AssistantMessage(parts=last.reply.parts + message.parts))
                    units.pop()
                units.append(exchange)
                asked |= dict.fromkeys((call.call_id for call in message.tool_calls), exchange)
            case ToolResultMessage(call_id=call_id):
                if call_id in asked:
                    asked[call_id].results.setdefault(call_id, message)
    return units


def _messages(unit: _Unit) -> list[Message]:
    return unit.messages() if isinstance(unit, _Exchange) else [unit]


def _cut(units: Sequence[list[Message]], budget: int) -> Sequence[list[Message]]:
    """The longest part from a user message to the end that fits.

    When even the part from the latest user message is too long: that message, and as many of the
    latest exchanges as fit, at least one.
    """
    before = [0, *accumulate(sum(map(message_chars, unit)) for unit in units)]
    starts = [index for index, unit in enumerate(units) if isinstance(unit[0], UserMessage)]
    for start in starts:
        if before[-1] - before[start] <= budget:
            return units[start:]
    after = starts[-1] + 1 if starts else 0
    request = units[max(after - 1, 0) : after]
    room = budget - sum(message_chars(message) for unit in request for message in unit)
    first = max(after, len(units) - 1)
    while first > after and before[-1] - before[first - 1] <= room:
        first -= 1
    return [*request, *units[first:]]
