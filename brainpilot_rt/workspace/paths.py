"""Logical paths: the one way files of a session are named, by models, shells, users and routes.

    /workspace/...    the session's work tree; also the meaning of any path without a root
    /attachments/...  what the user attached (`.attachments/` of the work tree)
    /data/...         the library shared by all sessions, where there is one
    /shared/...       read-only material, where it is configured

A path is split into components and refused or taken; nothing is decided on prefixes of strings, and
no `..` is ever resolved: whoever needs the parent names it. Error messages show logical paths, so
that no path of this machine reaches a model or a client.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from typing_extensions import override

from brainpilot_rt.domain.errors import BadRequest

Root: TypeAlias = Literal["workspace", "data", "shared"]

ATTACHMENTS: Final = ".attachments"
PATH_BYTES_MAX: Final = 4096
COMPONENT_BYTES_MAX: Final = 255

_ROOTS: Final[dict[str, tuple[Root, tuple[str, ...]]]] = {
    "workspace": ("workspace", ()),
    "attachments": ("workspace", (ATTACHMENTS,)),
    "data": ("data", ()),
    "shared": ("shared", ()),
}


@dataclass(frozen=True, slots=True)
class LogicalPath:
    """A checked path: its root and its components, none of them empty, `.` or `..`."""

    root: Root
    parts: tuple[str, ...] = ()

    @override
    def __str__(self) -> str:
        return "/" + "/".join((self.root, *self.parts))

    @property
    def short(self) -> str:
        """Without `/workspace/`, as citations write it; `.` is the work tree itself."""
        if self.root != "workspace":
            return str(self)
        return "/".join(self.parts) or "."

    @property
    def name(self) -> str:
        """The last component; the root's name when there is none."""
        return self.parts[-1] if self.parts else self.root

    @property
    def parent(self) -> "LogicalPath":
        """One level up; a root is its own parent."""
        return LogicalPath(self.root, self.parts[:-1])

    def child(self, name: str) -> "LogicalPath":
        """A name found in this directory."""
        return LogicalPath(self.root, (*self.parts, name))


def parse(text: str, *, host_root: tuple[str, ...] = ()) -> LogicalPath:
    """Read a path as a model, a user or a client writes it; BadRequest when it cannot be one.

    `host_root`: components of the work tree's real path; an absolute path that begins with them is
    taken as a path in the work tree, because a shell without a sandbox shows such paths.
    """
    if "\0" in text:
        raise BadRequest("a path cannot hold a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise BadRequest("the path is not valid Unicode text") from None
    if size > PATH_BYTES_MAX:
        raise BadRequest(f"the path is longer than {PATH_BYTES_MAX} bytes")
    slashed = text.replace("\\", "/")
    parts = tuple(part for part in slashed.split("/") if part not in {"", "."})
    if ".." in parts:
        raise BadRequest(f"{_shown(text)}: '..' is not allowed, name the path from /workspace")
    if any(len(part.encode()) > COMPONENT_BYTES_MAX for part in parts):
        raise BadRequest(f"{_shown(text)}: a name is longer than {COMPONENT_BYTES_MAX} bytes")
    if not slashed.startswith("/") or not parts:
        return LogicalPath("workspace", parts)
    if host_root and parts[: len(host_root)] == host_root:
        return LogicalPath("workspace", parts[len(host_root) :])
    if parts[0] in _ROOTS:
        root, prefix = _ROOTS[parts[0]]
        return LogicalPath(root, prefix + parts[1:])
    return LogicalPath("workspace", parts)


def _shown(text: str) -> str:
    return repr(text[:120])
