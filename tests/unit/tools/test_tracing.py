"""The graph tools: files of nodes, and nodes that are there already."""

from functools import partial

import pytest

from brainpilot_rt.domain.errors import BadRequest, NotFound
from brainpilot_rt.testing.desk import Desk, Use
from brainpilot_rt.tools.registry import Registry
from brainpilot_rt.tools.tracing import graph_tools


@pytest.fixture
def use(desk: Desk) -> Use:
    return partial(desk.use, Registry(graph_tools()))


def files(desk: Desk, node: str) -> list[tuple[str, str | None]]:
    return [(one.path, one.type) for one in desk.nodes[node].artifacts]


async def test_files_of_a_node_are_kept_under_their_logical_paths_and_added_to(
    use: Use, desk: Desk
):
    given = [{"path": "/workspace/out/a.csv", "type": "data"}, {"path": "b.md"}]
    await use("create_trace_node", "c1", title="One", artifacts=given)
    assert files(desk, "node_c1") == [("out/a.csv", "data"), ("b.md", None)]
    more = [{"path": "b.md", "type": "report"}, {"path": "c.md"}]
    told = await use("update_trace_node", node_id="node_c1", artifacts=more)
    assert told.content == "Updated artifacts of node_c1."
    assert files(desk, "node_c1") == [("out/a.csv", "data"), ("b.md", "report"), ("c.md", None)]


@pytest.mark.parametrize(
    ("path", "fault"), [("../x", BadRequest), ("a\0b", BadRequest), ("/shared/x", NotFound)]
)
async def test_what_is_no_path_of_the_workspace_is_refused(
    use: Use, desk: Desk, path: str, fault: type[Exception]
):
    with pytest.raises(fault):
        await use("create_trace_node", "c1", title="One", artifacts=[{"path": path}])
    assert desk.nodes == {}


async def test_a_node_that_is_there_already_is_named_and_not_made_again(use: Use, desk: Desk):
    await use("create_trace_node", "c1", title="One", type="finding")
    told = await use("create_trace_node", "c2", title="one", type="finding")
    assert told.content == "That is node node_c1 already; update_trace_node changes it."
    await use("create_trace_node", "c3", title="One", type="finding", parent_id="node_c1")
    assert list(desk.nodes) == ["node_c1", "node_c3"]
