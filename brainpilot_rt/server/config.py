"""What the server is told when it is built."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from brainpilot_rt.aiokit.sources import Clock
from brainpilot_rt.governance.access import Scope
from brainpilot_rt.settings import HttpSettings

_HTTP_PORT: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Built by the daemon once the port is bound."""

    http: HttpSettings
    hosts: frozenset[str]
    """Exact values the Host header may have; their `http://` forms are the allowed origins."""
    token: Callable[[], str]
    """The token as it is now: it may be rotated while the daemon runs."""
    clock: Clock
    clients: Callable[[], Mapping[str, Scope]] = dict
    """SHA-256 (hex) of each further token as it is now -> what it may do."""
    mem_limit_bytes: int | None = None
    redact: Callable[[str], str] = str
    """Takes known secrets out of what an error says."""
    tools_parallel_max: int = 8
    """Calls of one reply of a model that run at the same time."""
    workspaces_allowed: bool = True
    """Whether a session may work in an existing folder of the caller's choice."""


def hosts_of(port: int, more: Iterable[str] = ()) -> frozenset[str]:
    """The names under which a listener on loopback may be addressed, and `more` exact ones."""
    names = ("127.0.0.1", "localhost", "[::1]")
    hosts = {f"{name}:{port}" for name in names} | set(more)
    return frozenset(hosts | set(names) if port == _HTTP_PORT else hosts)
