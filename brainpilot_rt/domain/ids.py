"""Ids: what a name may look like, checked once at the edge.

Every id is a `NewType` over `str`, so that a bare string never passes for one. Names of sessions,
agents and letters follow D24 of the architecture; ids the daemon makes itself are lower-case ULIDs,
optionally with a prefix that says what they name (`run_`, `msg_`, `task_`, `req_`).
Model text never becomes a path: a name that does not match is refused, never cleaned.
"""

import re
from typing import Final, NewType

from brainpilot_rt.domain.errors import BadRequest

SessionId = NewType("SessionId", str)
AgentName = NewType("AgentName", str)
LetterId = NewType("LetterId", str)
RunId = NewType("RunId", str)
HostRunId = NewType("HostRunId", str)
TaskId = NewType("TaskId", str)
MessageId = NewType("MessageId", str)
CallId = NewType("CallId", str)
RequestId = NewType("RequestId", str)

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
ULID: Final = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")
UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
CLIENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")

DAEMON_STREAM: Final = SessionId("_daemon")
"""The reserved stream for facts of no session; no session id can equal it."""

USER: Final = AgentName("user")
EXTERNAL: Final = AgentName("external")
DAEMON: Final = AgentName("daemon")
PRINCIPAL: Final = AgentName("principal")
TRACE: Final = AgentName("trace")
SPECIALISTS: Final = tuple(
    AgentName(name) for name in ("librarian", "experimentalist", "engineer", "writer", "auditor")
)
RESERVED: Final = frozenset({USER, EXTERNAL, DAEMON, PRINCIPAL, TRACE})
"""Names no foreign process and no `create_agent` call may take."""


def parse_session_id(text: str) -> SessionId:
    """Return the session id or raise `BadRequest` naming the rule."""
    if NAME.fullmatch(text) or UUID.fullmatch(text):
        return SessionId(text)
    raise BadRequest(f"session id {text[:80]!r} is not a name ({NAME.pattern}) or a UUID")


def parse_agent_name(text: str) -> AgentName:
    """Return the agent name or raise `BadRequest` naming the rule."""
    if NAME.fullmatch(text):
        return AgentName(text)
    raise BadRequest(f"agent name {text[:80]!r} does not match {NAME.pattern}")


def parse_client_id(text: str) -> str:
    """Check an id a client chose for its own message (used in events, never as a path)."""
    if CLIENT_ID.fullmatch(text):
        return text
    raise BadRequest(f"id {text[:80]!r} does not match {CLIENT_ID.pattern}")
