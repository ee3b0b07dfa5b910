"""Conversations in memory: at most so many, kept current by the feed, read again when needed.

A conversation is a projection of the log (`context/conversation.py`). Reading it back is bounded:
the newest events that can matter for the character budget, and none that a summary stands for, so
that the thousandth run of a session costs what the first one did.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from brainpilot_rt.context.assembly import Assembler
from brainpilot_rt.context.conversation import Conversation
from brainpilot_rt.domain.events import Chunk, ConversationCompacted, Recorded
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.letters import Letter
from brainpilot_rt.domain.messages import Message, ToolResultMessage, UserMessage
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub

PAGE: Final = 500
PAGES_MAX: Final = 40

_MATTERS: Final = frozenset(
    {
        "agent_created",
        "letter_accepted",
        "letter_received",
        "letter_expired",
        "letter_died",
        "run_started",
        "letters_joined",
        "task_reminded",
        "program_prompted",
        "conversation_compacted",
        "model_replied",
        "text_finished",
        "tool_finished",
        "run_finished",
    }
)


class Conversations:
    """The conversations of running and recent agents."""

    def __init__(self, log: EventLog, hub: Hub, *, keep_max: int, chars_max: int) -> None:
        self._log = log
        self._keep_max = keep_max
        self._chars_max = chars_max
        self._kept: OrderedDict[tuple[SessionId, AgentName], Conversation] = OrderedDict()
        self._assemblers: dict[tuple[SessionId, AgentName], Assembler] = {}
        self._arriving: dict[tuple[SessionId, AgentName], list[Recorded]] = {}
        self._stop_listening = hub.listen(self._on_item)

    async def of(
        self, session: SessionId, agent: AgentName, mail: Iterable[Letter] = ()
    ) -> Conversation:
        """The agent's conversation as of the latest commit.

        `mail`: letters that are open now; they may be older than what is read back.
        """
        key = (session, agent)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        arriving = self._arriving[key] = []
        try:
            events = await self._newest(session, agent)
        finally:
            self._arriving.pop(key, None)
        conversation = Conversation(agent)
        conversation.expect(mail)
        for recorded in events:
            conversation.apply(recorded)
        last = events[-1].seq if events else 0
        for recorded in arriving:
            if recorded.seq > last:
                conversation.apply(recorded)
        self._kept[key] = conversation
        while len(self._kept) > self._keep_max:
            oldest, _ = self._kept.popitem(last=False)
            self._assemblers.pop(oldest, None)
        return conversation

    def assembler(self, session: SessionId, agent: AgentName) -> Assembler:
        """What assembles this conversation, and remembers of it what can not change any more."""
        key = (session, agent)
        if key not in self._kept:
            return Assembler()
        return self._assemblers.setdefault(key, Assembler())

    def forget(self, session: SessionId) -> None:
        """Drop a session's conversations; the log keeps them."""
        for key in [one for one in self._kept if one[0] == session]:
            del self._kept[key]
            self._assemblers.pop(key, None)

    def close(self) -> None:
        """Stop following the feed."""
        self._stop_listening()

    async def _newest(self, session: SessionId, agent: AgentName) -> list[Recorded]:
        """Enough of the log's end to fill the character budget twice, or back to a summary."""
        events: list[Recorded] = []
        before: int | None = None
        for _ in range(PAGES_MAX):
            page = await self._log.read_back(session, before=before, limit=PAGE, types=_MATTERS)
            events = page + events
            if len(page) < PAGE:
                break
            before = page[0].seq
            if before <= _summarised(events, agent):
                break
            probe = Conversation(agent)
            for recorded in events:
                probe.apply(recorded)
            if sum(map(_chars, probe.messages())) > 2 * self._chars_max:
                break
        return events

    def _on_item(self, item: Recorded | Chunk) -> None:
        if isinstance(item, Chunk) or item.event.type not in _MATTERS:
            return
        for (session, _), arriving in self._arriving.items():
            if session == item.session:
                arriving.append(item)
        for (session, _), conversation in self._kept.items():
            if session == item.session:
                conversation.apply(item)


def _summarised(events: Iterable[Recorded], agent: AgentName) -> int:
    """Up to which `seq` a summary stands for what the agent said and read; 0 when none does."""
    through = 0
    for recorded in events:
        match recorded.event:
            case ConversationCompacted(agent=whose, through_seq=seq) if whose == agent:
                through = seq
            case _:
                pass
    return through


def _chars(message: Message) -> int:
    if isinstance(message, UserMessage):
        return len(message.text)
    if isinstance(message, ToolResultMessage):
        return len(message.content)
    return len(message.text) + 200 * len(message.tool_calls)
