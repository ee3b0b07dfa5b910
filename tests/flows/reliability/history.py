"""The log as it lies in its file, and what it means."""

import gc
import logging
import sqlite3
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.events import EVENTS
from brainpilot_rt.domain.ids import SessionId
from brainpilot_rt.sessions.evolve import evolve
from brainpilot_rt.sessions.state import SessionState

History = dict[SessionId, list[ev.Recorded]]


def durable(folder: Path) -> History:
    """The log's events as they are in the file, read beside the daemon."""
    connection = sqlite3.connect(f"file:{folder / 'log.db'}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT session, seq, pos, at_ms, payload FROM events ORDER BY pos"
        )
        found: History = {}
        for session, seq, pos, at_ms, payload in rows:
            event = EVENTS.validate_json(payload)
            found.setdefault(SessionId(session), []).append(
                ev.Recorded(SessionId(session), seq, pos, at_ms, event)
            )
    finally:
        connection.close()
    return found


def replayed(session: SessionId, history: list[ev.Recorded]) -> SessionState:
    """The state a log means."""
    state = SessionState(session=session)
    for recorded in history:
        state = evolve(state, recorded)
    return state


def log_is_whole(folder: Path, visible: History, gone: set[SessionId]) -> list[str]:
    """Nothing that was ever seen is missing (I-8); `visible` learns what was committed unseen."""
    found: list[str] = []
    kept = durable(folder)
    for session in {*visible, *kept} - gone:
        seen = visible.get(session, [])
        history = kept.get(session, [])
        if [(one.seq, one.event) for one in history[: len(seen)]] != [
            (one.seq, one.event) for one in seen
        ]:
            found.append(f"{session}: what was visible is not what is durable")
        visible[session] = history  # committed, and cut off before it was shown
    places = [one.pos for history in kept.values() for one in history]
    if sorted(places) != sorted(set(places)):
        found.append("a place was given twice")
    return found


@contextmanager
def unheard() -> Generator[None]:
    """What the objects of the dead still say when they are collected is nobody's business.

    Nor what they log: a record that pytest keeps would keep them, too, until nobody ignores it.
    """
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            yield
        finally:
            gc.collect()
            logging.disable(level)
