"""The texts of one reply on their way out: announced durably, shown live, closed once.

The model is never made to wait for a commit. The announcement of a text runs beside the stream;
what is heard meanwhile is shown as one chunk when it is durable.
"""

import asyncio
import logging

from brainpilot_rt.agents.ports import RunIdentity, TurnPorts
from brainpilot_rt.agents.reply import GrowingText
from brainpilot_rt.aiokit.tasks import finish_shielded, spawn
from brainpilot_rt.domain.errors import RuntimeFault
from brainpilot_rt.domain.events import Event, TextStarted
from brainpilot_rt.domain.ids import MessageId
from brainpilot_rt.domain.model_calls import ReasoningDelta, TextDelta

_log = logging.getLogger(__name__)


class Speech:
    """Says the texts of one model call. Ends with `settle` and `finished`, or with `abort`."""

    def __init__(self, ports: TurnPorts, identity: RunIdentity, turn: int) -> None:
        self._ports = ports
        self._identity = identity
        self._turn = turn
        self._texts: list[GrowingText] = []
        self._announcements: list[asyncio.Task[None]] = []

    def hear(self, delta: TextDelta | ReasoningDelta) -> None:
        """Take a piece; raises what the announcement of its text failed with."""
        if not delta.text:
            return
        text = self._texts[-1] if self._texts else None
        if text is None or (text.kind, text.part) != (delta.type, delta.index):
            text = self._begin(delta)
        elif self._announcements[-1].done():
            self._announcements[-1].result()
        text.pending.append(delta.text)
        self._show(text)

    async def settle(self) -> None:
        """Wait until every announced text is durable and shown.

        A reply that came in one piece is over before its announcements began: they are called off,
        and `finished` puts starts and ends into the one commit of the reply.
        """
        begun: list[asyncio.Task[None]] = []
        for text, announcement in zip(self._texts, self._announcements, strict=True):
            if text.announcing:
                begun.append(announcement)
            else:
                announcement.cancel()
                text.conclude()
        # Not awaited one by one: that would hand a cancellation on to the announcement.
        if begun:
            await asyncio.wait(begun)
        for announcement in begun:
            announcement.result()

    def finished(self) -> tuple[Event, ...]:
        """The closing facts of all texts, after `settle`; starts too where none was committed."""
        facts: list[Event] = []
        for text in self._texts:
            if text.started_seq is None:
                facts.append(self._started(text))
            facts.append(text.finished(self._identity.run_id, self._identity.agent, aborted=False))
        return tuple(facts)

    async def abort(self) -> None:
        """Close every announced text as cut, also while the caller is being cancelled.

        A log that refuses leaves the texts to recovery: the reason for the abort matters more.
        """
        try:
            await finish_shielded(self._abort())
        except RuntimeFault:
            _log.exception("texts of run %s stay open", self._identity.run_id)

    @property
    def answer_id(self) -> MessageId | None:
        """The message id of the last text that is not reasoning."""
        texts = [text.message_id for text in self._texts if text.kind == "text"]
        return texts[-1] if texts else None

    def _begin(self, delta: TextDelta | ReasoningDelta) -> GrowingText:
        text = GrowingText(self._ports.new_message_id(), delta.type, delta.index)
        self._texts.append(text)
        name = f"announce {text.message_id}"
        # A crash is raised to the run by `hear` or `settle`.
        task = spawn(self._announce(text), name=name, on_crash=lambda _name, _cause: None)
        self._announcements.append(task)
        return text

    def _started(self, text: GrowingText) -> TextStarted:
        return TextStarted(
            run_id=self._identity.run_id,
            agent=self._identity.agent,
            turn=self._turn,
            message_id=text.message_id,
            kind=text.kind,
        )

    async def _announce(self, text: GrowingText) -> None:
        text.announcing = True
        # What was held for the next commit comes back with it.
        records = await self._ports.emit(self._started(text))
        text.started_seq = next(one.seq for one in records if isinstance(one.event, TextStarted))
        self._show(text)

    def _show(self, text: GrowingText) -> None:
        if (piece := text.take()) is not None:
            self._ports.show(text.message_id, *piece, text.kind)

    async def _abort(self) -> None:
        if self._announcements:
            await asyncio.wait(self._announcements)
        run_id, agent = self._identity.run_id, self._identity.agent
        closing = [
            text.finished(run_id, agent, aborted=True)
            for text in self._texts
            if text.started_seq is not None
        ]
        if closing:
            await self._ports.emit(*closing)
