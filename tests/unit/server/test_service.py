"""The daemon about itself; errors, limits and the schema."""

import json
from typing import Any

import jsonschema
import pytest

from brainpilot_rt.domain import errors
from brainpilot_rt.server.problems import STATUS, status_of
from tests.unit.server.world import SESSION, Script, serving

SIX = {"activeSessions", "runningAgents", "lastActivityAt", "memRss", "memLimitBytes", "memRatio"}
OURS = {"reclaimable", "idleEpoch", "leases", "unreadLetters", "auditViolations", "readOnly"}


async def test_health_names_the_instance_and_ready_says_what_is_missing():
    async with serving() as server:
        health = (await server.client.get("/health")).json()
        assert health == {"status": "ok", "instanceId": "fake-instance"}
        assert (await server.client.get("/healthz")).json() == {"status": "ok"}
        assert (await server.client.get("/readyz")).status_code == 200
        server.backend.not_ready = ["log"]
        answer = await server.client.get("/readyz")
        assert (answer.status_code, answer.json()["missing"]) == (503, ["log"])


async def test_metrics_are_json_unless_prometheus_is_named():
    async with serving() as server:
        await Script(server.backend).begin()
        answer = await server.client.get("/metrics")
        assert set(answer.json()) == SIX | OURS
        assert answer.headers["vary"] == "Accept"
        assert answer.json()["memRss"] > 1_000_000
        text = await server.client.get("/metrics", headers={"accept": "text/plain"})
        assert text.headers["content-type"].startswith("text/plain")
        assert "brainpilot_rt_events_total 1.0" in text.text
        assert str(SESSION) not in text.text


async def test_a_daemon_that_is_not_idle_says_why_it_does_not_stop():
    async with serving() as server:
        await Script(server.backend).begin()
        epoch = (await server.client.get("/metrics")).json()["idleEpoch"]
        await server.client.post(f"/sessions/{SESSION}/messages", json={"content": "x"})
        late = await server.client.post("/shutdown", json={"ifIdleEpoch": epoch})
        assert late.status_code == 409
        assert late.json()["reasons"] == ["the idle epoch has moved"]
        assert not server.backend.stopping
        epoch = (await server.client.get("/metrics")).json()["idleEpoch"]
        server.backend.reasons = ("a run is going on",)
        busy = await server.client.post("/shutdown", json={"ifIdleEpoch": epoch})
        assert (busy.status_code, busy.json()["reasons"]) == (409, ["a run is going on"])
        server.backend.reasons = ()
        done = await server.client.post("/shutdown", json={"ifIdleEpoch": epoch})
        assert (done.status_code, done.json()) == (202, {"status": "stopping"})
        assert server.backend.stopping


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ifIdleEpoch":"1"}', b'{"ifIdleEpoch":1.5}', b"["])
async def test_a_malformed_wish_to_stop_is_refused(body: bytes):
    async with serving() as server:
        assert (await server.client.post("/shutdown", content=body)).status_code == 400
        assert not server.backend.stopping


async def test_the_handshake_echoes_and_refuses_what_it_does_not_know():
    async with serving() as server:
        known = {"capabilities": ["builtin.monitor"]}
        answer = await server.client.put("/runtime/capabilities", json=known)
        assert (answer.status_code, answer.json()) == (200, known)
        answer = await server.client.put("/runtime/capabilities", json={"capabilities": ["x"]})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid capabilities")


HOSTILE_BODIES = [
    (b"{", 400),
    (b"[" * 100_000, 400),
    (b'{"a":' * 100_000, 400),
    (b'{"title": NaN}', 400),
    (b'{"title": Infinity}', 400),
    (b'"\\ud800"', 400),
    (b'{"title": "\\ud800"}', 400),
    (b"\xff\xfe", 400),
    (b"null", 400),
    (b"a=b&c=d", 400),
    (b"[" + b"1," * 300_000 + b"1]", 413),
    (b'{"title":"' + b"x" * 5_000_000 + b'"}', 413),
]


@pytest.mark.parametrize(("body", "status"), HOSTILE_BODIES)
async def test_a_hostile_body_is_a_clear_error(body: bytes, status: int):
    async with serving() as server:
        answer = await server.client.post("/sessions", content=body)
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "detail", "code"}
        assert (await server.client.get("/sessions")).json() == {"sessions": []}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "x"])
async def test_a_body_is_json_whatever_it_says_it_is(kind: str):
    async with serving() as server:
        answer = await server.client.post(
            "/sessions", content=b'{"id":"one"}', headers={"content-type": kind}
        )
        assert answer.status_code == 201


async def test_what_is_not_there_and_what_can_not_be_done_is_said_in_json():
    async with serving() as server:
        nothing = await server.client.get("/nothing")
        assert (nothing.status_code, nothing.json()["code"]) == (404, "no_such_route")
        assert nothing.headers["content-type"] == "application/problem+json"
        assert nothing.json()["title"] == "Not Found"
        below = await server.client.get("/sessions/x/nothing")
        assert (below.status_code, set(below.json())) == (404, {"error", "detail", "code"})
        wrong = await server.client.patch("/sessions")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
        asked = await server.client.get(
            "/sessions/x", headers={"accept": "application/problem+json"}
        )
        assert asked.headers["content-type"] == "application/problem+json"
        assert asked.json()["status"] == 404
        model = await server.client.get("/v1/nothing")
        assert set(model.json()) == {"error"}
        assert model.json()["error"]["type"] == "no_such_route"
        options = await server.client.options("/sessions")
        assert options.status_code == 405


async def test_a_bug_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture):
    async with serving() as server:

        def broken() -> Any:
            raise ValueError("a secret of the inside")

        server.backend.liveness = broken
        answer = await server.client.get("/metrics")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["code"] == "internal_error"
        assert "a secret of the inside" in caplog.text


def test_every_error_of_the_tree_has_a_status():
    def all_of(kind: type[errors.RuntimeFault]) -> set[type[errors.RuntimeFault]]:
        return {kind}.union(*(all_of(below) for below in kind.__subclasses__()))

    for kind in all_of(errors.RuntimeFault):
        assert 400 <= status_of(kind("why")) < 600
    assert status_of(errors.TooLarge("x")) == 413
    assert [kind for kind, _ in STATUS][-1] is errors.RuntimeFault


async def test_the_schema_lists_every_route_and_is_valid():
    async with serving() as server:
        document = (await server.client.get("/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        served = {(row.method.lower(), row.path) for row in server.app.state.rows}
        listed = {
            (method, path) for path, methods in document["paths"].items() for method in methods
        }
        assert listed == served
        assert {getattr(route, "path", "") for route in server.app.routes} == set(document["paths"])
        names = [
            operation["operationId"]
            for methods in document["paths"].values()
            for operation in methods.values()
        ]
        assert len(names) == len(set(names))
        for schema in document["components"]["schemas"].values():
            jsonschema.Draft202012Validator.check_schema(schema)
        text = json.dumps(document)
        for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
            assert reference in document["components"]["schemas"]
