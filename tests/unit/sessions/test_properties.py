"""Whatever happens to a session, in whatever order: the books balance and the work can end.

A history is a list of numbers, read as steps against whatever is possible at that moment.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import PRINCIPAL, USER, AgentName, MessageId
from brainpilot_rt.domain.letters import LetterKind
from brainpilot_rt.domain.phases import AgentPhase
from brainpilot_rt.sessions import snapshot
from brainpilot_rt.sessions.evolve import evolve
from brainpilot_rt.sessions.recovery import cut, repair, resume
from brainpilot_rt.sessions.runs import after_stop
from brainpilot_rt.sessions.schedule import due_ms
from brainpilot_rt.settings import SessionLimits
from tests.unit.sessions.world import SESSION, World

Pick: TypeAlias = Callable[[int], int]
NAMES = (PRINCIPAL, "librarian", "engineer", "robot", "helper")
KINDS = (None, LetterKind.TASK_DELEGATE, LetterKind.RESULT_DELIVER)
LIMITS = SessionLimits(
    runs_concurrent_max=2,
    letters_batch_max=2,
    mailbox_depth_max=4,
    root_hops_max=5,
    root_letters_max=12,
    root_runs_max=10,
    agents_max=6,
    questions_max=2,
)


def _working(world: World, pick: Pick) -> AgentName | None:
    runs = list(world.state.runs.values())
    return runs[pick(len(runs))].agent if runs else None


def _post(world: World, pick: Pick) -> None:
    world.tried(world.post(agent=NAMES[pick(len(NAMES))] if pick(3) == 0 else PRINCIPAL))


def _send(world: World, pick: Pick) -> None:
    if (sender := _working(world, pick)) is not None:
        tasks = [None, "task_forged", *world.state.tasks]
        to, kind = NAMES[pick(len(NAMES))], KINDS[pick(len(KINDS))]
        world.tried(world.send(sender, to, kind=kind, task_id=tasks[pick(len(tasks))]))


def _foreign(world: World, pick: Pick) -> None:
    tasks = [None, "task_forged", *world.state.tasks]
    more: dict[str, Any] = {"task_id": tasks[pick(len(tasks))], "kind": KINDS[pick(len(KINDS))]}
    if pick(2):
        more["ttl_s"] = 30
    world.tried(world.foreign(NAMES[pick(len(NAMES))], **more))


def _finish(world: World, pick: Pick) -> None:
    if (agent := _working(world, pick)) is None:
        return
    outcomes: tuple[ev.RunOutcome, ...] = ("completed", "completed", "failed", "aborted")
    outcome = outcomes[pick(4)]
    retry = outcome == "failed" and pick(2)
    later = world.now_ms + 5000 if retry else None
    world.do(world.finish(agent, outcome, reason="why", retry_at_ms=later))


def _talk(world: World, pick: Pick) -> None:
    if (agent := _working(world, pick)) is None:
        return
    run_id = world.run_of(agent)
    texts = world.state.runs[run_id].texts
    if texts and pick(2):
        message_id, (seq, _) = next(iter(texts.items()))
        end = ev.TextFinished(
            run_id=run_id, agent=agent, message_id=message_id, text="", chunks=(), started_seq=seq
        )
        world.commit([end])
    else:
        fresh = MessageId(f"msg_{world.new_id()}")
        world.commit([ev.TextStarted(run_id=run_id, agent=agent, turn=0, message_id=fresh)])


def _boundary(world: World, pick: Pick) -> None:
    if (agent := _working(world, pick)) is not None:
        world.do(cmd.JoinLetters(run_id=world.run_of(agent), turn=1))
        world.do(cmd.RemindTasks(run_id=world.run_of(agent)))


def _question(world: World, pick: Pick) -> None:
    if world.state.questions and pick(2):
        request_id = next(iter(world.state.questions))
        world.tried(cmd.AnswerQuestion(request_id=request_id, answer="yes"))
    elif (agent := _working(world, pick)) is not None:
        world.tried(world.ask(agent))


def _stop(world: World, pick: Pick) -> None:
    """A stop as the supervisor does it, with something happening in the middle now and then."""
    whom = None if pick(2) else AgentName(NAMES[pick(len(NAMES))])
    if whom is not None and whom not in world.state.agents:
        return
    running = [run.agent for run in world.state.runs.values() if whom in (None, run.agent)]
    world.do(cmd.Interrupt(agent=whom))
    if pick(3) == 0:
        _post(world, pick)
    for agent in running:
        if any(run.agent == agent for run in world.state.runs.values()):
            world.do(world.finish(agent, "aborted", reason="by the user"))
    world.commit(after_stop(world.state, whom, world.moment))


def _agents(world: World, pick: Pick) -> None:
    name = AgentName(NAMES[pick(len(NAMES))])
    known = world.state.agents.get(name)
    if pick(2):
        world.tried(cmd.CreateAgent(agent=name, by=PRINCIPAL))
    elif known is not None and known.kind == "external":
        world.tried(cmd.LeaveExternal(agent=name))
    else:
        world.tried(cmd.DestroyAgent(agent=name, by=USER))


def _external(world: World, pick: Pick) -> None:
    letters = [one for one in world.state.letters.values() if one.letter.to == "robot"]
    if not letters or pick(3) == 0:
        world.tried(world.join_external("robot"))
        return
    letter_id = letters[pick(len(letters))].letter.id
    receipt = ("placed", "claimed", "consumed")[pick(3)]
    report: dict[str, Any] = {"agent": "robot", "letter_id": letter_id, "receipt": receipt}
    world.do(cmd.ReportLetter(**report))


def _restart(world: World, pick: Pick) -> None:
    if pick(2):
        world.commit(cut(world.state), follow=False)
    world.commit(repair(world.state, world.moment), follow=False)
    assert repair(world.state, world.moment) == []
    assert world.violations() == []
    if pick(3) == 1:
        _post(world, pick)
    world.commit(resume(world.state, world.moment))
    world.pass_s(0)


def _time(world: World, pick: Pick) -> None:
    world.pass_s(1 + pick(40))


STEPS = (
    _post, _send, _send, _send, _foreign, _finish, _finish, _talk, _boundary, _question, _stop,
    _agents, _external, _restart, _time,
)  # fmt: skip


def _play(numbers: list[int]) -> World:
    world = World(limits=LIMITS)
    rest = iter(numbers)

    def pick(count: int) -> int:
        return next(rest, 0) % count

    for step in rest:
        STEPS[step % len(STEPS)](world, pick)
        _holds(world)
    return world


def _holds(world: World) -> None:
    """What is true after every commit."""
    state = world.state
    agents = [run.agent for run in state.runs.values()]
    assert len(agents) == len(set(agents))
    for agent in state.agents.values():
        assert (agent.phase is AgentPhase.RUNNING) == (agent.name in agents)
    for one in state.letters.values():
        assert (one.receipt == "queued") or one.run_id or one.letter.to == "robot"
    for task in state.tasks.values():
        assert state.agents[task.assignee].phase is not AgentPhase.STOPPED


histories = st.lists(st.integers(0, 2**16), max_size=150)


@settings(max_examples=300, deadline=None)
@given(histories)
def test_the_books_balance_and_a_replay_gives_the_state(numbers: list[int]):
    world = _play(numbers)
    assert world.violations() == []
    assert world.replayed() == world.state


@settings(max_examples=300, deadline=None)
@given(histories)
def test_all_work_ends_when_every_agent_does_and_the_user_speaks(numbers: list[int]):
    world = _play(numbers)
    _restart(world, lambda _count: 0)
    world.tried(cmd.LeaveExternal(agent=AgentName("robot")))
    for number in range(400):
        for agent in [run.agent for run in world.state.runs.values()]:
            world.do(world.finish(agent, answer="done"))
        if number % 20 == 0:
            world.tried(world.post())
        world.pass_s(10)
        if number % 20 and not world.state.busy:
            break
    state = world.state
    assert not state.tasks
    assert not state.letters
    assert state.host_turn is None
    assert not state.busy
    assert due_ms(state) is None
    assert world.violations() == []


@settings(max_examples=200, deadline=None)
@given(histories, st.data())
def test_no_prefix_of_a_history_breaks_the_fold_or_its_repair(
    numbers: list[int], data: st.DataObject
):
    whole = _play(numbers)
    length = data.draw(st.integers(0, len(whole.log)))
    cut_off = World(limits=LIMITS)
    cut_off.log = whole.log[:length]
    cut_off.state = cut_off.replayed()
    cut_off.new_id = whole.new_id
    if cut_off.state.exists:
        snapshot.view(cut_off.state)
        _restart(cut_off, lambda _count: 0)
        assert cut_off.replayed() == cut_off.state


def test_a_session_that_is_idle_again_is_as_small_as_before():
    world = World()
    sizes: list[int] = []
    for _ in range(500):
        world.do(world.post())
        world.do(world.send(PRINCIPAL, "librarian"))
        world.do(world.finish(PRINCIPAL))
        [task] = world.state.tasks
        world.do(world.send("librarian", PRINCIPAL, task_id=task))
        world.do(world.finish("librarian"))
        world.do(world.finish(PRINCIPAL, answer="done"))
        state = world.state
        assert not state.busy
        sizes.append(len(state.letters) + len(state.runs) + len(state.tasks) + len(state.sent))
    assert sizes[0] == sizes[-1]
    assert len(world.state.closed) <= 1024
    assert len(world.state.roots) <= 256
    assert world.replayed() == world.state
    assert evolve(world.state, world.log[-1]).session == SESSION
