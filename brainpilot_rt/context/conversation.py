"""What one agent has read and said, as the model will see it: a projection of the log. Pure.

Nothing about a conversation is stored twice. Letters enter it when a run takes them up, with the
words and the time the log holds; replies enter it whole or not at all (a text that was cut is not
in it); results stand in call order whatever order the calls ended in. Calls of a finished run
always have a result; those of the last unfinished run stay open, so that a resume can answer them.
A new incarnation of the agent's name remembers nothing.

When the older part was compacted, its summary stands for it: a message that says what it is. What
came by events up to `through_seq` is gone from here, and only from here.

Letters are fenced: what others wrote stands between a header and an end line, and a line of theirs
that looks like either is escaped. Only the user's own words stand unfenced.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from brainpilot_rt.context.fences import fenced, tame
from brainpilot_rt.domain.events import (
    AgentCreated,
    ConversationCompacted,
    LetterAccepted,
    LetterDied,
    LetterExpired,
    LetterReceived,
    LettersJoined,
    ModelReplied,
    ProgramPrompted,
    Recorded,
    RunFinished,
    RunStarted,
    TaskReminded,
    TextFinished,
    ToolFinished,
)
from brainpilot_rt.domain.ids import AgentName, CallId, LetterId, MessageId
from brainpilot_rt.domain.letters import Letter, LetterKind
from brainpilot_rt.domain.messages import (
    AssistantMessage,
    Message,
    TextPart,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    message_chars,
)

INTERRUPTED_TEXT: Final = "Interrupted: this call was stopped before it had a result."
ABORTED_TEXT: Final = "[This work was stopped before it was finished.]"
FAILED_TEXT: Final = "[This work ended with an error before it was finished.]"
SUMMARY_LABEL: Final = "written by a model in place of what was said before, to save space"

_OLD: Final = timedelta(hours=1)
_DAYS_FROM: Final = timedelta(days=2)


def render(letters: Iterable[Letter], now_ms: int) -> str:
    """Letters as the text of one user message, a blank line between them.

    `now_ms`: when the agent takes them up (Unix milliseconds of that commit); a letter older than
    an hour then says its age.
    """
    return "\n\n".join(_block(letter, now_ms) for letter in letters)


def fold(events: Iterable[Recorded], agent: AgentName) -> list[Message]:
    """The conversation of `agent` after these events (one session's, in order of `seq`)."""
    conversation = Conversation(agent)
    for recorded in events:
        conversation.apply(recorded)
    return conversation.messages()


@dataclass(slots=True)
class Conversation:
    """The conversation of one agent, kept current event by event. `apply` never fails."""

    agent: AgentName
    last_text_id: MessageId | None = None
    """The message id of the last whole answer text."""
    _said: list[Message] = field(default_factory=list[Message])
    _marks: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Of each message: `seq` and time of the event that brought it; never falling."""
    _starts: list[int] = field(default_factory=list[int])
    """Where a message of a user or letter begins; adjacent ones are one, as they are shown."""
    _chars: int = 0
    """Of `_said`."""
    _now: tuple[int, int] = (0, 0)
    _calls: dict[CallId, ToolCall] = field(default_factory=dict[CallId, ToolCall])
    """The calls of the last reply, in order, until each has a result."""
    _results: dict[CallId, ToolResultMessage] = field(
        default_factory=dict[CallId, ToolResultMessage]
    )
    _mail: dict[LetterId, Letter] = field(default_factory=dict[LetterId, Letter])
    """Letters for the agent that it has not read."""
    _read: set[LetterId] = field(default_factory=set[LetterId])

    def messages(self) -> list[Message]:
        """A copy of the conversation as it stands."""
        return [*self._said, *self._results_in_order()]

    @property
    def chars(self) -> int:
        """Characters of the conversation as it stands."""
        return self._chars + sum(map(message_chars, self._results_in_order()))

    def through_seq(self, position: int) -> int | None:
        """The `seq` by which exactly the first `position` messages had come; None: there is none.

        So an event that says "up to this `seq`" parts the conversation there.
        """
        if not 0 < position < len(self._marks):
            return None
        last, following = self._marks[position - 1][0], self._marks[position][0]
        return last if last < following else None

    def since_ms(self, said: int) -> int:
        """When the window began that shows the latest `said` messages of users and letters.

        Adjacent ones count as one, as they are shown. Unix milliseconds; 0 for an empty window.
        """
        if not self._starts:
            return 0
        return self._marks[self._starts[-min(max(said, 1), len(self._starts))]][1]

    def expect(self, letters: Iterable[Letter]) -> None:
        """Letters accepted before the first event that will be applied."""
        self._mail.update((letter.id, letter) for letter in letters if letter.to == self.agent)

    def apply(self, recorded: Recorded) -> None:
        """Take the next event of the session."""
        match recorded.event:
            case LetterAccepted(letter=letter) | LetterReceived(letter=letter):
                if letter.to == self.agent:
                    self._mail[letter.id] = letter
            case LetterExpired(letter_id=letter_id) | LetterDied(letter_id=letter_id):
                self._mail.pop(letter_id, None)
            case ConversationCompacted(agent=agent) as event if agent == self.agent:
                self._compact(event, recorded.at_ms)
            case event:
                if getattr(event, "agent", None) == self.agent:
                    self._apply_own(recorded)

    def _apply_own(self, recorded: Recorded) -> None:
        self._now = (recorded.seq, recorded.at_ms)
        match recorded.event:
            case AgentCreated():
                self._calls, self._results = {}, {}
                self._restart([], [])
                self.last_text_id = None
            case RunStarted() as event:
                if event.resumes is None:
                    self._close_calls()
                self._take_up(event.letter_ids, recorded.at_ms, resumed=event.resumes is not None)
            case LettersJoined() as event:
                self._take_up(event.letter_ids, recorded.at_ms, resumed=False)
            case TaskReminded() | ProgramPrompted() as event:
                self._say(UserMessage(text=event.text))
            case ModelReplied() as event:
                self._close_calls()
                self._say(event.message)
                self._calls = {call.call_id: call for call in event.message.tool_calls}
            case TextFinished(kind="text", aborted=False) as event:
                self.last_text_id = event.message_id
            case ToolFinished() as event:
                self._answer(event)
            case RunFinished() as event:
                self._close_calls()
                self._end(event)
            case _:
                pass

    def _say(self, *messages: Message) -> None:
        for message in messages:
            self._put(message, self._now)

    def _put(self, message: Message, mark: tuple[int, int]) -> None:
        goes_on = bool(self._said) and isinstance(self._said[-1], UserMessage)
        if isinstance(message, UserMessage) and not goes_on:
            self._starts.append(len(self._said))
        self._said.append(message)
        self._marks.append(mark)
        self._chars += message_chars(message)

    def _restart(self, said: list[Message], marks: list[tuple[int, int]]) -> None:
        self._said, self._marks, self._starts, self._chars = [], [], [], 0
        for message, mark in zip(said, marks, strict=True):
            self._put(message, mark)

    def _compact(self, event: ConversationCompacted, at_ms: int) -> None:
        gone = bisect_right(self._marks, event.through_seq, key=lambda mark: mark[0])
        # A millisecond later: what the last of them said is no longer in the window.
        until = self._marks[gone - 1][1] + 1 if gone else at_ms
        until = min([until, *(at for _, at in self._marks[gone : gone + 1])])
        text = fenced("summary", "OF EARLIER CONVERSATION", SUMMARY_LABEL, event.summary)
        said = [UserMessage(text=text), *self._said[gone:]]
        self._restart(said, [(event.through_seq, until), *self._marks[gone:]])

    def _take_up(self, letter_ids: Iterable[LetterId], at_ms: int, *, resumed: bool) -> None:
        """Read the letters not read before.

        One that these events do not hold is named, never skipped, unless the run only resumes:
        then it was read by the run before.
        """
        fresh = [letter_id for letter_id in letter_ids if letter_id not in self._read]
        letters = [self._mail.pop(letter_id) for letter_id in fresh if letter_id in self._mail]
        self._read.update(fresh)
        blocks = [render(letters, at_ms)] if letters else []
        if not resumed:
            held = {letter.id for letter in letters}
            blocks += [f"[letter {one} can not be shown]" for one in fresh if one not in held]
        if blocks:
            self._say(UserMessage(text="\n\n".join(blocks)))

    def _answer(self, event: ToolFinished) -> None:
        if event.call_id not in self._calls or event.call_id in self._results:
            return
        self._results[event.call_id] = ToolResultMessage(
            call_id=event.call_id,
            name=event.name,
            content=event.content,
            is_error=event.status != "completed",
        )
        if len(self._results) == len(self._calls):
            self._close_calls()

    def _close_calls(self) -> None:
        for call_id, call in self._calls.items():
            self._results.setdefault(call_id, interrupted(call))
        self._say(*self._results_in_order())
        self._calls = {}
        self._results = {}

    def _results_in_order(self) -> list[ToolResultMessage]:
        return [self._results[call_id] for call_id in self._calls if call_id in self._results]

    def _end(self, event: RunFinished) -> None:
        """Say that consumed letters got no answer, so that the next request won't revive them."""
        last = self._said[-1] if self._said else None
        if event.outcome == "completed" or not event.letter_ids:
            return
        if isinstance(last, AssistantMessage) and not last.tool_calls:
            return
        text = ABORTED_TEXT if event.outcome == "aborted" else FAILED_TEXT
        self._say(AssistantMessage(parts=(TextPart(text=text),)))


def interrupted(call: ToolCall) -> ToolResultMessage:
    """The result of a call that never got one."""
    return ToolResultMessage(
        call_id=call.call_id, name=call.name, content=INTERRUPTED_TEXT, is_error=True
    )


def _block(letter: Letter, now_ms: int) -> str:
    if letter.kind is LetterKind.USER_MESSAGE and letter.authority.origin == "user":
        return letter.content
    facts = [f"letter {letter.id} from {letter.from_}", letter.kind.value]
    if letter.task_id is not None:
        facts.append(f"task {letter.task_id}")
    if age := _age(letter.created_at, now_ms):
        facts.append(f"written {age} ago")
    if letter.authority.tainted or letter.authority.origin == "external":
        facts.append("untrusted")
    return f"[{' · '.join(facts)}]\n{tame(letter.content)}\n[end of letter]"


def _age(created_at: str, now_ms: int) -> str:
    """`3 h`, `2 d`, or nothing for a letter of the last hour (or of an unreadable time)."""
    try:
        created = datetime.fromisoformat(created_at)
    except ValueError:
        return ""
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    age = datetime.fromtimestamp(now_ms / 1000, UTC) - created
    if age < _OLD:
        return ""
    if age < _DAYS_FROM:
        return f"{age // _OLD} h"
    return f"{age.days} d"
