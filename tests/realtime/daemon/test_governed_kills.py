"""Money and approvals of real daemons that die: each reservation ends once, each yes counts once.

The provider is paid: 10 tokens in and 5 out cost 2 cents, whatever it says.
"""

import asyncio
import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from brainpilot_rt.testing.daemon import DaemonHome, RunningDaemon
from tests.realtime.daemon.provider import Ask, Call, Cut, Provider, Refused, Reply, provider
from tests.realtime.daemon.world import Json, get, log_lines, of_type, true, violations

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]

AGENT = "clerk"
TURN_USD = Decimal("0.02")
FILE = "/workspace/.mcp.json"
WRITE = Call("write", {"path": FILE, "content": "{}"})  # a protected file: a person is asked


def paid(folder: Path, told: Provider) -> DaemonHome:
    """A home whose only model is that provider's, with prices."""
    home = DaemonHome(folder)
    template = home.data_dir / "bp_template"
    template.mkdir(parents=True)
    model = {"id": "scripted", "cost": {"input": 1000, "output": 2000}}
    profile = {
        "id": "paid",
        "api": "openai-completions",
        "baseUrl": f"{told.url}/v1",
        "models": [model],
    }
    providers = {"profiles": [profile], "selectedProfileId": "paid"}
    (template / "providers.json").write_text(json.dumps(providers), encoding="utf-8")
    return home


async def bootstrap(daemon: RunningDaemon, **more: object) -> None:
    """The agent, who may write."""
    body = {"agent_id": AGENT, "tools": ["ls", "read", "write"], **more}
    answer = await daemon.http.post("/v1/agent/bootstrap", json=body)
    assert answer.status_code in (200, 201), answer.text


async def begin(daemon: RunningDaemon, **more: object) -> str:
    """Begin a run and leave; its session."""
    body = {"message": "go", **more}
    async with daemon.http.stream("POST", f"/v1/agents/{AGENT}/run", json=body) as answer:
        assert answer.status_code == 200
        return str(answer.headers["x-session-id"])


async def ended(daemon: RunningDaemon, session: str) -> Json:
    """The last frame of the run's stream."""
    path = f"/v1/agents/{AGENT}/sessions/{session}/events/stream?until=ended"
    text = (await daemon.http.get(path, timeout=30)).text
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    last: Json = json.loads(data[-1])
    assert last["type"] == "session.status_ended"
    return last


async def waiting(daemon: RunningDaemon) -> Json:
    """The one call that waits for a person, when it does."""
    async with asyncio.timeout(20):
        while True:
            found = (await get(daemon, "/approvals"))["approvals"]
            if found:
                (one,) = found
                return one
            await asyncio.sleep(0.02)


async def rows(daemon: RunningDaemon) -> list[Json]:
    """The ledger. What it holds is what every budget says."""
    found: list[Json] = (await get(daemon, "/v1/budget/ledger?limit=1000"))["rows"]
    counted = sum(money(one, "counted_usd") for one in found)
    held = sum(money(one, "reserved_usd") for one in found if one["state"] == "open")
    for status in ("/v1/budget/status", f"/v1/budget/status?agent={AGENT}"):
        for period in ("daily", "monthly"):
            shown = (await get(daemon, status))[period]
            assert money(shown, "spent_usd") == counted
            assert money(shown, "reserved_usd") == held
    return found


def money(one: Json, name: str) -> Decimal:
    """An amount of an answer, exactly as it is written there."""
    return Decimal(str(one[name]))


# --- approvals --------------------------------------------------------------------------------


async def asks_first(ask: Ask) -> Reply:
    """Wants to write the protected file, then repeats what came of it."""
    if ask.turn == 0:
        yield WRITE
    else:
        yield f"It said: {ask.last}"


async def killed_while_asking(home: DaemonHome) -> tuple[str, Json]:
    """A daemon that died with an approval open; the session, and the approval as it was."""
    async with home.running() as daemon:
        await bootstrap(daemon)
        session = await begin(daemon)
        asked = await waiting(daemon)
        await daemon.kill()
    return session, asked


def same(one: Json) -> Json:
    """What of an approval may never change."""
    return {name: one[name] for name in ("id", "callId", "args", "digest", "requestedAt")}


@pytest.mark.fault("J8")
@pytest.mark.parametrize(
    ("words", "read", "times"),
    [
        (("approve",), "Wrote 2 bytes", 1),
        (("deny", "--note", "not in this folder"), "They say: not in this folder", 0),
    ],
)
async def test_what_waits_at_a_kill_waits_as_it_was_and_one_word_decides_it(
    tmp_path: Path, words: tuple[str, ...], read: str, times: int
):
    async with provider(asks_first) as told:
        home = paid(tmp_path, told)
        session, before = await killed_while_asking(home)
        async with home.running() as daemon:
            after = await waiting(daemon)
            assert same(after) == same(before)
            given = await home.command("approvals", words[0], after["id"], *words[1:])
            assert given.code == 0, given.err
            end = await ended(daemon, session)
            assert (end["reason"], end["totalTurns"]) == ("completed", 2)
            assert read in told.asks[-1].last
            lines = await log_lines(daemon, session)
            assert violations(lines) == []
            assert len(of_type(lines, "approval_requested")) == 1
            assert len(of_type(lines, "tool_started")) == times
            file = await daemon.http.get(f"/sessions/{session}/files/content?path={FILE}")
            assert file.status_code == (200 if times else 404)
            charged = [money(one, "counted_usd") for one in await rows(daemon)]
            assert charged == [TURN_USD] * 2  # the turn that asked was not asked again


@pytest.mark.fault("J8")
async def test_an_interrupt_withdraws_what_waited_through_a_kill_and_a_late_yes_is_refused(
    tmp_path: Path,
):
    async with provider(asks_first) as told:
        home = paid(tmp_path, told)
        session, _ = await killed_while_asking(home)
        async with home.running() as daemon:
            asked = await waiting(daemon)
            path = f"/v1/agents/{AGENT}/sessions/{session}/events"
            answer = await daemon.http.post(path, json={"type": "user.interrupt"})
            assert answer.status_code == 200, answer.text
            assert (await ended(daemon, session))["reason"] == "interrupted"
            assert (await get(daemon, "/approvals"))["approvals"] == []
            late = await home.command("approvals", "approve", asked["id"])
            assert (late.code, "withdrawn" in late.err) == (1, True)
            (decided,) = of_type(await log_lines(daemon, session), "approval_decided")
            assert decided["decision"] == "withdrawn"
            file = await daemon.http.get(f"/sessions/{session}/files/content?path={FILE}")
            assert file.status_code == 404
            assert len(told.asks) == 1


@pytest.mark.fault("J8")
@pytest.mark.parametrize("step", ["tool.started.before", "tool.executed.before"])
async def test_a_yes_given_before_a_kill_lets_the_call_run_once_after_it(tmp_path: Path, step: str):
    async with provider(asks_first) as told:
        home = paid(tmp_path, told)
        async with home.running(FAILPOINTS=f"{step}=kill") as daemon:
            await bootstrap(daemon)
            session = await begin(daemon)
            asked = await waiting(daemon)
            with suppress(httpx.TransportError):  # it may die before it has answered
                await daemon.http.post(f"/approvals/{asked['id']}/approve", json={})
            assert await daemon.ended() != 0
        async with home.running() as daemon:
            assert (await ended(daemon, session))["reason"] == "completed"
            lines = await log_lines(daemon, session)
            assert violations(lines) == []
            for kind in ("approval_requested", "approval_decided", "tool_finished"):
                assert len(of_type(lines, kind)) == 1
            assert "Wrote 2 bytes" in told.asks[-1].last
            assert len(told.asks) == 2


# --- money ------------------------------------------------------------------------------------


@pytest.mark.fault("J6")
async def test_a_reservation_open_at_a_kill_is_charged_once_and_the_run_goes_on(tmp_path: Path):
    forever = asyncio.Event()

    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            await forever.wait()
        yield "Done."

    async with provider(script) as told:
        home = paid(tmp_path, told)
        async with home.running() as daemon:
            await bootstrap(daemon, budget_daily_usd=100)
            session = await begin(daemon)
            await told.until_asked(1)
            (before,) = await rows(daemon)
            assert (before["state"], before["counted_usd"]) == ("open", 0)
            await daemon.kill()
        async with home.running() as daemon:
            end = await ended(daemon, session)
            crashed, answered = await rows(daemon)
            assert (crashed["state"], crashed["reason"]) == ("charged", "crash")
            assert crashed["reservation_id"] == before["reservation_id"]
            assert money(crashed, "counted_usd") == money(before, "reserved_usd") > 0
            assert crashed["cost_usd"] is None  # nobody knows whether it was paid
            assert money(answered, "counted_usd") == TURN_USD
            assert end["reason"] == "completed"
            spent = money(crashed, "counted_usd") + TURN_USD
            assert (money(end, "totalCostUsd"), end["costUnknown"]) == (spent, True)
            lines = await log_lines(daemon, session)
            assert violations(lines) == []
            assert len(of_type(lines, "spend_settled")) == 2
            await daemon.kill()
        async with home.running() as daemon:
            assert await rows(daemon) == [crashed, answered]
            assert len(told.asks) == 2


@pytest.mark.fault("J6")
async def test_a_charge_of_a_kill_that_uses_the_cap_up_ends_the_run_and_asks_nobody(tmp_path: Path):
    forever = asyncio.Event()

    async def script(_ask: Ask) -> Reply:
        await forever.wait()
        yield "never"

    async with provider(script) as told:
        home = paid(tmp_path, told)
        async with home.running() as daemon:
            await bootstrap(daemon)
            session = await begin(daemon, budget_cap_usd=0.01)
            await told.until_asked(1)
            await daemon.kill()
        async with home.running() as daemon:
            assert (await ended(daemon, session))["reason"] == "budget_exhausted"
            assert [one["state"] for one in await rows(daemon)] == ["charged"]
            assert len(told.asks) == 1


@pytest.mark.fault("J5")
async def test_runs_side_by_side_under_one_cap_are_over_it_by_one_turn_at_most(tmp_path: Path):
    cap = Decimal("0.05")
    go = asyncio.Event()

    async def script(_ask: Ask) -> Reply:
        await go.wait()
        yield "I look."
        yield Call("ls", {"path": "/workspace"})

    async with provider(script) as told, paid(tmp_path, told).running() as daemon:
        await bootstrap(daemon)
        sessions = [await begin(daemon), await begin(daemon)]
        await told.until_asked(2)
        path = f"/v1/budget/agents/{AGENT}"
        assert (await daemon.http.put(path, json={"perDayUsd": float(cap)})).status_code == 200
        go.set()
        reasons = [(await ended(daemon, one))["reason"] for one in sessions]
        assert reasons == ["budget_exhausted"] * 2
        charged = await rows(daemon)
        spent = sum(money(one, "counted_usd") for one in charged)
        assert cap <= spent < cap + TURN_USD
        assert len(charged) == len(told.asks)


async def test_a_cap_of_nothing_and_one_below_it_are_refused_before_anybody_is_asked(
    tmp_path: Path,
):
    async with provider(asks_first) as told, paid(tmp_path, told).running() as daemon:
        await bootstrap(daemon)
        run = f"/v1/agents/{AGENT}/run"
        for cap, status, said in ((0, 402, "nothing may be spent"), (-1, 400, "negative")):
            answer = await daemon.http.post(run, json={"message": "go", "budget_cap_usd": cap})
            assert answer.status_code == status
            assert said in answer.json()["error"]["message"]
        budget = f"/v1/budget/agents/{AGENT}"
        below = await daemon.http.put(budget, json={"perDayUsd": -0.01})
        assert (below.status_code, "perDayUsd" in below.text) == (400, True)
        poor = {"agent_id": "poor", "budget_daily_usd": -1}
        assert (await daemon.http.post("/v1/agent/bootstrap", json=poor)).status_code == 400
        assert (await daemon.http.put(budget, json={"perDayUsd": 0})).status_code == 200
        body = {"message": "go"}
        answer = await daemon.http.post(run, json=body, headers={"accept": "application/json"})
        assert answer.status_code == 402 or answer.json()["reason"] == "budget_exhausted"
        assert (told.asks, await rows(daemon)) == ([], [])


async def test_an_interrupt_in_mid_stream_charges_what_was_heard(tmp_path: Path):
    forever = asyncio.Event()

    async def script(_ask: Ask) -> Reply:
        yield "Half of a sentence that"
        await forever.wait()

    async with provider(script) as told, paid(tmp_path, told).running() as daemon:
        await bootstrap(daemon)
        session = await begin(daemon)
        path = f"/v1/agents/{AGENT}/sessions/{session}/events"
        await told.until_asked(1)
        answer = await daemon.http.post(path, json={"type": "user.interrupt"})
        assert answer.status_code == 200, answer.text
        end = await ended(daemon, session)
        (row,) = await rows(daemon)
        assert (row["state"], row["reason"], row["estimated"]) == ("charged", "cancelled", True)
        assert Decimal(0) < money(row, "counted_usd") <= money(row, "reserved_usd")
        assert end["reason"] == "interrupted"
        assert money(end, "totalCostUsd") == money(row, "counted_usd")


async def test_a_provider_that_refuses_is_not_paid_and_one_that_breaks_off_is(tmp_path: Path):
    async def script(ask: Ask) -> Reply:
        if ask.number == 0:
            yield "I begin"
            raise Cut
        raise Refused("400 Bad Request", '{"error": {"message": "no"}}')

    async with provider(script) as told, paid(tmp_path, told).running() as daemon:
        await bootstrap(daemon)
        session = await begin(daemon)
        end = await ended(daemon, session)
        broken, refused = await rows(daemon)
        assert (broken["state"], refused["state"]) == ("charged", "released")
        assert money(broken, "counted_usd") > 0
        assert refused["counted_usd"] == 0
        assert money(end, "totalCostUsd") == money(broken, "counted_usd")
        await true(lambda: len(told.asks) == 2)
