"""Which test or stage shows which row of the catalogue: read from the marks in the tests."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from proof.stage import Stage

ROOT = Path(__file__).resolve().parent.parent


def shown_by_tests(tests: Path = ROOT / "tests") -> Mapping[str, list[str]]:
    """Row -> `path::name` of each test marked with it; a mark of a module marks all in it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(tests.rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, rows in _marked(tree):
            for row in rows:
                found[row].append(f"{path.relative_to(ROOT)}{name}")
    return found


def shown_by_stages(stages: Mapping[str, Stage]) -> Mapping[str, list[str]]:
    """Row -> the stages that name it."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for stage in stages.values():
        for row in stage.faults:
            found[row].append(f"stage {stage.name}")
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == "pytestmark" for one in targets):
                yield "", _rows(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                yield f"::{node.name}", _rows(decorator)


def _rows(expression: ast.expr) -> list[str]:
    """The arguments of every `pytest.mark.fault(...)` in an expression."""
    return [
        argument.value
        for node in ast.walk(expression)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "fault"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]
