"""Agents that would write to each other for ever: stopped by the caps of their chain, loudly."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.ids import DAEMON, PRINCIPAL, AgentName
from brainpilot_rt.settings import AgentSettings, SessionLimits
from brainpilot_rt.testing.models import Gate, ScriptedModel
from brainpilot_rt.testing.team import SESSION, Setup, team
from proof.loops import CALL_USD, Topology, bomb, contained, ring, star
from tests.flows.team.moves import closed_tasks, drop, ends, memory_log, notices, send

LIMITS = SessionLimits(root_letters_max=60, root_runs_max=60, root_hops_max=12)
TURNS = 20
"""More than a restless agent has left after the stop, so that it is the stop that ends it."""
LOOPS = [
    *(ring(size) for size in (2, 3, 5, 9, 17)),
    *(ring(size, kind="task_delegate") for size in (2, 3, 17)),
    ring(3, kind="result_deliver"),
    star(6),
    bomb(12, 10),
    ring(2, "restless", "task_delegate"),
    ring(5, "restless", "task_delegate"),
    star(5, "restless"),
]


@pytest.mark.fault("J1", "J2")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("topology", LOOPS, ids=lambda one: one.name)
@pytest.mark.requirement("chain-caps")
async def test_a_loop_is_stopped_at_the_caps_of_its_chain_with_one_notice(
    tmp_path: Path, topology: Topology
):
    setup = Setup(limits=LIMITS, agents=AgentSettings(max_turns=500))
    seen = await contained(topology, tmp_path, setup)
    assert seen.stopped == 1
    # Every letter of a run can come back once, as the answer that tells its sender (always fits).
    assert seen.kinds["run"] <= LIMITS.root_letters_max
    assert seen.kinds["daemon"] <= seen.kinds["run"] + 1
    assert seen.runs <= LIMITS.root_runs_max + len(topology.edges)
    assert seen.usd <= CALL_USD * (2 * LIMITS.root_runs_max + 4 * TURNS) < Decimal(3)
    assert len(seen.ended) == 1
    assert list(seen.open_work) == []
    assert list(seen.violations) == []


@pytest.mark.fault("J1", "A23")
@pytest.mark.requirement("chain-caps")
async def test_a_storm_of_other_chains_does_not_make_a_loop_forget_what_it_has_used(
    tmp_path: Path,
):
    """What chains have used is kept for the latest ones only; one at work is among those."""
    model = ScriptedModel()
    model.say("principal", gate := Gate(), send("engineer"))
    model.say("principal", "Waiting.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        [root] = crew.state().roots
        for number in range(300):
            if number == 200:
                model.say("engineer", Gate())
                gate.open()
                await crew.until(lambda state: "engineer" in state.agents)
            await drop(crew, "principal", f"note {number}")
        assert crew.state().roots[root].letters == 2


@pytest.mark.fault("J3")
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.requirement("task-terminal")
async def test_a_wait_cycle_is_broken_with_a_notice_that_says_who_waits_for_whom(
    tmp_path: Path, slots: int
):
    model = ScriptedModel()
    model.say("principal", send("librarian", "find it"))
    model.say("principal", "Waiting.")
    model.say("librarian", send("engineer", "you find it"))
    model.say("librarian", "Waiting.")
    model.say("engineer", send("librarian", "no, you", msg_type="task_delegate"))
    model.say("engineer", "Waiting.")
    model.say("librarian", "Hm.")
    for agent in ("engineer", "librarian", "engineer", "librarian", "principal"):
        model.say(agent, "Hm.")
        model.say(agent, "Hm.")
    limits = SessionLimits(runs_concurrent_max=slots)
    async with team(memory_log(), model.stream, tmp_path, Setup(limits=limits)) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        [told] = await notices(crew, "wait_cycle")
        for pair in ("librarian waits for engineer", "engineer waits for librarian"):
            assert pair in told.message
        answers = [
            one.event.letter.content
            for one in await crew.events()
            if isinstance(one.event, ev.LetterAccepted) and one.event.letter.to == "engineer"
        ]
        assert "engineer waits for librarian" in answers[-1]
        assert set(await closed_tasks(crew)) == {"failed"}
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.fault("J3")
@pytest.mark.requirement("task-terminal")
async def test_one_slot_is_enough_for_delegations_within_delegations(tmp_path: Path):
    chain = ["principal", "librarian", "engineer", "writer"]
    model = ScriptedModel()
    for giver, taker in pairwise(chain):
        model.say(giver, send(taker, "do it"))
        model.say(giver, "Waiting.")
    for giver, taker in zip(reversed(chain[:-1]), reversed(chain[1:]), strict=True):
        model.say(taker, send(giver, "done", msg_type="result_deliver"))
        model.say(taker, "Done.")
    model.say("principal", "All done.")
    limits = SessionLimits(runs_concurrent_max=1)
    async with team(memory_log(), model.stream, tmp_path, Setup(limits=limits)) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        assert await closed_tasks(crew) == ["result"] * 3
        assert await notices(crew, "wait_cycle") == []
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.fault("J4")
@pytest.mark.requirement("chain-caps")
async def test_a_notice_starts_no_run_and_can_not_be_answered(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send(str(DAEMON), "ack"), send("user", "ack"))
    model.say("principal", "Done.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.organs.manager.record(
            SESSION,
            ev.NoticePosted(notice_id="n", level="warning", message="Slow down.", agent=PRINCIPAL),
        )
        await crew.post("Go.")
        await crew.settled()
        results = [
            one.event for one in await crew.events() if isinstance(one.event, ev.ToolFinished)
        ]
        assert [one.status for one in results] == ["failed", "failed"]
        assert len(model.requests) == 2
        assert set(crew.state().agents) == {PRINCIPAL}


@pytest.mark.fault("B15")
@pytest.mark.requirement("recipients")
async def test_a_letter_to_a_name_nobody_has_makes_no_agent_and_no_folder(tmp_path: Path):
    model = ScriptedModel()
    model.say("principal", send("enginer"), send("../../etc"), send("no-such-agent"))
    model.say("principal", "Nobody there.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await crew.settled()
        said = [
            one.event.content
            for one in await crew.events()
            if isinstance(one.event, ev.ToolFinished)
        ]
        assert "nearest: engineer" in said[0]
        assert len(said) == 3
        assert set(crew.state().agents) == {PRINCIPAL}
        assert await ends(crew) == ["completed"]


@pytest.mark.fault("B16", "B10")
@pytest.mark.requirement("chain-caps")
async def test_a_bounce_is_never_bounced(tmp_path: Path):
    """The task's answer dies with its reader: an event says so, and nobody is written to again."""
    model = ScriptedModel()
    model.say("principal", send("librarian", "ask the engineer"))
    model.say("principal", "Waiting.")
    model.say("librarian", send("engineer", "work"))
    model.say("librarian", "Waiting.")
    model.say("engineer", gate := Gate(), "I could not.")
    model.say("engineer", "Really.")
    model.say("principal", "So be it.")
    async with team(memory_log(), model.stream, tmp_path) as crew:
        await crew.create()
        await crew.post("Go.")
        await gate.reached.wait()
        await crew.until(lambda state: len(state.runs) == 1)
        await crew.organs.destroy(SESSION, AgentName("librarian"), PRINCIPAL)
        before = len([one for one in await crew.events() if one.event.type == "letter_accepted"])
        gate.open()
        await crew.settled()
        after = [one for one in await crew.events() if one.event.type == "letter_accepted"]
        assert len(after) == before
        assert await ends(crew) == ["completed"]
        assert await crew.violations() == []


@pytest.mark.fault("B12")
@pytest.mark.requirement("mail-expiry")
async def test_a_letter_that_expired_while_the_daemon_was_off_bounces_and_is_not_read(
    tmp_path: Path,
):
    log = memory_log()
    model = ScriptedModel()
    async with team(log, model.stream, tmp_path) as crew:
        await crew.create()
        await crew.organs.manager.dispatch(
            SESSION, cmd.CreateAgent(agent=AgentName("engineer"), by=PRINCIPAL)
        )
        await crew.organs.manager.dispatch(SESSION, cmd.Interrupt(agent=AgentName("engineer")))
        await drop(crew, "engineer", "in time?", kind="task_delegate", ttl_s=60.0)
    await asyncio.sleep(120)
    async with team(log, model.stream, tmp_path) as crew:
        await crew.until(lambda state: not state.letters)
        kinds = [one.event.type for one in await crew.events()]
        assert "letter_expired" in kinds
        assert model.requests == []
        assert await closed_tasks(crew) == ["failed"]
        assert await crew.violations() == []


@pytest.mark.fault("B18", "A23")
@pytest.mark.requirement("mail-pressure")
async def test_results_failures_and_cancels_fit_into_a_full_mailbox(tmp_path: Path):
    """The principal's box is full of foreign letters while a result, and then a failure, come."""
    limits = SessionLimits(mailbox_depth_max=5)
    model = ScriptedModel()
    model.say("principal", send("librarian", "one"), send("engineer", "two"))
    model.say("principal", hold := Gate(), "Waiting.")
    model.say("librarian", wait := Gate(), send("principal", "found"))
    model.say("librarian", "Done.")
    model.say("engineer", fail := Gate(), "I know nothing.")
    model.say("engineer", "Still nothing.")
    for _ in range(9):
        model.say("principal", "Read.")
    async with team(memory_log(), model.stream, tmp_path, Setup(limits=limits)) as crew:
        await crew.create()
        await crew.post("Go.")
        for gate in (hold, wait, fail):
            await gate.reached.wait()
        for number in range(5):
            await drop(crew, "principal", f"note {number}")
        with pytest.raises(Exception, match="try again later"):
            await drop(crew, "principal", "one too many")
        wait.open()
        fail.open()
        await crew.until(lambda state: not state.tasks)
        assert sorted(await closed_tasks(crew)) == ["failed", "result"]
        assert len(crew.state().queued_for(PRINCIPAL)) == 7
        hold.open()
        await crew.settled()
        assert await crew.violations() == []
