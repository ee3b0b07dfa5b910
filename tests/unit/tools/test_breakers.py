"""Circuits open, are tried and close; circles are seen, progress is not mistaken for one."""

from brainpilot_rt.tools.breakers import Breaker, Circuit, Circuits, Repeats

BREAKER = Breaker(failures_max=3, open_s=30.0)


def failed(circuit: Circuit, times: int, now_s: float = 0.0) -> Circuit:
    for _ in range(times):
        circuit = BREAKER.after(circuit, failed=True, now_s=now_s)
    return circuit


def test_failures_in_a_row_open_the_circuit():
    assert failed(Circuit(), 2).state == "closed"
    assert failed(Circuit(), 3).state == "open"


def test_a_success_in_between_starts_the_count_again():
    circuit = BREAKER.after(failed(Circuit(), 2), failed=False, now_s=0)
    assert failed(circuit, 2).state == "closed"


def test_an_open_circuit_lets_one_call_try_it_after_a_while():
    circuit = failed(Circuit(), 3)
    assert BREAKER.admit(circuit, 29.9) is None
    trial = BREAKER.admit(circuit, 30.0)
    assert trial is not None
    assert trial.state == "half_open"
    assert BREAKER.admit(trial, 30.1) is None


def test_the_trial_decides():
    trial = BREAKER.admit(failed(Circuit(), 3), 30.0)
    assert trial is not None
    assert BREAKER.after(trial, failed=False, now_s=31.0) == Circuit()
    again = BREAKER.after(trial, failed=True, now_s=31.0)
    assert (again.state, again.until_s, again.failures) == ("open", 61.0, 4)


def test_a_trial_without_an_end_is_followed_by_another():
    trial = BREAKER.admit(failed(Circuit(), 3), 30.0)
    assert trial is not None
    assert BREAKER.admit(trial, 60.0) is not None


def test_no_bound_means_never():
    breaker = Breaker(failures_max=0, open_s=30.0)
    circuit = Circuit()
    for _ in range(50):
        circuit = breaker.after(circuit, failed=True, now_s=0)
    assert circuit.state == "closed"


def test_circuits_of_sessions_and_tools_are_apart():
    circuits = Circuits()
    circuits.put("s", "search", failed(Circuit(), 3))
    assert circuits.of("s", "search").state == "open"
    assert circuits.of("s", "fetch") == circuits.of("t", "search") == Circuit()
    circuits.put("s", "search", Circuit())
    assert circuits.of("s", "search") == Circuit()


def test_the_same_call_with_the_same_result_counts():
    repeats = Repeats()
    for _ in range(3):
        repeats.note("read a", "x")
    assert repeats.times("read a") == 3
    assert repeats.times("read b") == 0


def test_two_calls_in_turn_are_a_circle_too():
    repeats = Repeats()
    for _ in range(3):
        repeats.note("read a", "x")
        repeats.note("read b", "y")
    assert repeats.times("read a") == 2
    assert repeats.times("read b") == 3


def test_something_new_in_between_is_progress():
    repeats = Repeats()
    for number in range(5):
        repeats.note("bash test", "ok")
        repeats.note(f"edit {number}", "done")
    assert repeats.times("bash test") == 0
    repeats.note("bash test", "failed")
    assert repeats.times("bash test") == 1
