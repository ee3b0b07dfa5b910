"""What the agents of this daemon were shown, as far as the next context can use it. Bounded.

A text is stored in the log once for each session and life of the daemon; contexts after that name
it by its digest. It counts as stored when its commit is seen in the feed, not when it was meant to
be. From the same feed comes the health that agents are told of: whether the last model call failed
and whether the log refuses.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeVar

from brainpilot_rt.context.window import Window
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.errors import Unavailable
from brainpilot_rt.domain.ids import AgentName, SessionId
from brainpilot_rt.domain.thinking import ContextSection
from brainpilot_rt.eventlog.port import EventLog
from brainpilot_rt.sessions.hub import Hub, Item
from brainpilot_rt.supervision.sources import Sources

K = TypeVar("K")
V = TypeVar("V")

AGENTS_MAX: Final = 256
"""Agents, and sessions, remembered at a time, the latest."""
DIGESTS_MAX: Final = 512
"""Texts remembered of one session, those that were shown last."""


def digest_of(text: str) -> str:
    """What a text is named by: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Shown:
    """One per daemon."""

    def __init__(self, log: EventLog, hub: Hub, sources: Sources) -> None:
        self.sources = sources
        self._windows: OrderedDict[tuple[SessionId, AgentName], Window] = OrderedDict()
        self._digests: OrderedDict[SessionId, OrderedDict[str, None]] = OrderedDict()
        self._failing: OrderedDict[SessionId, str] = OrderedDict()
        self._refused = ""
        log.on_failure(self._on_failure)
        hub.listen(self._on_item)

    def window(self, session: SessionId, agent: AgentName) -> Window:
        """The agent's window onto the session's memory."""
        key = (session, agent)
        window = self._windows.setdefault(key, Window())
        _touch(self._windows, key, AGENTS_MAX)
        return window

    def knows(self, session: SessionId, digest: str) -> bool:
        """Whether the log holds the text of this digest in a context of the session."""
        return digest in self._digests.get(session, ())

    def troubles(self, session: SessionId) -> list[str]:
        """What is wrong with the log and the model, as a person would say it."""
        log = [f"the log refuses changes ({self._refused})"] if self._refused else []
        model = self._failing.get(session)
        return [*log, *([f"the model fails: {model}"] if model else [])]

    def _on_failure(self, fault: Unavailable) -> None:
        self._refused = fault.code

    def _on_item(self, item: Item) -> None:
        if not isinstance(item, ev.Recorded):
            return
        self._refused = ""
        match item.event:
            case ev.ContextAssembled(sections=sections):
                self._store(item.session, sections)
            case ev.ModelAttemptFailed(reason=reason):
                self._failing[item.session] = reason
                _touch(self._failing, item.session, AGENTS_MAX)
            case ev.ModelReplied():
                self._failing.pop(item.session, None)
            case ev.SessionDeleted(deleted=session):
                self._forget(session)
            case _:
                pass

    def _store(self, session: SessionId, sections: Iterable[ContextSection]) -> None:
        digests = self._digests.setdefault(session, OrderedDict())
        _touch(self._digests, session, AGENTS_MAX)
        for section in sections:
            if section.text is not None:
                digests[section.digest] = None
            if section.digest in digests:
                _touch(digests, section.digest, DIGESTS_MAX)

    def _forget(self, session: SessionId) -> None:
        self._failing.pop(session, None)
        self._digests.pop(session, None)
        for key in [one for one in self._windows if one[0] == session]:
            del self._windows[key]


def _touch(kept: OrderedDict[K, V], key: K, most: int) -> None:
    """This one was used last; of more than `most` the one used longest ago goes."""
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
