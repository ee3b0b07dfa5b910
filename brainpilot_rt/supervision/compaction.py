"""Compaction of a running agent's conversation: when, by which call, and what is recorded.

When a conversation passes its mark a model is asked, once, for a summary of the older part. It is
taken only if the conversation is shorter with it, as measured; the log then says so, and every
reader of it (this daemon, the next one) sees the summary from there on. A try that frees nothing is
recorded with its reason; after two the run goes on with what the assembly cuts (`assembly.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from brainpilot_rt.agents.ports import RunIdentity
from brainpilot_rt.aiokit.tasks import finish_shielded
from brainpilot_rt.context import compaction
from brainpilot_rt.context.conversation import Conversation
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import ProviderFault
from brainpilot_rt.domain.messages import Message
from brainpilot_rt.supervision.asides import ask_aside
from brainpilot_rt.supervision.organs import Organs

TRIES_MAX: Final = 2
"""Failed tries in one run."""

_Code = Literal["no_room_freed", "empty_summary", "model_failed", "nothing_to_compact"]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A conversation parted in two, and its size."""

    older: Sequence[Message]
    kept: Sequence[Message]
    through_seq: int
    chars: int


class Compaction:
    """The compaction of one run."""

    def __init__(self, organs: Organs, identity: RunIdentity) -> None:
        self._organs = organs
        self._identity = identity
        self._failed = 0

    async def look(self, turn: int, conversation: Conversation) -> bool:
        """Compact the conversation if it is time and can be done; whether it was."""
        messages = conversation.messages()
        chars = conversation.chars
        limit = self._organs.settings.context_chars_max
        mark = int(limit * self._organs.thinking.compact_at)
        if chars < mark or self._failed >= TRIES_MAX:
            return False
        keep = int(mark * compaction.KEPT_PART)
        at = compaction.split(messages, keep, lambda one: conversation.through_seq(one) is not None)
        through = conversation.through_seq(at)
        cut = _Cut(messages[:at], messages[at:], through or 0, chars)
        if through is None or not compaction.frees_room(
            chars, compaction.chars_after("", cut.kept)
        ):
            why = "what may be summarised is less than a tenth of the conversation"
            await self._fail(turn, "nothing_to_compact", why)
            return False
        return await self._summarise(turn, cut, limit)

    async def _summarise(self, turn: int, cut: _Cut, limit: int) -> bool:
        text = compaction.transcript(cut.older, limit)
        try:
            said, asked = await ask_aside(
                self._organs, self._identity, "compact", (compaction.SYSTEM, text)
            )
        except ProviderFault as fault:
            await self._fail(turn, "model_failed", fault.message)
            return False
        summary = compaction.composed(said, cut.older, cut.kept)
        after = compaction.chars_after(summary, cut.kept)
        if not summary:
            await self._fail(turn, "empty_summary", "the model said nothing", *asked)
            return False
        if not compaction.frees_room(cut.chars, after):
            why = f"{cut.chars:,} characters before, {after:,} with the summary"
            await self._fail(turn, "no_room_freed", why, *asked)
            return False
        compacted = ev.ConversationCompacted(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=turn,
            through_seq=cut.through_seq,
            summary=summary,
            messages_before=len(cut.older) + len(cut.kept),
            messages_after=len(cut.kept) + 1,
            chars_before=cut.chars,
            chars_after=after,
        )
        await self._record(*asked, compacted)
        return True

    async def _fail(self, turn: int, code: _Code, reason: str, *asked: ev.Event) -> None:
        self._failed += 1
        failed = ev.CompactionFailed(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=turn,
            attempt=self._failed,
            attempts_max=TRIES_MAX,
            code=code,
            reason=reason,
        )
        await self._record(*asked, failed)

    async def _record(self, *facts: ev.Event) -> None:
        await finish_shielded(self._organs.manager.record(self._identity.session, *facts))
