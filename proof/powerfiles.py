"""The files that rest on no log: the token, uploads, edits. Recorded, crashed, looked at again."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brainpilot_rt.aiokit import files
from brainpilot_rt.supervision.tokens import TOKEN_FILE, TokenFile
from brainpilot_rt.workspace import files as workspace_files
from brainpilot_rt.workspace.files import Workspace, digest
from brainpilot_rt.workspace.staging import take_staged
from proof.powerloss import Disk, Image, Mark, Step, recording

EDITED: Final = "tree/s/notes/plan.md"
UPLOADED: Final = "tree/s/data.csv"
STAGED: Final = "tree/staging/late.csv"
TAKEN: Final = "tree/s/late.csv"
TOKEN: Final = f"data/{TOKEN_FILE}"


@dataclass(frozen=True, slots=True)
class Promised:
    """From here on one of these paths holds this content, or what is written there later."""

    paths: tuple[str, ...]
    content: bytes


def record(root: Path, *, blind: bool = False) -> list[Step]:
    """Use each of these files the way the daemon does."""
    with recording(root, workspace_files, blind=blind) as recorder:
        files.ensure_private_dir(root / "data")
        token = TokenFile(root / "data")
        recorder.mark(Promised((TOKEN,), token.ensure().encode() + b"\n"))
        recorder.mark(Promised((TOKEN,), token.rotate().encode() + b"\n"))
        tree, staging = Workspace(root / "tree/s"), Workspace(root / "tree/staging")
        tree.create()
        before = b""
        for version in range(3):
            content = f"version {version}\n".encode() * (version + 1)
            expected = digest(before) if before else None
            tree.write("/workspace/notes/plan.md", content, expected=expected)
            recorder.mark(Promised((EDITED,), content))
            before = content
        tree.write("/workspace/data.csv", b"a,b\n" * 50, exclusive=True)
        recorder.mark(Promised((UPLOADED,), b"a,b\n" * 50))
        staging.create()
        staging.write("/workspace/late.csv", b"c,d\n" * 50)
        recorder.mark(Promised((STAGED, TAKEN), b"c,d\n" * 50))
        take_staged(staging, tree)
        return list(recorder.steps)


def crashes(
    steps: list[Step], chance: random.Random, draws: int
) -> Iterator[tuple[int, dict[tuple[str, ...], list[bytes]], Image]]:
    """Every crash point, what the paths may hold by then, and disks it may leave."""
    every: dict[tuple[str, ...], list[bytes]] = {}
    for step in steps:
        if isinstance(step, Mark):
            every.setdefault(step.what.paths, []).append(step.what.content)
    kept = dict.fromkeys(every, 0)
    disk = Disk()
    for number, step in enumerate(steps):
        disk.play(step)
        if isinstance(step, Mark):
            kept[step.what.paths] += 1
        allowed = {
            paths: [*([b""] if not kept[paths] else []), *versions[max(0, kept[paths] - 1) :]]
            for paths, versions in every.items()
        }
        for image in disk.images(chance, draws):
            yield number, allowed, image


def judge(allowed: dict[tuple[str, ...], list[bytes]], image: Image) -> list[str]:
    """A promised file is there, whole; one not promised yet may be missing, but is never torn."""
    found: list[str] = []
    for paths, versions in allowed.items():
        there = [image[path] for path in paths if image.get(path) is not None]
        if not there and b"" not in versions:
            found.append(f"lost: {paths[-1]}")
        found += [
            f"torn: {paths[-1]} holds {one!r}" for one in there if one not in versions or not one
        ]
    return found
