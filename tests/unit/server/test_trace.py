"""The routes about reasons: the graph and its versions, causes, pictures."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from brainpilot_rt.domain.events import (
    HostTurnFinished,
    LetterAccepted,
    RunFinished,
    RunStarted,
    TraceNodeSaved,
)
from brainpilot_rt.domain.ids import PRINCIPAL, TRACE, USER, HostRunId, LetterId, MessageId, RunId
from brainpilot_rt.domain.letters import Authority, Letter, LetterKind
from brainpilot_rt.domain.trace import TraceNode
from brainpilot_rt.server.ports import NewSession
from tests.unit.server.world import SESSION, Server, serving

HERE = f"/sessions/{SESSION}/trace"


async def remember(server: Server) -> None:
    """A question and its answer, and a node in two versions."""
    await server.backend.create_session(NewSession(session=SESSION))
    letter = Letter(
        id=LetterId("l1"),
        session=SESSION,
        from_=USER,
        to=PRINCIPAL,
        kind=LetterKind.USER_MESSAGE,
        content="why?",
        root_id=LetterId("l1"),
        created_at="t",
        authority=Authority(origin="user"),
    )
    run, said = RunId("r1"), MessageId("m1")
    own: dict[str, Any] = {"run_id": run, "agent": PRINCIPAL, "letter_ids": (letter.id,)}
    node = TraceNode(id="n1", title="Look", created_at="t", updated_at="t")
    done = node.model_copy(update={"status": "completed"})
    for event in (
        LetterAccepted(letter_id=letter.id, letter=letter),
        RunStarted(**own, root_id=letter.id),
        RunFinished(**own, outcome="completed", turns=1, message_id=said, answer="So."),
        HostTurnFinished(
            host_run_id=HostRunId("h1"),
            outcome="completed",
            agent=PRINCIPAL,
            message_id=said,
            answer="So.",
        ),
        TraceNodeSaved(op="created", node=node, agent=TRACE),
        TraceNodeSaved(op="updated", node=done, agent=TRACE),
    ):
        await server.backend.commit(SESSION, event)


async def test_a_node_is_shown_with_its_versions():
    async with serving() as server:
        await remember(server)
        graph = (await server.client.get(HERE)).json()
        assert [one["status"] for one in graph["nodes"]] == ["completed"]
        answer = await server.client.get(f"{HERE}/nodes/n1")
        shown = answer.json()
        assert shown["node"] == graph["nodes"][0]
        assert shown["version"] == 2
        assert [
            (one["version"], one["op"], one["node"]["status"]) for one in shown["versions"]
        ] == [
            (1, "created", "pending"),
            (2, "updated", "completed"),
        ]
        assert (await server.client.get(f"{HERE}/nodes/n2")).status_code == 404


async def test_the_causes_come_whole_in_pages_or_as_what_led_to_one_thing():
    async with serving() as server:
        await remember(server)
        whole = (await server.client.get(f"{HERE}/causes")).json()
        assert [one["id"] for one in whole["nodes"]] == ["l1", "r1", "h1", "n1"]
        assert whole["edges"][0] == {"from": "l1", "to": "r1", "relation": "started"}
        page = (await server.client.get(f"{HERE}/causes?limit=1&after=1")).json()
        assert ([one["id"] for one in page["nodes"]], page["next"]) == (["r1"], 2)
        for asked in ("/h1", "/m1", "/latest", "?of=latest"):
            why = (await server.client.get(f"{HERE}/causes{asked}")).json()
            assert [one["id"] for one in why["nodes"]] == ["l1", "r1", "h1"]
            assert why["of"] == "h1"


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (".svg", "image/svg+xml"),
        ("/causes?format=svg", "image/svg+xml"),
        ("/causes/latest?format=svg&detail=runs", "image/svg+xml"),
        ("/causes?format=dot", "text/vnd.graphviz"),
        ("/causes?of=latest&format=mermaid&detail=turns", "text/plain"),
    ],
)
async def test_the_graphs_come_as_pictures_that_can_load_nothing(asked: str, kind: str):
    async with serving() as server:
        await remember(server)
        answer = await server.client.get(f"{HERE}{asked}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        if kind == "image/svg+xml":
            assert len(list(ET.fromstring(answer.text).iter())) > 10


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/causes?format=png", 400),
        ("/causes?format=svg&detail=much", 400),
        ("/causes?after=-1", 400),
        ("/causes?limit=x", 400),
        ("/causes/nothing", 404),
        ("/causes?of=no/such/file.md", 404),
    ],
)
async def test_what_can_not_be_answered_is_said(asked: str, status: int):
    async with serving() as server:
        await remember(server)
        assert (await server.client.get(f"{HERE}{asked}")).status_code == status


@pytest.mark.parametrize("what", ["trace", "trace.svg", "trace/nodes/n", "trace/causes"])
async def test_an_unknown_session_has_no_reasons(what: str):
    async with serving() as server:
        assert (await server.client.get(f"/sessions/unknown/{what}")).status_code == 404
