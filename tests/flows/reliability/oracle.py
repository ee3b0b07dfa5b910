"""What must be true: of every step, and of everything once it has come to rest.

The ten lines of the oracle (reliability.md 7.1), on a `World`.
"""

import sqlite3
from collections import Counter

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON_STREAM, PRINCIPAL, RunId, SessionId
from brainpilot_rt.sessions.audit import Audit
from brainpilot_rt.sessions.schedule import follow_ups
from brainpilot_rt.testing.models import Reply
from tests.flows.reliability.history import durable, replayed
from tests.flows.reliability.world import Life, World

ROUNDS_MAX = 400
PAUSE_S = 600.0


def step(world: World, audits: dict[SessionId, tuple[Audit, int]]) -> list[str]:
    """What is wrong now, without waiting for anything."""
    found = list(world.faults)
    for session, history in world.visible.items():
        if session in world.gone or session == DAEMON_STREAM:
            continue
        audit, fed = audits.setdefault(session, (Audit(session), 0))
        audit.feed(history[fed:])
        audits[session] = (audit, len(history))
        found += [str(one) for one in audit.violations()]
    found += [f"{call} took effect {n} times" for call, n in world.deeds.items() if n > 1]
    for reader in world.readers:
        if reader.session not in world.gone:
            found += reader.faults
    return found


def at_rest(world: World) -> list[str]:
    """What is wrong when nothing more happens by itself and the disk is well (I-16)."""
    found: list[str] = []
    life = world.life
    assert life is not None
    for state in life.crew.organs.manager.resident():
        moment = life.crew.organs.manager.moment()
        if not any(one.retry_at_ms for one in state.agents.values()):
            left = [one.type for one in follow_ups(state, moment)]
            found += [f"{state.session}: {what} should have happened" for what in left]
        runs: set[RunId] = {one.run_id for one in life.crew.supervisor.workers(state.session)}
        lost = set(state.runs) - runs
        found += [f"{state.session}: nobody works on {one}" for one in lost]
        history = world.visible.get(state.session, [])
        if replayed(state.session, history) != state:
            found.append(f"{state.session}: the log does not mean the state")
    return found


def quiesce(world: World) -> list[str]:
    """Let everything end: models answer, tools return, people answer, time passes."""
    for _ in range(ROUNDS_MAX):
        life = world.life
        if life is None:
            world.start()
            continue
        world.turn()
        if world.life is not life:
            continue
        _decide_all(life)
        world.turn()
        if world.life is not life or life.calls or life.execs:
            continue
        if _push(world):
            continue
        life.crew.watcher.changed()
        world.ask("scan", life.crew.office.scan())
        world.turn(pass_s=PAUSE_S)
        if world.life is life and not _push(world):
            return []
    return [f"it does not come to rest: {_open(world)}"]


def _decide_all(life: Life) -> None:
    for call in [one for one in life.calls if not one.decided.done()]:
        call.decided.set_result(Reply(("Well.",)))
    for call in [one for one in life.execs if not one.decided.done()]:
        call.decided.set_result("ok")


def _push(world: World) -> bool:
    """Do what the outside has to do for the rest to happen; False when all is done."""
    life = world.life
    assert life is not None
    backend, manager = life.crew.backend, life.crew.organs.manager
    for session in list(world.visible):
        if session in world.gone or session == DAEMON_STREAM:
            continue
        state = replayed(session, world.visible[session])
        if not state.busy:
            continue
        if manager.find(session) is None:
            world.ask("load", manager.load(session))
        for asked in state.questions.values():
            words = asked.options[0] if asked.options else "yes"
            world.ask("answer", backend.answer(session, asked.request_id, words, None))
        if not state.questions and any(one.paused for one in state.agents.values()):
            post = backend.post_message(session, agent=None, content="Go on.", message_id=None)
            world.ask("post", post, (session, PRINCIPAL))
        world.turn(pass_s=PAUSE_S)
        return True
    return any(not claim.task.done() for claim in life.claims)


def _open(world: World) -> list[str]:
    found: list[str] = []
    for session, history in world.visible.items():
        state = replayed(session, history)
        if state.busy and session not in world.gone:
            found.append(
                f"{session} letters={list(state.letters)} runs={list(state.runs)} "
                f"cut={list(state.interrupted)} host={state.host_turn} "
                f"questions={list(state.questions)} "
                f"agents={list(state.agents.values())}"
            )
    life = world.life
    if life is not None:
        found += [claim.what for claim in life.claims if not claim.task.done()]
    return found


def promises(world: World) -> list[str]:
    """Acknowledged is in the log, consumed is consumed once, nothing is open (I-1, I-2)."""
    found: list[str] = []
    ended: Counter[tuple[str, str]] = Counter()
    accepted: set[tuple[str, str]] = set()
    answered: Counter[str] = Counter()
    for session, history in world.visible.items():
        for recorded in history:
            match recorded.event:
                case ev.LetterAccepted() | ev.LetterReceived() as event:
                    accepted.add((session, event.letter_id))
                case ev.RunFinished() | ev.LetterConsumed() as event:
                    ended.update((session, one) for one in event.letter_ids)
                case ev.LetterExpired() | ev.LetterDied() as event:
                    ended[session, event.letter_id] += 1
                case ev.QuestionAnswered() as event:
                    answered[event.request_id] += 1
                case _:
                    pass
        if session not in world.gone and replayed(session, history).busy:
            found.append(f"{session}: something is open")
    found += _kept(world, accepted, ended, answered)
    found += [f"{one} ended {n} times" for one, n in ended.items() if n != 1]
    found += [f"{one} was answered {n} times" for one, n in answered.items() if n != 1]
    return found


def _kept(
    world: World,
    accepted: set[tuple[str, str]],
    ended: Counter[tuple[str, str]],
    answered: Counter[str],
) -> list[str]:
    """Of all that was acknowledged: what the log does not know."""
    found: list[str] = []
    for what, note, answer in world.told:
        if what == "post" and answer.letter_id is not None and note[0] not in world.gone:
            key = (note[0], answer.letter_id)
            if key not in accepted or ended[key] != 1:
                found.append(f"{key} was acknowledged and ended {ended[key]} times")
        if what == "answer" and answer == "ok" and note is not None and not answered[note]:
            found.append(f"answer to {note} was acknowledged and is lost")
    return found


def files(world: World) -> dict[str, list[str]]:
    """What lies in every box, by its path."""
    found: dict[str, list[str]] = {}
    for path in sorted((world.folder / "mail").rglob("*")):
        if path.is_file() and path.parent.name in ("new", "cur", "bad", "tmp"):
            found.setdefault(str(path.parent.relative_to(world.folder)), []).append(path.name)
    return found


def second_start_changes_nothing(world: World) -> list[str]:
    """Stop in order, start again, stop: the log and the boxes are as they were."""
    if world.life is None:
        world.start()
    if not world.stop():
        return ["a stop died although nothing was armed"]
    before, boxes = _heads(world), files(world)
    world.start()
    world.turn(pass_s=30)
    after, later = _heads(world), files(world)
    found = [] if before == after else [f"a start added events: {before} -> {after}"]
    if boxes != later:
        found.append(f"a start moved files: {boxes} -> {later}")
    return [*found, *world.faults]


def _heads(world: World) -> dict[SessionId, int]:
    return {session: len(history) for session, history in durable(world.folder).items()}


def integrity(world: World) -> list[str]:
    """SQLite's own check of the file."""
    connection = sqlite3.connect(f"file:{world.folder / 'log.db'}?mode=ro", uri=True)
    try:
        said = connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()
    return [] if said == "ok" else [f"integrity_check: {said}"]
