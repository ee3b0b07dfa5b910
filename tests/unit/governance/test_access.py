"""Who may use which tool."""

import pytest

from brainpilot_rt.governance.access import allowed_tools, refusal

ROLES = (
    *("principal", "librarian", "experimentalist", "engineer", "writer", "auditor", "trace"),
    "anything",
)


@pytest.mark.fault("S16")
def test_only_the_principal_makes_and_ends_agents():
    for role in ROLES:
        assert (allowed_tools(role) >= {"create_agent", "destroy_agent"}) == (role == "principal")


def test_everybody_but_the_trace_agent_searches_and_writes_letters():
    for role in ROLES:
        assert (allowed_tools(role) >= {"search", "send_message"}) == (role != "trace")


@pytest.mark.parametrize("role", ["writer", "librarian", "trace", "anything"])
def test_bash_is_for_those_who_work_with_code(role: str):
    assert refusal(role, "bash") == f"the role {role} may not use bash"
    assert refusal("engineer", "bash") is None


def test_the_auditor_reads_and_reports_without_the_graph():
    assert not allowed_tools("auditor") & {"edit", "ask_user", "get_trace_graph"}
    assert allowed_tools("auditor") >= {"bash", "write", "grep"}
