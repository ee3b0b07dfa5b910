"""What files and records say of MCP servers, and which tools an agent names."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from brainpilot_rt.supervision import mcp_sources, mcp_toolset
from brainpilot_rt.tools.mcp.config import parse
from brainpilot_rt.workspace.files import Workspace

VARIABLES = {"ANTHROPIC_API_KEY": "key-of-ours", "GITHUB_TOKEN": "ghp-of-the-user", "USER": "ada"}


def entry(**more: Any) -> bytes:
    return json.dumps({"mcpServers": {"a": {"command": "run", **more}}}).encode()


def test_the_file_of_the_template_goes_before_the_older_place(tmp_path: Path):
    assert mcp_sources.read_own(mcp_sources.own_file(tmp_path), {}).servers == ()
    for folder, command in ((".bp", "old"), ("bp_template", "new")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mcp_servers.json").write_bytes(entry(command=command))
        found = mcp_sources.own_file(tmp_path)
        assert mcp_sources.read_own(found, {}).servers[0].command == command


def test_a_work_tree_is_given_no_key_of_ours_and_says_which_variables_it_takes(tmp_path: Path):
    tree = Workspace(tmp_path)
    file = tmp_path / mcp_sources.TREE_FILE
    file.write_bytes(entry(env={"KEY": "${ANTHROPIC_API_KEY}"}))
    refused = mcp_sources.read_tree(tree, VARIABLES)
    assert (refused.servers, "ANTHROPIC_API_KEY is not set" in refused.problems[0]) == ((), True)
    file.write_bytes(entry(env={"T": "${GITHUB_TOKEN}"}, args=["${USER}"]))
    [server] = mcp_sources.read_tree(tree, VARIABLES).servers
    assert (server.trusted, server.uses) == (False, ("GITHUB_TOKEN", "USER"))
    assert server.args == ("ada",)


@pytest.mark.fault("S18")
def test_a_file_of_a_work_tree_that_is_no_file_is_a_problem_and_no_more(tmp_path: Path):
    tree = Workspace(tmp_path)
    file = tmp_path / mcp_sources.TREE_FILE
    os.mkfifo(file)
    assert mcp_sources.TREE_FILE in mcp_sources.read_tree(tree, {}).problems[0]
    file.unlink()
    outside = tmp_path.parent / "outside.json"
    outside.write_bytes(entry())
    file.symlink_to(outside)
    assert mcp_sources.read_tree(tree, {}).servers == ()


def test_what_looks_like_a_key_is_known_as_secret_before_anything_starts():
    body = {"transport": "streamable-http", "url": "https://a.example", "auth": {"type": "bearer"}}
    remote = mcp_sources.of_record("web", body, "token-of-web").servers
    local = parse(
        entry(env={"API_KEY": "key-of-a", "GIT_AUTHOR_NAME": "Ada Lovelace"}),
        source="test",
        variables={},
    ).servers
    secrets = mcp_sources.secrets_of([*remote, *local])
    assert secrets == {
        "Bearer token-of-web": "mcp-web",
        "token-of-web": "mcp-web",
        "key-of-a": "mcp-a",
    }


def toolset(*configs: dict[str, Any], **default: Any) -> dict[str, Any]:
    return {
        "type": "mcp_toolset",
        "mcp_server_name": "git",
        "default_config": default,
        "configs": list(configs),
    }


@pytest.mark.parametrize(
    ("tools", "servers", "named"),
    [
        ([], ["git"], ["mcp__git__*"]),
        ([], [{"type": "url", "name": "git", "url": "https://x"}], ["mcp__git__*"]),
        ([toolset()], ["git"], ["mcp__git__*"]),
        ([toolset({"name": "push", "enabled": False})], [], ["mcp__git__*", "!mcp__git__push"]),
        ([toolset({"name": "log", "enabled": True}, enabled=False)], [], ["mcp__git__log"]),
        ([{"type": "mcp_toolset"}, "read", 7], [], []),
        ([], ["a[b]*"], ["mcp__a[[]b][*]__*"]),
    ],
)
def test_an_agent_names_tools_by_server_or_one_by_one(
    tools: list[object], servers: list[object], named: list[str]
):
    assert mcp_toolset.named(tools, servers) == named


def test_a_set_says_which_of_its_tools_are_asked_about():
    ask = {"permission_policy": {"type": "always_ask"}}
    allow = {"permission_policy": {"type": "always_allow"}}
    assert mcp_toolset.asking([toolset()]) == []
    assert mcp_toolset.asking([toolset({"name": "push", **ask})]) == ["mcp__git__push"]
    assert mcp_toolset.asking([toolset({"name": "log", **allow}, **ask)]) == [
        "mcp__git__*",
        "!mcp__git__log",
    ]
