"""What a call would mean: whom it reaches, what it may change, and on whose word.

A run that holds private data, has read what anybody may have written, and can send, is one
injected sentence away from a leak. So a tainted run asks before it sends by a foreign tool, and
before it makes or ends agents; one's own read-only tools are never in question.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, urlsplit

from brainpilot_rt.governance.inspections.requests import (
    Argument,
    Finding,
    FirewallConfig,
    ToolRequest,
    matches,
    texts,
)

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://\S+")
_SCHEMES: Final = frozenset({"http", "https", "ws", "wss", "ssh", "git", "git+ssh", "ftp", "sftp"})
_LOCAL: Final = ("localhost", "*.localhost", "*.local", "*.internal", "*.lan")
_METADATA: Final = frozenset({"metadata.google.internal", "100.100.100.200", "fd00:ec2::254"})
_HOST_KEYS: Final = ("host", "hostname", "domain")
_QUERY_MAX: Final = 64
_WORD_MAX: Final = 40


def taint_findings(request: ToolRequest, config: FirewallConfig) -> Iterator[Finding]:
    """What a run that read untrusted content may not do by itself."""
    if not request.tainted or request.ours_read_only:
        return
    foreign = request.external and not request.read_only
    if foreign or matches(config.tainted_tools, request.tool):
        does = "changes something outside" if foreign else "changes the team"
        detail = f"{request.tool} {does}, and untrusted content had a part in this run"
        yield Finding(config.on_tainted, "semantic_anomaly", detail)


def path_findings(request: ToolRequest, config: FirewallConfig) -> Iterator[Finding]:
    """Files that govern, start or unlock something."""
    if request.ours_read_only:
        return
    for one in texts(request):
        if one.kind in ("path", "other") and _is_protected(one.text, config.protected_paths):
            yield Finding("ask", "semantic_anomaly", f"{one.place} is a protected file")


def host_findings(request: ToolRequest, config: FirewallConfig) -> Iterator[Finding]:
    """Addresses that a foreign tool would be sent to."""
    if not request.external:
        return
    for one in texts(request):
        for address in _addresses(one):
            yield from _judged(one.place, address, request, config)


def _judged(
    place: str, address: str, request: ToolRequest, config: FirewallConfig
) -> Iterator[Finding]:
    try:
        url = urlsplit(address)
        host = (url.hostname or "").rstrip(".")
    except ValueError:
        yield Finding("ask", "semantic_anomaly", f"{place} is no address")
        return
    if url.scheme and url.scheme not in _SCHEMES:
        yield Finding("ask", "semantic_anomaly", f"{place} is a {url.scheme}: address")
    elif not host or matches(config.allowed_hosts, host):
        return
    elif (reach := _reach(host)) == "metadata":
        detail = f"{place} leads to the credentials of a machine ({host})"
        yield Finding("block", "semantic_anomaly", detail)
    elif reach == "private":
        yield Finding("ask", "semantic_anomaly", f"{place} leads into the private network ({host})")
    elif config.allowed_hosts:
        yield Finding("ask", "semantic_anomaly", f"{place} leads to {host}, which is not listed")
    elif request.tainted and _carries(url, host):
        detail = f"{place} would carry data to {host}, and untrusted content had a part in this run"
        yield Finding(config.on_tainted, "semantic_anomaly", detail)


def _addresses(one: Argument) -> Iterator[str]:
    if one.kind == "text":
        return
    if found := _URL.findall(one.text):
        yield from found
    elif one.kind == "url" or one.place.rpartition(".")[2].lower() in _HOST_KEYS:
        scheme = re.match(r"(javascript|vbscript|data|file):", one.text.strip(), re.IGNORECASE)
        yield one.text.strip() if scheme else f"//{one.text.strip()}"


def _reach(host: str) -> str:
    """`metadata`, `private` or `public`, whatever way the number of a machine is written."""
    name = host.lower()
    if name in _METADATA:
        return "metadata"
    if matches(_LOCAL, name):
        return "private"
    try:
        number = re.fullmatch(r"\d+|0x[0-9a-f]+", name)
        machine = ipaddress.ip_address(int(name, 0) if number else name.partition("%")[0])
    except ValueError:
        return "public"
    if isinstance(machine, ipaddress.IPv6Address) and machine.ipv4_mapped:
        machine = machine.ipv4_mapped
    if machine.is_link_local:
        return "metadata"
    return "public" if machine.is_global else "private"


def _carries(url: SplitResult, host: str) -> bool:
    """Whether there is room for more in the address than the name of a page."""
    if url.username or url.password or len(url.query) > _QUERY_MAX:
        return True
    words = re.split(r"[/.,_+-]", url.path) + host.split(".") + re.split(r"[&=]", url.query)
    return any(len(word) > _WORD_MAX for word in words)


def _is_protected(path: str, patterns: tuple[str, ...]) -> bool:
    parts: list[str] = []
    for part in path.strip().replace("\\", "/").lower().split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", ".", "~"):
            parts.append(part)
    absolute = path.strip().startswith("/") and parts[:1] != ["workspace"]
    # The folder itself is protected by a pattern for all that is in it.
    names = ("/".join(parts), "/".join(parts) + "/")
    for pattern in patterns:
        if pattern.startswith("/"):
            wanted = (pattern[1:].lower(),) if absolute else ()
        else:
            wanted = (pattern.lower(), f"*/{pattern.lower()}")
        if any(matches(wanted, name) for name in names):
            return True
    return False
