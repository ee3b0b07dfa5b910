"""One busy scenario in as many orders as there are seeds (reliability.md 7.3).

Everything is asked for at once: people post, stop, answer, delete and evict while agents write to
each other, use tools and ask; foreign letters lie in the boxes. What happens first is the seed's.
Some seeds die in the middle and go on from the files.
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

from brainpilot_rt.domain.ids import USER, AgentName, SessionId
from brainpilot_rt.supervision.answers import NewSession
from brainpilot_rt.testing.models import Call, Reply
from tests.flows.reliability import oracle
from tests.flows.reliability.world import DEED, LOOK, World, foreign_name

AGENTS = ("principal", "librarian", "engineer", "writer")
S = SessionId("s")
ROUNDS = 12


def interleaving(seed: int, folder: Path) -> list[str]:
    """Play the scenario in the order of this seed; what was wrong, nothing when all held."""
    root = Path(tempfile.mkdtemp(dir=folder))
    world = World(root, seed)
    try:
        return _played(world, random.Random(seed))
    except AssertionError as wrong:
        return [str(wrong)]
    finally:
        world.close()
        shutil.rmtree(root, ignore_errors=True)


def _played(world: World, dice: random.Random) -> list[str]:
    world.ask("create", world.crew.backend.create_session(NewSession(session=S)))
    world.turn()
    _drop(world, dice)
    for _ in range(ROUNDS):
        if world.life is None:
            world.start()
        _order(world, dice)
        _decide(world, dice)
        world.turn(dice.randrange(1, 12))
        if dice.random() < 0.02 and world.life is not None:
            world.crash()
    found = oracle.quiesce(world)
    found += oracle.step(world, {})
    found += [] if found else [*oracle.at_rest(world), *oracle.promises(world)]
    return found or oracle.second_start_changes_nothing(world)


def _order(world: World, dice: random.Random) -> None:
    backend, supervisor = world.crew.backend, world.crew.supervisor
    agent = dice.choice(AGENTS)
    match dice.randrange(9):
        case 0 | 1 | 2:
            post = backend.post_message(S, agent=agent, content="Hi.", message_id=None)
            world.ask("post", post, (S, agent))
        case 3:
            world.ask("stop", backend.interrupt(S, AgentName(agent)))
        case 4:
            world.ask("stop", backend.interrupt(S, None))
        case 5:
            world.ask("destroy", supervisor.destroy(S, AgentName(agent), USER))
        case 6:
            world.ask("evict", backend.evict_session(S))
        case 7:
            state = world.crew.organs.manager.find(S)
            for asked in state.questions if state is not None else ():
                for words in ("yes", "no"):  # two clients at once: the first wins
                    world.ask("answer", backend.answer(S, asked, words, None), asked)
        case _:
            world.crew.watcher.changed()
            world.ask("scan", world.crew.office.scan())


def _decide(world: World, dice: random.Random) -> None:
    life = world.life
    assert life is not None
    for call in life.calls:
        if not call.decided.done() and dice.random() < 0.7:
            to = dice.choice([one for one in AGENTS if one != call.agent])
            steps = dice.choice([
                ("Well.",),
                (Call("send_message", {"to": to, "content": "work"}),),
                (Call(DEED), Call(LOOK)),
                (Call("ask_user", {"question": "Which?"}),),
            ])  # fmt: skip
            call.decided.set_result(Reply(steps))
    for call in life.execs:
        if not call.decided.done() and dice.random() < 0.7:
            call.decided.set_result("ok")


def _drop(world: World, dice: random.Random) -> None:
    box = world.folder / "mail" / S / "principal"
    for number in range(3):
        name = f"{foreign_name(number)}.json"
        letter = {"to": "principal", "content": f"foreign {dice.randrange(3)}"}
        world.put(box, name, json.dumps(letter).encode())
