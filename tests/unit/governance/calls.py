"""Calls and inspections for the tests of this room."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from brainpilot_rt.domain.tools import Effect
from brainpilot_rt.governance.firewall import Inspection, inspect
from brainpilot_rt.governance.inspections.requests import FirewallConfig, ToolRequest
from brainpilot_rt.governance.policy import ToolPolicy

FETCH, SEND = "mcp__web__fetch", "mcp__mail__send"
SECRET = "tok_a1a1a1a1a1a1"
DEFAULTS = FirewallConfig()


def ours(tool: str, effect: Effect = Effect.IDEMPOTENT, **arguments: Any) -> ToolRequest:
    return ToolRequest(
        tool=tool,
        arguments=arguments,
        raw_arguments=json.dumps(arguments),
        role="engineer",
        agent="engineer",
        allowed=frozenset({"read", "write", "bash", "create_agent", "send_message", FETCH, SEND}),
        effect=effect,
    )


def foreign(tool: str, *, read_only: bool | None = None, **arguments: Any) -> ToolRequest:
    call = ours(tool, Effect.IRREVERSIBLE, **arguments)
    return replace(call, server=tool.split("__")[1], external=True, read_only_hint=read_only)


def inspected(
    request: ToolRequest,
    config: FirewallConfig = DEFAULTS,
    *policies: ToolPolicy,
    schema_problem: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
) -> Inspection:
    return inspect(
        request,
        config,
        policies,
        schema_problem=schema_problem,
        known_secret=lambda text: text.replace(SECRET, "[redacted:token]"),
        injection=lambda text: 0.9 if "ignore previous instructions" in text.lower() else 0.1,
    )
