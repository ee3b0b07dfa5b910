"""Attempts to break out of the sandbox, made from inside it: `doctor --sandbox`.

What counts is what happens, not how the profile reads. Each probe is a script that runs as a
command of the bash tool would, in a work tree made for it, with bait around it: a data folder that
lies in the work tree and is hidden from it, a folder outside, listeners, a process to see and to
kill, a key in the keyring. A probe has got out when its script ends with 0, or when the bait has
changed, whatever the script says.

The same probes outside of the sandbox are the control: one that fails there as well shows nothing.
"""

import asyncio
import contextlib
import ctypes
import hashlib
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from brainpilot_rt.aiokit import process
from brainpilot_rt.tools.sandbox import Sandbox
from brainpilot_rt.tools.shell import ShellPolicy
from brainpilot_rt.workspace.files import Workspace

_Connected: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]
Verdict: TypeAlias = Literal["held", "escaped", "not tried"]

_NOT_TRIED: Final = 77
_PROBE_S: Final = 20.0
_ADD_KEY: Final = {"x86_64": 248, "aarch64": 217}
_PYTHON: Final = "command -v python3 >/dev/null || exit 77; python3 -c "

_BY_EXIT: Final[Mapping[str, str]] = {
    "the token": "cat $DATA/token $REAL/token",
    "the log": "head -c 1 $DATA/log.db || head -c 1 $REAL/log.db",
    "the mail": "ls $DATA/mailbox | grep . || ls $REAL/mailbox | grep .",
    "the hidden folder of a work tree": "cat .data/token || cat sub/../.data/token",
    "a file outside": "cat $OUT/secret",
    "a link that leads outside": "cat link || cat linked/secret || cat sub/../linked/secret",
    "a hard link to a file outside": "ln $OUT/secret hard || ln -L link hard && cat hard",
    "the root of another process": "cat /proc/$PID/root$OUT/secret",
    "the folder of another process": "cat /proc/$PID/cwd/secret || cat /proc/*/cwd/secret",
    "the memory of another process": "head -c 1 /proc/$PID/mem || cat /proc/$PID/maps | grep .",
    "the environment of another process": 'grep -aq "BP_BAIT_OF""_DOCTOR" /proc/*/environ',
    "the list of processes": 'grep -aq "bp-victim-o[f]" /proc/[0-9]*/cmdline',
    "its own environment": "env | cut -d= -f1 | grep -Evx "
    "'PATH|LANG|HOME|TMPDIR|PWD|OLDPWD|SHLVL|_|BRAINPILOT_CALL|[a-z ].*'",
    "open descriptors": "ls -l /proc/self/fd | grep -E 'socket:|[.]db|/data'",
    "a port of the daemon": "exec 3<>/dev/tcp/127.0.0.1/$PORT",
    "the network": 'test -n "$(tail -n +2 /proc/net/route)" || echo x >/dev/udp/192.0.2.1/53',
    "names of the network": "grep -v '^ *lo:' /proc/net/dev | tail -n +3 | grep .",
    "a UNIX socket": _PYTHON
    + '"import socket,sys;socket.socket(1).connect(sys.argv[1])" $OUT/sock',
    "an abstract socket": _PYTHON
    + '"import socket,sys;socket.socket(1).connect(chr(0)+sys.argv[1])" $ABSTRACT',
    "docker": "ls /run/docker.sock /var/run/docker.sock /run/containerd /run/podman | grep .",
    "D-Bus": 'test -n "$DBUS_SESSION_BUS_ADDRESS" || ls /run/dbus/* /run/user/*/bus | grep .',
    "the ssh agent": 'test -n "$SSH_AUTH_SOCK" || ls /tmp/ssh-*/agent.* /run/user/*/gnupg | grep .',
    "X11": 'test -n "$DISPLAY$WAYLAND_DISPLAY" || ls -A /tmp/.X11-unix | grep .',
    "the terminal": _PYTHON + "\"import fcntl,os;fcntl.ioctl(os.open('/dev/tty',2),0x5412,b'x')\"",
    "shared memory": "test -e /dev/shm/$ABSTRACT",
    "the kernel keyring": _PYTHON + '"import ctypes,platform,sys;'
    "n={'x86_64':250,'aarch64':219}.get(platform.machine()) or sys.exit(77);"
    "c=ctypes.CDLL(None).syscall;k=sys.argv[1].encode();"
    "sys.exit(all(c(n,10,r,b'user',k,0)<0 for r in (-3,-4,-5)))\" $ABSTRACT",
    "tracing another process": _PYTHON + '"import ctypes,os,sys;p=int(sys.argv[1]);'
    "os.readlink(f'/proc/{p}/cwd')!=sys.argv[2] and sys.exit(1);"
    'sys.exit(ctypes.CDLL(None).ptrace(0x4206,p,0,0)!=0)" $PID $OUT',
    "a namespace of the host": "for one in $NAMESPACES; do"
    ' test "$(readlink /proc/self/ns/${one%%:*})" = "$one" && exit 0; done; exit 1',
    "system files": "test -w /usr || test -w /etc || test -w /bin || test -w /etc/passwd",
    "capabilities": "test \"$(sed -n 's/CapEff:[[:space:]]*//p' /proc/self/status | tr -d 0)\"",
    "set-user-id programs": "! grep -q 'NoNewPrivs:[[:space:]]*1' /proc/self/status",
    "a mount": "mount -t tmpfs none $PWD || mount --bind /proc $PWD",
    "a user namespace of its own": _PYTHON + '"import ctypes,sys;'
    'sys.exit(ctypes.CDLL(None).unshare(0x10000000)!=0)"',
    "the core pattern": ": >>/proc/sys/kernel/core_pattern",
    "settings of the kernel": "for one in $(find /proc -path '/proc/[0-9]*' -prune -o -path"
    " /proc/self -prune -o -path /proc/thread-self -prune -o -type f -perm -200 -print"
    " 2>/dev/null | head -n 400); do (: >>$one) 2>/dev/null && echo $one && exit 0; done; exit 1",
    "what only root may read": "cat /etc/shadow /etc/gshadow /etc/sudoers"
    " /etc/ssh/ssh_host_* | grep .",
    "devices": "ls /dev/sd* /dev/vd* /dev/nvme* /dev/mem /dev/kmsg /dev/kvm /dev/fuse | grep .",
    "control groups": "ls /sys/fs/cgroup | grep .",
    "more than its share": '[ "$(ulimit -u)" = unlimited ] || [ "$(ulimit -n)" = unlimited ] ||'
    ' [ "$(ulimit -f)" = unlimited ] || [ "$(ulimit -c)" != 0 ]',
}
"""What is reached for -> a script that ends with 0 when it got there."""
_INSIDE_ONLY: Final = frozenset({"a mount"})
_BY_BAIT: Final[Mapping[str, str]] = {
    "writing outside": "echo x >>$OUT/secret; echo x >$OUT/made",
    "writing by a link": "echo x >>link; echo x >linked/made",
    "moving a file out": "echo x >mine; mv mine $OUT/mine; cp mine $OUT; mv linked/secret mine",
    "a new link": "ln -s $OUT out2; echo x >out2/made; ln -s .data d; echo x >d/made",
    "settings and token": "echo x >>$DATA/config.toml; echo x >.data/token; rm -rf .data;"
    " mv .data x",
    "the start of a shell": "echo x >>$OUT/.bashrc; echo x >>~/.bashrc; echo x >>$OUT/../.profile",
    "hooks of a repository": "echo x >.git/hooks/pre-commit; ln -sf /workspace/evil .git/hooks/x;"
    " mv .git/hooks .git/h2; rm -rf .git/hooks; mkdir -p .git/hooks; echo x >.git/hooks/post-merge",
    "a datagram to the daemon": "echo x >/dev/udp/127.0.0.1/$UDP",
    "a connection to the daemon": "echo x >/dev/tcp/127.0.0.1/$PORT; echo x >/dev/tcp/$HOST/$PORT",
    "killing another process": "kill -9 $PID; kill -STOP $PID; pkill -9 -f 'bp-victim-o[f]'",
}
"""What is tried -> a script; what became of the bait tells."""


@dataclass(frozen=True, slots=True)
class Probed:
    """One attempt."""

    what: str
    verdict: Verdict
    said: str = ""


@dataclass(slots=True)
class _Bait:
    """What must not be reached, and how to see that it was."""

    folder: Path
    workspace: Workspace
    names: dict[str, str]
    victim: subprocess.Popen[bytes]
    touched: list[str] = field(default_factory=list[str])
    """What reached a listener."""

    def state(self) -> str:
        """Changes when any of it was changed; blocks."""
        digest = hashlib.sha256(f"{self.touched} {self.victim.poll()}".encode())
        work = self.workspace.root
        for top in (self.folder / "out", work / ".data", work / ".git" / "hooks"):
            for path in sorted(top.rglob("*")):
                digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
        return digest.hexdigest()


async def probe_all(policy: ShellPolicy, real: Path, *, inside: bool = True) -> list[Probed]:
    """Try everything. `real`: the data folder of the daemon. `inside` False: without a sandbox.

    Without a sandbox only what ends with an exit code is tried: it changes nothing of the machine.
    """
    found: list[Probed] = []
    async with _bait(real) as bait:
        for what, script in _BY_EXIT.items():
            if inside or what not in _INSIDE_ONLY:
                found.append(await _probe(policy, bait, what, script, inside=inside))
    for what, script in _BY_BAIT.items() if inside else ():
        async with _bait(real) as bait:
            found.append(await _probe(policy, bait, what, script, inside=inside))
    return found


async def _probe(
    policy: ShellPolicy, bait: _Bait, what: str, script: str, *, inside: bool
) -> Probed:
    given = "; ".join(f"{name}={shlex.quote(value)}" for name, value in bait.names.items())
    whole = f"{given}\n{script}"
    if inside:
        assert isinstance(policy.sandbox, Sandbox)
        marker = {"BRAINPILOT_CALL": "doctor"}
        env = {**policy.env, **marker}
        argv = policy.sandbox.argv(bait.workspace, whole, env, has_git=True)
    else:
        argv = ["bash", "-c", whole]
    command = process.Command(
        argv=argv,
        cwd=bait.workspace.root,
        env=policy.env,
        marker=("BRAINPILOT_PROBE", bait.names["ABSTRACT"]),
        deadline_s=_PROBE_S,
    )
    before = await asyncio.to_thread(bait.state)
    limits = process.OutputLimits(head_bytes=2048, tail_bytes=0)
    finished = await process.run(command, limits)
    after = await asyncio.to_thread(bait.state)
    said = " ".join(finished.output.head.decode("utf-8", "replace").split())[:160]
    if finished.exit_code == _NOT_TRIED:
        return Probed(what, "not tried", "python3 is not in the sandbox")
    got_out = before != after or (what in _BY_EXIT and finished.exit_code == 0)
    # What was reached is not shown: it may be the token.
    return Probed(what, "escaped") if got_out else Probed(what, "held", said)


@contextlib.asynccontextmanager
async def _bait(real: Path) -> AsyncGenerator[_Bait]:
    with tempfile.TemporaryDirectory(prefix="bp-probes-") as name, contextlib.ExitStack() as stack:
        bait = await asyncio.to_thread(_laid, Path(name), real, stack)
        connected = _touching(bait.touched)
        servers = [
            await asyncio.start_server(connected, "0.0.0.0", 0),  # noqa: S104 - the point of the bait
            await asyncio.start_unix_server(connected, bait.names["OUT"] + "/sock"),
            await asyncio.start_unix_server(connected, "\0" + bait.names["ABSTRACT"]),
        ]
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stack.callback(datagrams.close)
        datagrams.bind(("127.0.0.1", 0))
        datagrams.settimeout(0)
        asyncio.get_running_loop().add_reader(datagrams, bait.touched.append, "datagram")
        stack.callback(asyncio.get_running_loop().remove_reader, datagrams)
        bait.names["PORT"] = str(servers[0].sockets[0].getsockname()[1])
        bait.names["UDP"] = str(datagrams.getsockname()[1])
        try:
            yield bait
        finally:
            for server in servers:
                server.close()


def _touching(touched: list[str]) -> _Connected:
    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        touched.append("connection")
        writer.close()

    return connected


def _laid(folder: Path, real: Path, stack: contextlib.ExitStack) -> _Bait:
    folder = folder.resolve()
    work, out = folder / "work", folder / "out"
    for one in (work / ".data" / "mailbox" / "s", work / ".git" / "hooks", work / "sub", out):
        one.mkdir(parents=True)
    for name in ("token", "log.db", "config.toml"):
        (work / ".data" / name).write_text("bait\n", encoding="ascii")
    (out / "secret").write_text("bait\n", encoding="ascii")
    (work / "link").symlink_to(out / "secret")
    (work / "linked").symlink_to(out)
    name = f"bp-bait-{secrets.token_hex(8)}"
    shared = Path("/dev/shm", name)  # noqa: S108 - it is looked for there
    with contextlib.suppress(OSError):
        shared.touch()
        stack.callback(shared.unlink, missing_ok=True)
    add_key = _ADD_KEY.get(os.uname().machine) if sys.platform == "linux" else None
    if add_key is not None:
        ctypes.CDLL(None).syscall(add_key, b"user", name.encode(), b"bait", 4, -3)
    victim = subprocess.Popen(
        ["/bin/bash", "-c", "read -r || :; : bp-victim-of-doctor"],
        stdin=subprocess.PIPE,
        cwd=out,
        env={"BP_BAIT_OF_DOCTOR": "1", "PATH": os.defpath},
    )
    stack.callback(_end, victim)
    own = Path("/proc/self/ns")
    spaces = [str((own / one).readlink()) for one in ("net", "pid", "ipc", "uts", "mnt", "user")]
    names = {
        "OUT": str(out),
        "DATA": str(work / ".data"),
        "REAL": str(real),
        "PID": str(victim.pid),
        "ABSTRACT": name,
        "HOST": socket.gethostname(),
        "NAMESPACES": " ".join(spaces),
    }
    workspace = Workspace(work, hidden=(work / ".data", real), owned=False)
    return _Bait(folder, workspace, names, victim)


def _end(victim: subprocess.Popen[bytes]) -> None:
    victim.kill()
    with contextlib.suppress(OSError):
        victim.communicate()
