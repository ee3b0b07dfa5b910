"""The routes about turns."""

from brainpilot_rt.domain.events import ContextAssembled
from brainpilot_rt.domain.ids import PRINCIPAL, RunId
from brainpilot_rt.domain.thinking import ContextSection
from tests.unit.server.test_routes import call
from tests.unit.server.world import SESSION, Script, Server, serving

HERE = f"/sessions/{SESSION}"


async def assembled(server: Server, count: int) -> None:
    await Script(server.backend).begin()
    persona = ContextSection(name="persona", tokens=2, digest="d", text="Be kind.")
    context = ContextAssembled(
        run_id=RunId("run_1"), agent=PRINCIPAL, turn=0, sections=(persona,), tokens=2
    )
    await server.backend.log.append(SESSION, [context] * count)


async def test_turns_are_listed_newest_last():
    async with serving() as server:
        await assembled(server, 3)
        status, found = await call(server, "GET", f"{HERE}/turns?limit=2")
        assert (status, found["total"], [one["n"] for one in found["turns"]]) == (200, 3, [2, 3])
        assert (await call(server, "GET", f"{HERE}/turns?limit=0"))[1]["turns"] == []
        assert (await call(server, "GET", f"{HERE}/turns?limit=-1"))[0] == 400


async def test_a_context_is_shown_by_number_or_as_the_latest():
    async with serving() as server:
        await assembled(server, 2)
        for n in ("2", "latest"):
            status, found = await call(server, "GET", f"{HERE}/turns/{n}/context")
            assert (status, found["n"], found["sections"][0]["text"]) == (200, 2, "Be kind.")
        status, problem = await call(server, "GET", f"{HERE}/turns/3/context")
        assert (status, problem["code"]) == (404, "no_turn")
        assert "2 turns" in problem["detail"]
        for n in ("x", "-1", "1.5", "٣", "9" * 12):
            assert (await call(server, "GET", f"{HERE}/turns/{n}/context"))[0] == 400
        assert (await call(server, "GET", "/sessions/unknown/turns"))[0] == 404
        assert (await call(server, "GET", "/sessions/unknown/turns/1/context"))[0] == 404
