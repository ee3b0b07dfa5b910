"""The sandbox of the shell tool: bubblewrap, with nothing in it that was not put there.

The root is empty. Added are the system's own folders (read-only), fresh `/proc`, `/dev` and `/tmp`,
and the logical roots under the very names the file tools use, so that a path means the same in a
shell and in a tool (lesson 48). No network, no other processes, no inherited environment, no
capability, no home folder; what is `hidden` from the workspace is covered wherever it would show.
The decision is this view of the world, never a reading of the command (reliability.md S20).

No path inside the work tree is ever the source of a mount: a command running beside this one could
swap it for a link. So `.git/hooks` is covered by an empty folder rather than bound read-only; a
command that moves the whole `.git` aside can still make another one.

Whether all this holds here is not believed but tried: `probe` runs a command in the sandbox that
attempts what it must not do.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit import process
from brainpilot_rt.workspace.files import Workspace
from brainpilot_rt.workspace.paths import ATTACHMENTS

_SYSTEM: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix")
_KERNEL: Final = ("sys", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "pressure", "sysrq-trigger")
"""Of `/proc`: what a command of root could set for the whole machine, without any capability."""
_ROOTS_OWN: Final = ("shadow", "shadow-", "gshadow", "gshadow-", "sudoers", "sudoers.d", "ssh")
"""Of `/etc`: what only root may read, and a command of root's daemon could."""
_USERS: Final = (("--unshare-user", "--disable-userns"), ("--unshare-user-try",))
"""A user namespace without further ones inside; where that can not be had, what can."""
_HOME: Final = "/home/agent"
_PROCESSES_MAX: Final = 1024
_FILE_BLOCKS_MAX: Final = 10 * 1024 * 1024  # of 1,024 bytes
_FILES_OPEN_MAX: Final = 4096
_MEMORY_SHARE: Final = 2
"""One process may write to this part of the machine's memory: 1/2."""
_FIRST_TO_DIE: Final = 700
"""Of 1,000, when memory runs out: a command before the daemon that runs it."""
_SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm", _HOME)  # noqa: S108 - the sandbox's own
_SCRATCH_BYTES: Final = 1 << 30
"""Each is memory: at most this, and an eighth of the machine's; an old bubblewrap gives more. Else
only the workspace and `/data` are writable."""
_PROBE_S: Final = 20.0
_ENFORCED: Final = "enforced"
# Each line that succeeds although it must not ends the probe before the last word is said.
_ATTEMPTS: Final = """
touch /workspace/inside || exit 10
touch /usr/escape /etc/escape 2>/dev/null && exit 11
test -e "$CANARY" && exit 12
test -n "$(tail -n +3 /proc/net/dev | grep -v '^ *lo:')" && exit 13
test "$(ls -d /proc/[0-9]* | wc -l)" -gt 20 && exit 14
test -n "$OUTSIDE" && exit 15
ls /root /run/docker.sock >/dev/null 2>&1 && exit 16
echo enforced
"""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A way to run commands that was found to hold."""

    bwrap: Path
    readable: tuple[Path, ...] = ()
    """Folders shown read-only beside the system's own (a toolchain in a home folder)."""
    users: tuple[str, ...] = _USERS[-1]
    """Options of bubblewrap for the user namespace."""

    def argv(
        self, workspace: Workspace, command: str, env: Mapping[str, str], *, has_git: bool = False
    ) -> list[str]:
        """The command line. `has_git`: the work tree holds a real `.git` folder."""
        shown = [*(Path("/", name) for name in _SYSTEM), *self.readable]
        profile = [
            *(*self.users, "--unshare-net", "--unshare-pid", "--unshare-ipc"),
            *("--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--clearenv"),
            *_environment(env),
            *_each("--ro-bind-try", shown),
            *_covered(Path("/etc", name) for name in _ROOTS_OWN),
            *("--proc", "/proc", "--dev", "/dev", "--dir", "/run"),
            *(word for path in _SCRATCH for word in ("--tmpfs", path)),
            *_each("--ro-bind-try", [Path("/proc", name) for name in _KERNEL]),
            *_roots(workspace),
            *_covers(workspace, shown),
            *(("--tmpfs", "/workspace/.git/hooks") if has_git else ()),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/workspace", "--"),
        ]
        if self.users == _USERS[0]:  # as new as the option
            most = str(min(_SCRATCH_BYTES, _memory_bytes() // 8))
            sized = {"--tmpfs": ("--size", most, "--tmpfs")}
            profile = [part for word in profile for part in sized.get(word, (word,))]
        return [str(self.bwrap), *profile, *limited(command, processes=True)]


def limited(command: str, *, processes: bool) -> list[str]:
    """The command line of a command that cannot take the machine with it; in a sandbox or not.

    No limit of time, and none of address space: many runtimes reserve far more than they use.
    `processes`: their number too. It is counted per user, or per sandbox where there is one, so
    outside of one the user's own programs would use it up; and it does not bind root.
    """
    memory_kib = _memory_bytes() // 1024 // _MEMORY_SHARE
    limits = {"c": 0, "f": _FILE_BLOCKS_MAX, "n": _FILES_OPEN_MAX, "d": memory_kib}
    limits |= {"u": _PROCESSES_MAX} if processes else {}
    words = [f"ulimit -{name} {most} 2>/dev/null" for name, most in limits.items()]
    words += [f"echo {_FIRST_TO_DIE} 2>/dev/null >/proc/self/oom_score_adj", 'exec bash -c "$1"']
    return ["bash", "-c", "; ".join(words), "bash", command]


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class NotEnforceable:
    """There is no sandbox here; `reason` for people."""

    reason: str


async def probe(path: str, readable: Sequence[Path] = ()) -> Sandbox | NotEnforceable:
    """Find bubblewrap in a search path and try whether it really confines."""
    found = shutil.which("bwrap", path=path)
    if found is None:
        return NotEnforceable("bubblewrap (bwrap) is not installed")
    tried: Sandbox | NotEnforceable = NotEnforceable("bubblewrap was not tried")
    for users in _USERS:
        tried = await _tried(Sandbox(Path(found), tuple(readable), users), path)
        if isinstance(tried, Sandbox):
            break
    return tried


async def _tried(sandbox: Sandbox, path: str) -> Sandbox | NotEnforceable:
    """The sandbox, if it confines here."""
    with tempfile.TemporaryDirectory(prefix="bp-probe-") as folder:
        canary, workspace = await asyncio.to_thread(_bait, Path(folder))
        env = {"PATH": path, "CANARY": str(canary)}
        command = process.Command(
            argv=sandbox.argv(workspace, _ATTEMPTS, env),
            cwd=workspace.root,
            env={"PATH": path, "OUTSIDE": "seen"},
            marker=("BRAINPILOT_PROBE", folder),
            deadline_s=_PROBE_S,
        )
        limits = process.OutputLimits(head_bytes=4096, tail_bytes=0)
        try:
            finished = await process.run(command, limits)
        except OSError as error:
            return NotEnforceable(f"bubblewrap does not start: {error.strerror}")
        written = await asyncio.to_thread((workspace.root / "inside").exists)
    said = finished.output.head.decode("utf-8", "replace").strip()
    if finished.exit_code == 0 and said == _ENFORCED and written:
        return sandbox
    return NotEnforceable(f"bubblewrap does not confine here ({finished.exit_code}): {said[:200]}")


def _bait(folder: Path) -> tuple[Path, Workspace]:
    canary = folder / "hidden" / "canary"
    canary.parent.mkdir()
    canary.touch()
    workspace = Workspace(folder / "work", hidden=(canary.parent,))
    workspace.create()
    return canary, workspace


def _environment(env: Mapping[str, str]) -> list[str]:
    inside = {**env, "HOME": _HOME, "TMPDIR": "/tmp"}  # noqa: S108 - the sandbox's own
    return [word for name, value in inside.items() for word in ("--setenv", name, value)]


def _each(option: str, paths: Sequence[Path]) -> list[str]:
    return [word for path in paths for word in (option, str(path), str(path))]


def _covered(paths: Iterable[Path]) -> list[str]:
    """Nothing in the place of each that is there."""
    there = [path for path in paths if not path.is_symlink() and path.exists()]
    folders = [word for path in there if path.is_dir() for word in ("--tmpfs", str(path))]
    files = [path for path in there if not path.is_dir()]
    return folders + [word for one in files for word in ("--ro-bind", "/dev/null", str(one))]


def _roots(workspace: Workspace) -> list[str]:
    argv = ["--bind", str(workspace.root), "/workspace"]
    for name, real in workspace.roots.items():
        if name != "workspace":
            option = "--bind-try" if name == "data" else "--ro-bind-try"
            argv += [option, str(real), f"/{name}"]
    return [*argv, "--symlink", f"workspace/{ATTACHMENTS}", "/attachments"]


def _covers(workspace: Workspace, shown: Sequence[Path]) -> list[str]:
    """An empty folder over each hidden one, under every name it would have in the sandbox."""
    views = [(path, path) for path in shown]
    views += [(real, Path("/", name)) for name, real in workspace.roots.items()]
    covers = [
        inside / hidden.relative_to(real)
        for hidden in workspace.hidden
        for real, inside in views
        if hidden.is_relative_to(real)
    ]
    return [word for path in covers for word in ("--tmpfs", str(path))]
