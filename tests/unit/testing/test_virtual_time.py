import asyncio
import threading
import time

import pytest

from brainpilot_rt.testing.virtual_time import VirtualTimeLoop


async def test_an_hour_of_sleep_takes_exactly_an_hour_of_loop_time_and_no_real_time():
    loop = asyncio.get_running_loop()
    real, virtual = time.monotonic(), loop.time()
    await asyncio.sleep(3600)
    assert loop.time() - virtual == pytest.approx(3600)
    assert time.monotonic() - real < 3600


async def test_a_timeout_fires_before_a_longer_sleep():
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.sleep(31)
    assert loop.time() - started == pytest.approx(30)


async def test_timers_fire_in_the_order_of_their_deadlines():
    fired: list[int] = []

    async def fire(after: int) -> None:
        await asyncio.sleep(after)
        fired.append(after)

    async with asyncio.TaskGroup() as tasks:
        for after in (30, 10, 20):
            tasks.create_task(fire(after))
    assert fired == [10, 20, 30]


async def test_a_timeout_around_work_on_a_thread_waits_for_the_work():
    async with asyncio.timeout(60):
        assert await asyncio.to_thread(sum, [1, 2, 3]) == 6


async def test_a_call_from_another_thread_wakes_a_loop_without_timers():
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set))
    thread.start()
    await woken.wait()
    thread.join()


async def test_sockets_work_on_virtual_time():
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"letter")
    assert await reader.read() == b"letter"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_the_default_loop_of_a_test_is_virtual():
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


@pytest.mark.realtime
async def test_the_loop_of_a_realtime_test_is_not_virtual():
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
