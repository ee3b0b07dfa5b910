"""Which role may use which tool, and which client may ask for what.

The same table of tools decides what is offered and what is refused.

The rows are BrainPilot's (team tools and file tools per role), with two additions: everybody but
the trace agent may `search` the work tree and use the memory of the session. Only the principal
makes and ends agents. Tools of MCP servers are for everybody but the trace agent. A role without a
row is an expert that reads.

A client's token has a scope, and the daemon alone knows which: `read` sees, `write` also changes
files and titles and stops things, `execute` also makes agents act: that is to run code as the user.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from brainpilot_rt.domain.tools import ANY_FOREIGN, FOREIGN

Scope: TypeAlias = Literal["read", "write", "execute"]

SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "execute")
"""Each holds all before it."""

_MEMORY: Final = frozenset({"remember", "recall", "record_finding", "forget"})
_REPORTING: Final = _MEMORY | {
    "send_message",
    "record_trace",
    "skill_search",
    "search",
    ANY_FOREIGN,
}
_READING: Final = frozenset({"read", "grep", "find"})
_ALL_FILES: Final = frozenset({"read", "write", "edit", "bash", "grep", "find", "glob", "ls"})

_BY_ROLE: Final[Mapping[str, frozenset[str]]] = {
    "principal": _REPORTING
    | _ALL_FILES
    | {"create_agent", "destroy_agent", "ask_user", "propose_plan", "revise_plan", "close_step"},
    "engineer": _REPORTING | _ALL_FILES,
    "experimentalist": _REPORTING | _ALL_FILES,
    "writer": (_REPORTING | _ALL_FILES | {"ask_user"}) - {"bash"},
    "librarian": _REPORTING | _READING | {"glob"},
    "auditor": _REPORTING | _READING | {"glob", "bash", "write"},
    "trace": frozenset(
        {
            "create_trace_node",
            "update_trace_node",
            "add_trace_relation",
            "get_trace_graph",
            "read",
        }
    ),
}
_EXPERT: Final = _REPORTING | _READING


def covers(held: Scope, needed: Scope) -> bool:
    """Whether a token with one scope may do what needs another."""
    return SCOPES.index(held) >= SCOPES.index(needed)


def allowed_tools(role: str) -> frozenset[str]:
    """The names of all tools this role may use; `mcp__*` is all that are not ours."""
    return _BY_ROLE.get(role, _EXPERT)


def refusal(role: str, tool: str) -> str | None:
    """Why this role may not use the tool, in words for the model; None when it may."""
    allowed = allowed_tools(role)
    if tool in allowed or (tool.startswith(FOREIGN) and ANY_FOREIGN in allowed):
        return None
    return f"the role {role} may not use {tool}"
