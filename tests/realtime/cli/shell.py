"""The command line as a user runs it: real processes, a fresh home, a data directory of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "brainpilot_rt"]


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> Any:
        """The last line of stdout as JSON."""
        return json.loads(self.out.strip().splitlines()[-1])


class Shell:
    """Runs commands with an environment that holds nothing but what is given."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.env = {
            "HOME": str(home),
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "BP_DATA_DIR": str(self.data),
            "BP_OFFLINE": "1",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> Result:
        """Run a command to its end."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=50)
            return Result(process.returncode, out, err)

    def serve(self, *words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """Start a daemon on a free port; it is ready on return."""
        process = self.start("serve", "--port", "0", "--json", "--quiet", *words)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, end(process).err
        return process, json.loads(line)


def end(process: subprocess.Popen[str]) -> Result:
    """Stop a process in the ordinary way."""
    process.terminate()
    out, err = process.communicate(timeout=20)
    return Result(process.returncode, out, err)
