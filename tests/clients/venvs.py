"""Published clients in environments of their own: two versions of one package can not share one.

An environment is made once per requirement, beside these tests, and found again by the next run. A
test that can not have one is skipped and says why.
"""

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from brainpilot_rt.testing.daemon import RunningDaemon

HERE = Path(__file__).parent
VENVS = HERE / ".venvs"
INSTALL_S = 240.0
DRIVE_S = 90.0


async def python_with(requirement: str) -> Path:
    """The interpreter of an environment that has this package."""
    digest = hashlib.sha256(f"{requirement} {sys.version}".encode()).hexdigest()[:8]
    folder = VENVS / f"{requirement.replace('==', '-')}-{digest}"
    python = folder / "bin" / "python"
    VENVS.mkdir(exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    await asyncio.to_thread(lock.acquire)
    try:
        if not (folder / ".installed").exists():
            await _run(sys.executable, "-m", "venv", "--clear", str(folder))
            await _run(str(python), "-m", "pip", "install", "--quiet", requirement)
            (folder / ".installed").touch()
    finally:
        lock.release()
    return python


async def drive(requirement: str, script: str, daemon: RunningDaemon, *arguments: str) -> str:
    """Run a script of this folder against a daemon; what it printed. Fails if it does."""
    python = await python_with(requirement)
    process = await asyncio.create_subprocess_exec(
        str(python), str(HERE / script), daemon.url, daemon.token, *arguments,
        env={"PATH": os.defpath, "HOME": str(VENVS)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(DRIVE_S):
            async for line in process.stdout:
                said += line.decode(errors="replace")
            await process.wait()
    except TimeoutError:
        said += f"it was not done after {DRIVE_S:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{said[-6000:]}\n--- daemon ---\n{daemon.said()[-3000:]}"
    return said


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(INSTALL_S):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.skip(f"{' '.join(command[1:])} took longer than {INSTALL_S:.0f} s")
    if process.returncode != 0:
        pytest.skip(f"{' '.join(command[1:])} failed: {out.decode(errors='replace')[-300:]}")
