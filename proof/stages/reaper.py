"""The reaper's race: a host that takes an idle daemon away while somebody is talking to it.

Each round the host reads `idleEpoch` of an idle daemon and asks it to stop, `{ifIdleEpoch}`, at
about the moment at which a message, a new session or a foreign letter arrives. The daemon may
agree to stop or take the work, never both and never neither; what was refused is repeated, under
its key, in the next life. Rounds in which the stop is refused go on with the same daemon.
"""

import contextlib
import http.client
import json
import random
import shutil
import time
from collections import Counter
from http import HTTPStatus
from typing import Final

from proof.life import Life, Nursery
from proof.oracle import Oracle, judge
from proof.stage import Number, Outcome, Stage, Task
from proof.workload import PATIENCE_S, Client, Json, Op, new_home

ROUNDS_PER_HOME: Final = 400
STOP_FIRST: Final = 0.12
"""Share of the rounds in which the host is first; each of these costs a restart."""
APART_S: Final = 0.002
"""Mean distance of the two requests."""
LATE: Final = 0.15
"""Share of the rounds in which the host comes so late that the work may be done already."""
FAILURES_MAX: Final = 10

_DROPPED: Final = (ConnectionError, http.client.HTTPException)


class Race:
    """The rounds of one home."""

    def __init__(self, task: Task, nursery: Nursery, name: str) -> None:
        self.home, self.books = new_home(task.folder / name, name)
        self.counts = Counter[str]()
        self.failures: list[str] = []
        self._rng = random.Random(f"{task.seed} {name}")
        self._nursery = nursery
        self._name = name
        self._life: Life | None = None

    def run(self, rounds: int) -> None:
        """Race, then judge the home."""
        for number in range(rounds):
            if self._life is None:
                self._begin()
            found = self._round()
            self.failures += [f"home {self._name}, round {number}: {one}" for one in found]
            self.counts["rounds"] += 1
            if len(self.failures) >= FAILURES_MAX:
                break
        if self._life is not None:
            self._hang_up()
            self._life.kill()
        oracle = Oracle(self.home, self.books)
        self.failures += judge(self.home, self.books, self._nursery, oracle=oracle)
        shutil.rmtree(self.home.root, ignore_errors=True)

    def _begin(self) -> None:
        self.counts["lives"] += 1
        self._life = life = self._nursery.start(self.home)
        self._client = Client(life, self.books, self._rng)
        self._client.repeat_unanswered()
        if not self.books.sessions:
            self._client.create()
        self._host = http.client.HTTPConnection("127.0.0.1", life.port, timeout=PATIENCE_S)
        self._guest = http.client.HTTPConnection("127.0.0.1", life.port, timeout=PATIENCE_S)
        for one in (self._host, self._guest):
            one.connect()
        self._headers = {
            "authorization": f"Bearer {life.token}",
            "content-type": "application/json",
        }

    def _hang_up(self) -> None:
        self._client.close()
        self._host.close()
        self._guest.close()

    def _round(self) -> list[str]:
        epoch = self._idle_epoch()
        if epoch is None:
            return ["the daemon never became idle"]
        stop = json.dumps({"ifIdleEpoch": epoch}).encode()
        apart = self._rng.expovariate(1 / APART_S)
        if self._rng.random() < STOP_FIRST:
            self._host.request("POST", "/shutdown", stop, self._headers)
            time.sleep(apart * self._rng.random())
            op = self._arrive()
        else:
            op = self._arrive()
            time.sleep(self._rng.uniform(0.01, 0.06) if self._rng.random() < LATE else apart)
            self._host.request("POST", "/shutdown", stop, self._headers)
        answer = self._host.getresponse()
        answer.read()
        stopping = answer.status == HTTPStatus.ACCEPTED
        self.counts["stops agreed" if stopping else "stops refused"] += 1
        wrong = self._settle(op, stopping=stopping) if op is not None else []
        if stopping and self._life is not None:
            self._hang_up()
            code = self._life.wait()
            wrong += [] if code == 0 else [f"it agreed to stop and ended with {code}"]
            self._life = None
        return wrong

    def _arrive(self) -> Op | None:
        """A message or a new session begins to arrive; None for a letter, which lies there."""
        session = self.books.sessions[-1]
        token = self.books.token()
        kind = self._rng.choices(("message", "session", "letter"), (89, 5, 6))[0]
        self.counts[kind] += 1
        if kind == "letter":
            self._client.drop(session)
            return None
        if kind == "session":
            op = Op("session", token, "POST", "/sessions", {}, token=token)
        else:
            path = f"/sessions/{session}/messages"
            op = Op("message", token, "POST", path, {"content": token}, session, token)
        self.books.ops[token] = op
        try:
            body = json.dumps(op.body).encode()
            self._guest.request(
                op.method, op.path, body, self._headers | {"idempotency-key": token}
            )
        except _DROPPED:
            self.counts["connections refused"] += 1
        return op

    def _settle(self, op: Op, *, stopping: bool) -> list[str]:
        """What became of what arrived."""
        status, body = 0, Json()
        with contextlib.suppress(*_DROPPED):
            answer = self._guest.getresponse()
            status, body = answer.status, json.loads(answer.read() or b"{}")
        taken = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        self.counts["taken" if taken else "turned away"] += 1
        if taken:
            self._note(op, body)
        if taken and stopping:
            return [f"{op.kind} {op.key} was taken by a daemon that had agreed to stop"]
        if not taken and not stopping:
            return [f"{op.kind} {op.key} was turned away ({status}) and so was the host"]
        return []

    def _note(self, op: Op, body: Json) -> None:
        op.answer = body
        if op.kind == "session":
            self.books.sessions.append(body["id"])

    def _idle_epoch(self) -> int | None:
        """`idleEpoch` as soon as the host may take the daemon away."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            self._host.request("GET", "/metrics", headers=self._headers)
            facts = json.loads(self._host.getresponse().read())
            if facts["reclaimable"]:
                return int(facts["idleEpoch"])
            time.sleep(0.002)
        return None


def run(task: Task) -> Outcome:
    """Race, count."""
    left = task.count(60, 10_000)
    counts = Counter[str]()
    outcome = Outcome()
    with Nursery() as nursery:
        while left > 0 and len(outcome.failures) < FAILURES_MAX:
            race = Race(task, nursery, f"r{counts['homes']}")
            race.run(min(left, ROUNDS_PER_HOME))
            left -= ROUNDS_PER_HOME
            counts.update(race.counts)
            counts["homes"] += 1
            outcome.failures += [f"seed {task.seed}, {one}" for one in race.failures]
            task.say(f"{counts['rounds']} rounds, {counts['lives']} lives")
    outcome.figures = dict(counts)
    outcome.numbers = [
        Number(
            "reaper race",
            "10,000 rounds, 0 lost",
            f"{counts['rounds']:,} rounds, {len(outcome.failures)} lost",
            f"{counts['stops agreed']:,} stops agreed and {counts['stops refused']:,} refused; "
            f"{counts['taken']:,} POSTs taken and {counts['turned away']:,} turned away, these "
            f"repeated in the next life; {counts['letter']:,} foreign letters",
        )
    ]
    return outcome


STAGE = Stage(
    name="reaper",
    title="a host that stops an idle daemon while work arrives",
    run=run,
    faults=("J10",),
    order=20,
)
