"""One stream: what comes first, what comes when nothing happens, and how it ends."""

import asyncio
from itertools import pairwise

import httpx
import pytest

from brainpilot_rt.domain.errors import NotFound
from brainpilot_rt.domain.events import AgentCreated, NoticePosted, RunStarted
from brainpilot_rt.domain.ids import PRINCIPAL, LetterId, RunId, SessionId
from brainpilot_rt.testing.bridge import BridgeTransport
from tests.unit.server.world import (
    SESSION,
    Script,
    Seen,
    Server,
    frames_in,
    lasting,
    orderly,
    serving,
    until,
)

STREAM = f"/sse/{SESSION}"


async def busy(server: Server, steps: int = 60) -> Script:
    script = Script(server.backend)
    await script.begin()
    for number in range(steps):
        await script.step(number * 37 % 500)
    return script


def notice(text: str, number: int = 1) -> NoticePosted:
    return NoticePosted(notice_id=f"n{number}", level="info", message=text)


async def test_the_state_comes_first_and_again_when_the_replay_ends():
    async with serving() as server:
        script = await busy(server)
        seen = await server.read(STREAM)
        names = [one.frame.get("name") for one in seen]
        assert names[0] == "session_state"
        assert names[-2:] == ["task_state", "session_state"]
        assert not seen[0].key
        assert not seen[-1].key
        body = (await server.client.get(f"/sessions/{SESSION}/state")).json()
        assert seen[-1].frame["value"] == body
        assert script.backend.loaded[SESSION].seq == body["seq"]


async def test_every_event_of_the_log_has_a_frame():
    async with serving() as server:
        script = await busy(server, 200)
        await script.end()
        seqs = {
            int(one.key.split(".")[1].split("~")[0].split("-")[0])
            for one in lasting(await server.read(STREAM))
        }
        assert seqs == set(range(1, await server.backend.log.head(SESSION) + 1))


async def test_a_change_of_state_is_told_once_per_turn_of_the_loop():
    async with serving() as server:
        await busy(server, 0)
        reader = server.follow(STREAM)
        while True:
            if (await anext(reader)).frame.get("name") == "task_state":
                break
        await anext(reader)
        run = RunStarted(
            run_id=RunId("r"), agent=PRINCIPAL, letter_ids=(), root_id=LetterId("0" * 26)
        )
        made = AgentCreated(agent=PRINCIPAL, role="principal", epoch=1, by=PRINCIPAL)
        await server.backend.commit(SESSION, made, run)
        rest = [one async for one in reader]
        states = [one for one in rest if one.frame.get("name") == "session_state"]
        assert len(states) == 1
        assert states[0].frame["value"]["workState"] == {"active": True}
        assert states[0].frame["_event_id"] == f"state:{SESSION}:3"


async def test_silence_is_broken_by_a_comment_and_by_an_event_a_parser_sees():
    async with serving() as server:
        await busy(server, 1)
        loop = asyncio.get_running_loop()
        beats: list[float] = []
        comments: list[float] = []
        async with server.client.stream("GET", STREAM) as response:
            async for chunk in response.aiter_raw():
                if b"session_heartbeat" in chunk:
                    beats.append(loop.time())
                if b": ping\n\n" in chunk:
                    comments.append(loop.time())
                if loop.time() > 100:
                    break
        head = await server.backend.log.head(SESSION)
        assert head == 2
        assert max(b - a for a, b in pairwise(beats)) <= 10
        assert max(b - a for a, b in pairwise(comments)) <= 15


async def test_nothing_is_left_when_the_last_reader_is_gone():
    async with serving() as server:
        script = await busy(server)
        await script.end()
        await server.read(STREAM)
        hub = server.app.state.streams.hub
        for _ in range(5):
            await asyncio.sleep(0)
        assert (hub.count, hub.ring_count) == (0, 0)


async def test_a_ring_lives_as_long_as_a_text_is_open():
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        hub = server.app.state.streams.hub
        await script.step(0)
        assert hub.ring_count == 1
        await script.end()
        assert hub.ring_count == 0


@pytest.mark.fault("I2")
@pytest.mark.parametrize("cursor", ["x", "-1", "memory.", "memory.-1", "1~", "memory.1~a", "a b"])
async def test_garbage_as_cursor_is_refused(cursor: str):
    async with serving() as server:
        await busy(server, 1)
        answer = await server.client.get(STREAM, params={"after": cursor})
        assert answer.status_code == 400
        assert answer.json()["code"] == "bad_cursor"


@pytest.mark.fault("I2")
@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("another.3", "unknown_epoch"),
        ("memory.999999", "future"),
        ("999999999999999999", "future"),
        ("memory.3~1.1.1.1.1", "unknown_texts"),
    ],
)
async def test_a_cursor_that_means_nothing_here_is_reset_and_everything_replayed(
    cursor: str, reason: str
):
    async with serving() as server:
        script = await busy(server)
        await script.end()
        whole = lasting(await server.read(STREAM))
        seen = await server.read(STREAM, cursor)
        assert [one.frame.get("name") for one in seen[:2]] == ["session_state", "stream_reset"]
        assert seen[1].frame["value"]["reason"] == reason
        assert lasting(seen) == whole


async def test_a_bare_number_goes_on_after_that_event_and_the_header_wins():
    async with serving() as server:
        script = await busy(server)
        await script.end()
        whole = lasting(await server.read(STREAM))
        at = next(i for i, one in enumerate(whole) if one.key == "memory.9")
        assert lasting(await server.read(f"{STREAM}?after=9")) == whole[at + 1 :]
        assert lasting(await server.read(f"{STREAM}?after=2", "memory.9")) == whole[at + 1 :]


async def test_a_bare_number_in_the_middle_of_a_text_gives_the_whole_text():
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        await script.step(0)
        for _ in range(3):
            await script.step(0)
        said = [one.frame["delta"] for one in lasting(await server.read(f"{STREAM}?after=2"))]
        assert len(said) == 3


async def test_an_unknown_session_has_no_stream():
    async with serving() as server:
        assert (await server.client.get("/sse/unknown")).status_code == 404
        assert (await server.client.get("/sse/..%2f..")).status_code == 400


async def test_a_head_request_is_answered_without_a_stream():
    async with serving() as server:
        await busy(server, 1)
        answer = await server.client.head(STREAM)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert server.app.state.streams.count == 0


@pytest.mark.fault("I1", "S26")
async def test_streams_are_counted_and_one_too_many_is_refused():
    async with serving(streams_max=1) as server:
        await busy(server, 1)
        async with server.client.stream("GET", STREAM):
            answer = await server.client.get(STREAM)
            assert answer.status_code == 429
            assert "retry-after" in answer.headers


async def test_closing_ends_every_stream_and_admits_no_other():
    async with serving() as server:
        await busy(server, 5)
        async with server.client.stream("GET", STREAM) as response:
            chunks = response.aiter_raw()
            await anext(chunks)
            server.app.state.streams.close()
            async for _ in chunks:
                pass
        assert (await server.client.get(STREAM)).status_code == 503


async def test_a_deleted_session_ends_its_streams():
    async with serving() as server:
        await busy(server, 5)
        reader = server.follow(STREAM)
        await anext(reader)
        assert await server.backend.delete_session(SESSION)
        rest = [one async for one in reader]
        assert asyncio.get_running_loop().time() < 5, "it ended by itself, not by a heartbeat"
        assert all(one.frame.get("name") != "session_heartbeat" for one in rest)


async def test_an_evicted_session_is_followed_on_and_comes_back():
    async with serving() as server:
        await busy(server, 5)
        got: list[Seen] = []

        async with asyncio.TaskGroup() as group:
            group.create_task(server.read_into(got, STREAM))
            await until(lambda: got)
            await server.backend.evict_session(SESSION)
            with pytest.raises(NotFound):
                server.backend.snapshot(SESSION)
            await server.backend.view(SESSION)
            await server.backend.commit(SESSION, notice("back"))
        names = [one.frame.get("name") or one.frame["type"] for one in lasting(got)]
        assert names[-2:] == ["session_evicted", "system_message"]


@pytest.mark.fault("I1", "S26")
@pytest.mark.parametrize("reads", [1, 2, 3, 4])
async def test_a_reader_that_stops_reading_is_disconnected_and_resumes_from_the_log(reads: int):
    async with serving(lag_bytes_max=8192) as server:
        await busy(server, 30)
        hub = server.app.state.streams.hub
        got: list[Seen] = []
        async with server.client.stream("GET", STREAM) as response:
            frames = frames_in(response)
            while len(got) < reads:
                got.append(await anext(frames))
            for number in range(400):
                await server.backend.commit(SESSION, notice("x" * 100, number))
            await until(lambda: not hub.count)
            got += [one async for one in frames]
        assert hub.lagged == 1
        got = lasting(got)
        again = lasting(await server.read(STREAM, got[-1].key if got else ""))
        whole = lasting(await server.read(STREAM))
        assert again, "it was cut before the end"
        assert orderly(got + again) == orderly(whole)


async def test_a_parked_connection_is_aborted_where_the_server_lends_the_means():
    async with serving(lag_bytes_max=8192) as server:
        await busy(server, 0)
        aborted: list[str] = []
        transport = BridgeTransport(server.app, state={"abort": lambda: aborted.append("yes")})
        async with (
            httpx.AsyncClient(transport=transport, base_url=server.client.base_url) as client,
            client.stream("GET", STREAM, headers=server.client.headers) as response,
        ):
            await anext(response.aiter_raw())
            for number in range(400):
                await server.backend.commit(SESSION, notice("x" * 100, number))
            await until(lambda: aborted)  # the client is still there: nobody waits for it
        assert server.app.state.streams.count == 0


async def test_a_slow_reader_does_not_disturb_another():
    async with serving(lag_bytes_max=8192) as server:
        await busy(server, 0)
        async with server.client.stream("GET", STREAM) as stuck:
            await anext(stuck.aiter_raw())
            got: list[Seen] = []

            async with asyncio.TaskGroup() as group:
                group.create_task(server.read_into(got, STREAM))
                for number in range(400):
                    await server.backend.commit(SESSION, notice("y" * 100, number))
            assert (
                len([one for one in lasting(got) if one.frame["type"] == "system_message"]) == 400
            )
            assert server.app.state.streams.hub.lagged == 1


async def test_headers_say_that_nothing_may_be_kept_or_held_back():
    async with serving() as server:
        await busy(server, 1)
        async with server.client.stream("GET", STREAM) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert "no-store" in response.headers["cache-control"]
            assert response.headers["x-accel-buffering"] == "no"


@pytest.mark.fault("I3")
async def test_all_sessions_are_followed_on_one_stream_and_any_cut_is_resumed():
    async with serving() as server:
        live: list[Seen] = []

        async with asyncio.TaskGroup() as group:
            group.create_task(server.read_into(live, "/events"))
            for number, name in enumerate(("one", "two")):
                script = Script(server.backend, SessionId(name), made=1000 * number)
                await script.begin()
                for step in range(30):
                    await script.step(step * 37 % 500)
                await script.end()
        assert live[0].frame["name"] == "daemon_state"
        whole = lasting(live)
        assert {one.frame["session_id"] for one in whole} == {"one", "two"}
        orderly(whole)
        for at, one in enumerate(whole):
            assert lasting(await server.read("/events", one.key)) == whole[at + 1 :]
        assert lasting(await server.read("/events")) == whole
        await server.backend.delete_session(SessionId("one"))
        left = lasting(await server.read("/events"))
        assert [one.frame["name"] for one in left if one.frame.get("session_id") == "_daemon"] == [
            "session_deleted"
        ]
        assert (await server.read("/events", "other.g4"))[1].frame["name"] == "stream_reset"
        assert (await server.client.get("/events?after=memory.4")).status_code == 400
