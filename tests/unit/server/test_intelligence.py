"""Routes about routing: standings, savings, choices, replay, and the stream of decisions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from brainpilot_rt.domain import events as ev
from brainpilot_rt.domain.governing import Candidate
from brainpilot_rt.domain.ids import AgentName, RunId, SessionId
from brainpilot_rt.domain.model_calls import ModelRef
from brainpilot_rt.models.replay import POLICIES
from tests.unit.server.test_memory import call
from tests.unit.server.world import Server, serving

GOOD = ModelRef(provider="p", model="good")
BAD = ModelRef(provider="q", model="bad")
ONE = SessionId("one")


def chosen(run: str, model: ModelRef = GOOD) -> ev.ModelSelected:
    return ev.ModelSelected(
        run_id=RunId(run),
        agent=AgentName("bot"),
        turn=0,
        model=model,
        phase="ucb1",
        reason="ucb1 exploration",
        task_class="chat",
        candidates=(Candidate(model=GOOD, mean=0.9), Candidate(model=BAD, mean=0.2)),
        propensity=0.5,
    )


def rated(run: str, model: ModelRef = GOOD, **more: Any) -> ev.TurnRated:
    facts: dict[str, Any] = {
        "reward": 0.9 if model == GOOD else 0.2,
        "validity": 1.0,
        "latency_ms": 100,
        "cost_usd": Decimal("0.01"),
        "baseline": GOOD,
        "baseline_cost_usd": Decimal("0.03"),
        "savings_usd": Decimal("0.02"),
    }
    return ev.TurnRated(
        run_id=RunId(run),
        agent=AgentName("bot"),
        turn=0,
        model=model,
        task_class="chat",
        **facts | more,
    )


@asynccontextmanager
async def routed(turns: int = 4) -> AsyncGenerator[Server]:
    """A server whose log has some turns, of which every second had the bad model."""
    async with serving() as server:
        await call(server, "POST", "/sessions", {"id": "one"})
        for number in range(turns):
            model = BAD if number % 2 else GOOD
            run = f"r{number}"
            await server.backend.commit(ONE, chosen(run, model), rated(run, model))
        yield server


async def get(server: Server, path: str) -> Any:
    status, body = await call(server, "GET", path)
    assert status == 200, body
    return body


async def test_the_leaderboard_ranks_by_reward_and_lists_who_was_never_asked():
    async with routed() as server:
        board = await get(server, "/v1/models/leaderboard")
        best, worse, untried = board["rankings"]
        assert (best["model"], best["rank"], best["request_count"]) == ("good", 1, 2)
        assert (best["mean_reward"], best["avg_latency_ms"]) == (pytest.approx(0.9), 100)
        assert (worse["model"], worse["rank"], worse["speed_rank"]) == ("bad", 2, 1)
        assert (untried["provider"], untried["request_count"], untried["rank"]) == (
            "offline",
            0,
            None,
        )
        paged = await get(server, "/v1/models/leaderboard?limit=1&offset=1")
        assert ([one["model"] for one in paged["rankings"]], paged["total"]) == (["bad"], 3)
        of_q = await get(server, "/v1/models/leaderboard?provider=q&sort=speed")
        assert [one["model"] for one in of_q["rankings"]] == ["bad"]


async def test_savings_are_summed_signed_and_by_model():
    async with routed() as server:
        more = rated("r9", cost_usd=Decimal("0.10"), savings_usd=Decimal("-0.07"))
        await server.backend.commit(ONE, more, rated("r10", cost_usd=None, savings_usd=None))
        told = await get(server, "/v1/intelligence/savings?period=day")
    assert (told["turns"], told["unknown"]) == (6, 1)
    assert told["savings_usd"] == pytest.approx(0.01)
    assert told["baseline_usd"] - told["actual_usd"] == pytest.approx(told["savings_usd"])
    by_model = {one["model"]: one["savings_usd"] for one in told["by_model"]}
    assert by_model == {"p:good": pytest.approx(-0.03), "q:bad": pytest.approx(0.04)}


async def test_what_the_router_knows_is_told_class_by_class():
    async with serving() as server:
        rankings = (await get(server, "/v1/intelligence/rankings"))["rankings"]
        assert {one["task_type"] for one in rankings} >= {"chat", "plan", "tool_loop"}
        (advice,) = (await get(server, "/v1/intelligence/advise?task_type=chat"))["recommendations"]
        assert (advice["samples"], advice["confidence"]) == (0, 0.0)
        model = advice["recommendedModel"]
        provider, _, name = model.partition(":")
        ref = ModelRef(provider=provider, model=name)
        await call(server, "POST", "/sessions", {"id": "one"})
        await server.backend.commit(ONE, rated("r1", ref, reward=0.8))
        (advice,) = (await get(server, "/v1/intelligence/advise?task_type=chat"))["recommendations"]
        assert (advice["recommendedModel"], advice["samples"]) == (model, 1)
        (chat,) = (await get(server, "/v1/intelligence/rankings?task_type=chat"))["rankings"]
        assert (chat["models"][0]["samples"], chat["models"][0]["mean_reward"]) == (1, 0.8)


async def test_choices_are_listed_newest_first_with_all_they_were_made_from():
    async with routed() as server:
        told = await get(server, "/v1/routing/choices?limit=2&days=1")
    assert (told["total"], [one["runId"] for one in told["choices"]]) == (4, ["r3", "r2"])
    newest = told["choices"][0]
    assert (newest["model"], newest["phase"], newest["propensity"]) == ("q:bad", "ucb1", 0.5)
    assert [one["model"] for one in newest["candidates"]] == ["p:good", "q:bad"]
    assert (newest["reward"], newest["costUsd"]) == (pytest.approx(0.2), pytest.approx(0.01))


async def test_replay_estimates_one_policy_or_every_one():
    async with routed(20) as server:
        every = await get(server, "/v1/routing/replay")
        assert [one["policy"] for one in every["estimates"]] == list(POLICIES)
        (best,) = (await get(server, "/v1/routing/replay?policy=best-mean&days=1"))["estimates"]
        assert (best["turns"], best["reward"]) == (20, pytest.approx(0.9))
        assert best["loggedReward"] == pytest.approx(0.55)


async def test_what_came_of_a_turn_counts_as_one_more_sample():
    async with routed(1) as server:
        said = {"session_id": "one", "outcome": "failure"}
        path = "/v1/agents/bot/dispatch-outcomes"
        status, told = await call(server, "POST", path, said)
        assert (status, told["model"], told["reward"]) == (200, "p:good", 0.0)
        board = await get(server, "/v1/models/leaderboard?provider=p")
        assert board["rankings"][0]["request_count"] == 2
        status, problem = await call(server, "POST", "/v1/agents/nobody/dispatch-outcomes", said)
        assert (status, problem["error"]["type"]) == (404, "unknown_turn")


async def test_discovery_says_what_there_is():
    async with serving() as server:
        told = await get(server, "/v1/discovery")
        assert (told["health"], told["models"]["runnable"]) == ("ok", told["models"]["available"])
        assert told["budget"] == {"remaining_usd": None, "limit_usd": None, "period": "day"}
        server.backend.not_ready = ["the log"]
        assert (await get(server, "/v1/discovery"))["health"] == "degraded"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/leaderboard?sort=luck", "bad_request"),
        ("/v1/models/leaderboard?limit=-1", "bad_request"),
        ("/v1/intelligence/savings?period=aeon", "bad_request"),
        ("/v1/intelligence/rankings?task_type=nap", "bad_request"),
        ("/v1/routing/choices?days=x", "bad_request"),
        ("/v1/routing/replay?policy=luck", "bad_request"),
        ("/v1/routing-stream?after=x", "bad_cursor"),
    ],
)
async def test_what_is_wrong_is_said(path: str, code: str):
    async with serving() as server:
        status, problem = await call(server, "GET", path)
    assert (status, problem["error"]["type"]) == (400, code)


@pytest.mark.parametrize(
    "body", [{"session_id": "one"}, {"session_id": "one", "score": 2}, {"outcome": "success"}]
)
async def test_an_outcome_that_says_nothing_is_refused(body: Any):
    async with routed(1) as server:
        status, _ = await call(server, "POST", "/v1/agents/bot/dispatch-outcomes", body)
    assert status == 400


@asynccontextmanager
async def following(
    server: Server, last: str | None = None
) -> AsyncGenerator[AsyncGenerator[dict[str, str]]]:
    """The frames of the stream of decisions, after its first comment."""
    headers = {} if last is None else {"last-event-id": last}
    async with (
        server.client.stream("GET", "/v1/routing-stream", headers=headers) as response,
        aclosing(frames(response)) as seen,
    ):
        assert await anext(seen) == {"": "routing decisions"}
        yield seen


async def frames(response: httpx.Response) -> AsyncGenerator[dict[str, str]]:
    rest = b""
    async for chunk in response.aiter_raw():
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            pairs = [line.partition(": ") for line in block.decode().splitlines()]
            yield {name: value for name, _, value in pairs}


async def test_the_stream_tells_decisions_and_outcomes_and_goes_on_after_the_last_id():
    async with routed(1) as server:
        async with following(server, "0") as seen:
            first, second = await anext(seen), await anext(seen)
            assert (first["event"], second["event"]) == ("routing-decision", "routing-outcome")
            assert int(first["id"]) < int(second["id"])
            assert '"selected_model":"p:good"' in first["data"]
            assert '"cost_usd":0.01' in second["data"]
            await server.backend.commit(ONE, chosen("r7", BAD))
            live = await anext(seen)
            assert '"selected_model":"q:bad"' in live["data"]
        await server.backend.commit(ONE, rated("r7", BAD))
        async with following(server, live["id"]) as seen:
            assert (await anext(seen))["event"] == "routing-outcome"


async def test_a_stream_without_a_cursor_begins_now_and_gives_signs_of_life():
    async with routed(1) as server, following(server) as seen:
        assert await anext(seen) == {"": "keepalive"}
        await server.backend.commit(ONE, chosen("r7"))
        assert (await anext(seen))["event"] == "routing-decision"


async def test_a_look_at_the_head_of_the_stream_ends():
    async with serving() as server:
        answer = await server.client.head("/v1/routing-stream")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert server.app.state.streams.count == 0


async def test_a_reader_that_does_not_read_is_hung_up_on():
    async with routed(1) as server, following(server) as seen:
        for number in range(1_500):
            await server.backend.commit(ONE, chosen(f"r{number + 9}"))
        got = [one async for one in seen]
        assert len(got) < 1_500
