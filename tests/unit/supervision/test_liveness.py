"""What holds the daemon alive: work, mail that will be read, timers, questions. Not time."""

from brainpilot_rt.domain import commands as cmd
from brainpilot_rt.domain.ids import PRINCIPAL, AgentName
from brainpilot_rt.sessions.recovery import cut
from brainpilot_rt.supervision.liveness import Liveness
from brainpilot_rt.testing.sources import ManualClock
from tests.unit.sessions.world import SESSION, World


def leases(world: World, liveness: Liveness | None = None) -> dict[str, int]:
    liveness = liveness or Liveness(ManualClock().now_ms)
    liveness.changed(SESSION)
    return liveness.pulse(lambda _session: world.state, 1).leases


def test_an_idle_session_holds_nothing():
    assert leases(World()) == {}


def test_a_run_and_the_mail_behind_it_are_leases():
    world = World()
    world.do(world.post())
    world.do(world.post())
    assert leases(world) == {"run": 1, "unread_mail": 1}


def test_mail_of_stopped_and_external_agents_is_no_lease():
    world = World()
    world.do(world.join_external("robot"))
    world.do(world.foreign("robot", kind="task_delegate"))
    world.do(world.post())
    world.do(world.post())
    world.do(cmd.Interrupt())
    world.do(world.finish(PRINCIPAL, "aborted"))
    assert world.state.queued_for(PRINCIPAL)
    assert world.state.queued_for(AgentName("robot"))
    assert leases(world) == {}


def test_a_pause_before_a_retry_is_a_timer():
    world = World()
    world.do(world.post())
    world.do(world.finish(PRINCIPAL, "failed", retry_at_ms=world.now_ms + 1000))
    assert leases(world) == {"timer": 1, "unread_mail": 1}


def test_a_run_that_waits_to_be_resumed_is_a_lease():
    world = World()
    world.do(world.post())
    world.commit(cut(world.state), follow=False)
    assert not world.state.runs
    assert leases(world) == {"run": 1}


def test_an_open_question_is_a_lease():
    world = World()
    world.do(world.post())
    world.do(world.ask(PRINCIPAL))
    assert leases(world) == {"question": 1, "run": 1}


def test_a_held_lease_lasts_exactly_as_long_as_its_block():
    liveness = Liveness(ManualClock().now_ms)
    world = World()
    with liveness.hold("model_call"):
        assert leases(world, liveness) == {"model_call": 1}
        assert liveness.pulse(lambda _session: None, 1).reasons == ("1 model_call",)
    assert leases(world, liveness) == {}


def test_counts_of_a_session_that_is_gone_are_gone():
    liveness = Liveness(ManualClock().now_ms)
    world = World()
    world.do(world.post())
    assert leases(world, liveness) == {"run": 1}
    liveness.changed(SESSION)
    assert liveness.pulse(lambda _session: None, 0).leases == {}
