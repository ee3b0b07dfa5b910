"""What the agents of this daemon were shown, as far as the next context can use it. Bounded.

A text is stored in the log once for each agent and life of the daemon; contexts after that name it
by its digest. It counts as stored when its commit is seen in the feed, not when it was meant to be.
From the same feed comes the health that agents are told of: whether the last model call failed and
whether the log refuses.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from brainpilot_rt.context.window import Window
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.supervision.sources import Sources

AGENTS_MAX: Final = 256
"""Agents remembered at a time, the latest."""
DIGESTS_MAX: Final = 128
"""Texts remembered of one agent, the latest."""


def digest_of(text: str) -> str:
    """What a text is named by: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(slots=True)
class _Kept:
    window: Window = field(default_factory=Window)
    digests: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])


class Shown:
    """One per daemon."""

    def __init__(self, log: EventLog, hub: Hub, sources: Sources) -> None:
        self.sources = sources
        self._kept: OrderedDict[tuple[SessionId, AgentName], _Kept] = OrderedDict()
        self._failing: OrderedDict[SessionId, str] = OrderedDict()
        self._refused = ""
        log.on_failure(self._on_failure)
        hub.listen(self._on_item)

    def window(self, session: SessionId, agent: AgentName) -> Window:
        """The agent's window onto the session's memory."""
        return self._of(session, agent).window

    def knows(self, session: SessionId, agent: AgentName, digest: str) -> bool:
        """Whether the log holds the text of this digest in a context of the agent."""
        return digest in self._of(session, agent).digests

    def troubles(self, session: SessionId) -> list[str]:
        """What is wrong with the log and the model, as a person would say it."""
        log = [f"the log refuses changes ({self._refused})"] if self._refused else []
        model = self._failing.get(session)
        return [*log, *([f"the model fails: {model}"] if model else [])]

    def _of(self, session: SessionId, agent: AgentName) -> _Kept:
        kept = self._kept.setdefault((session, agent), _Kept())
        self._kept.move_to_end((session, agent))
        while len(self._kept) > AGENTS_MAX:
            self._kept.popitem(last=False)
        return kept

    def _on_failure(self, fault: Unavailable) -> None:
        self._refused = fault.code

    def _on_item(self, item: Item) -> None:
        if not isinstance(item, ev.Recorded):
            return
        self._refused = ""
        match item.event:
            case ev.ContextAssembled(agent=agent, sections=sections):
                stored = [one.digest for one in sections if one.text is not None]
                self._store(self._of(item.session, agent).digests, stored)
            case ev.ModelAttemptFailed(reason=reason):
                self._failing[item.session] = reason
                while len(self._failing) > AGENTS_MAX:
                    self._failing.popitem(last=False)
            case ev.ModelReplied():
                self._failing.pop(item.session, None)
            case ev.SessionDeleted(deleted=session):
                self._forget(session)
            case _:
                pass

    def _store(self, digests: OrderedDict[str, None], stored: Iterable[str]) -> None:
        digests.update(dict.fromkeys(stored))
        while len(digests) > DIGESTS_MAX:
            digests.popitem(last=False)

    def _forget(self, session: SessionId) -> None:
        self._failing.pop(session, None)
        for key in [one for one in self._kept if one[0] == session]:
            del self._kept[key]
