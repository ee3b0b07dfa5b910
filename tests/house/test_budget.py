import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "budget.py"


def findings(tmp_path: Path, source: str) -> list[str]:
    """What the budget says of a package with one module of this source."""
    package = tmp_path / "house"
    package.mkdir()
    (package / "room.py").write_text(source)
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(package)], capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert result.returncode == (1 if lines else 0)
    return lines


def function(lines: int, docstring: str = "") -> str:
    body = ["    pass"] * (lines - 1)
    return "\n".join(["def work():", *([f'    """{docstring}"""'] if docstring else []), *body, ""])


OVER = {
    "house/room.py: file lines 401 > 400": "x = 1\n" * 401,
    "house/room.py:1: work: function lines 61 > 60": function(61),
    "house/room.py:1: Big: class lines 251 > 250": "class Big:\n" + "    x = 1\n" * 250,
    "house/room.py:1: Busy: methods 21 > 20": "class Busy:\n"
    + "".join(f"    def m{n}(self): ...\n" for n in range(21)),
    "house/room.py:1: Fat: attributes 13 > 12": "class Fat:\n    def fill(self):\n"
    + "".join(f"        self.a{n}, y = 1, 2\n" for n in range(13)),
    "house/room.py:2: Outer.work: function lines 61 > 60": "class Outer:\n"
    + "".join(f"    {line}\n" for line in function(61).splitlines()),
}


@pytest.mark.parametrize("finding", OVER)
def test_a_unit_over_its_ceiling_is_one_finding(finding: str, tmp_path: Path):
    assert findings(tmp_path, OVER[finding]) == [finding]


def test_units_at_their_ceilings_pass(tmp_path: Path):
    assert findings(tmp_path, function(60) + "x = 1\n" * 340) == []


def test_a_docstring_does_not_count(tmp_path: Path):
    assert findings(tmp_path, function(60, docstring="One.\n\n    Two.\n    ")) == []


def test_the_table_names_every_room_and_the_total():
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--table"], capture_output=True, text=True, check=False
    )
    rooms = [line.split()[0] for line in result.stdout.splitlines()]
    assert {"domain", "mailbox", "sessions", "total"} <= set(rooms)
