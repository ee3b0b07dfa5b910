"""Every requirement has a test, every flow test of the team has a requirement."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.flows.requirements import REQUIREMENTS

FLOWS = Path(__file__).parent / "team"


def _claims() -> Iterator[tuple[str, set[str]]]:
    """Each flow test with the requirements it names."""
    for path in sorted(FLOWS.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                continue
            if node.name.startswith("test_"):
                yield (
                    f"{path.name}::{node.name}",
                    {
                        argument.value
                        for mark in node.decorator_list
                        if isinstance(mark, ast.Call)
                        and ast.unparse(mark.func) == "pytest.mark.requirement"
                        for argument in mark.args
                        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                    },
                )


def test_every_flow_test_names_a_requirement_that_exists():
    assert {name: ids for name, ids in _claims() if not ids or not ids <= REQUIREMENTS.keys()} == {}


def test_every_requirement_is_proved_by_a_flow_test():
    assert REQUIREMENTS.keys() - {one for _, ids in _claims() for one in ids} == set()
