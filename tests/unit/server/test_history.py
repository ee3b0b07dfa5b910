"""The history is what the stream shows, byte for byte, whole or its newest part."""

import pytest

from tests.unit.server.world import SESSION, Script, lasting, serving

HISTORY = f"/sessions/{SESSION}/history"


@pytest.mark.parametrize("steps", [0, 30, 300])
async def test_the_history_has_the_frames_of_the_stream(steps: int):
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        for number in range(steps):
            await script.step(number * 37 % 500)
        await script.end()
        stream = [one.frame for one in lasting(await server.read(f"/sse/{SESSION}"))]
        whole = (await server.client.get(HISTORY, params={"limit": 0})).json()
        assert whole == {"events": stream, "total": len(stream), "truncated": False}
        for limit in (1, 2, 7, len(stream), len(stream) + 1, 5000):
            part = (await server.client.get(HISTORY, params={"limit": limit})).json()
            assert part["events"] == stream[-limit:]
            assert part["total"] == len(stream)
            assert part["truncated"] is (len(stream) > limit)


async def test_the_total_is_right_after_more_has_happened_and_after_a_new_beginning():
    async with serving() as server:
        for _ in range(2):
            script = Script(server.backend)
            await script.begin()
            for number in range(40):
                await script.step(number * 37 % 500)
                whole = (await server.client.get(HISTORY, params={"limit": -1})).json()
                part = (await server.client.get(HISTORY, params={"limit": 1})).json()
                assert part["total"] == whole["total"]
            await server.backend.delete_session(SESSION)
            assert (await server.client.get(HISTORY)).status_code == 404


async def test_an_evicted_session_has_its_history_and_stays_evicted():
    async with serving() as server:
        script = Script(server.backend)
        await script.begin()
        await server.backend.evict_session(SESSION)
        assert (await server.client.get(HISTORY)).json()["total"] == 2
        assert SESSION not in server.backend.loaded


async def test_a_limit_is_a_number():
    async with serving() as server:
        await Script(server.backend).begin()
        assert (await server.client.get(HISTORY, params={"limit": "x"})).status_code == 400
        assert (await server.client.get(HISTORY, params={"limit": "9" * 40})).status_code == 200
