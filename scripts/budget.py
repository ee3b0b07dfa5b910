"""Fail when a unit of the package outgrows its ceiling: one line per finding, exit 1.

Size is the first symptom of a god class, and the only one a machine sees early. A unit over its
ceiling is split, or it is written into `ALLOWED` with a reason, where everyone sees it. Complexity
and arguments are ruff's (C901, PLR0913).

Counted: file = all lines; class = lines without its docstring, methods, and distinct names assigned
on `self`; function = lines without its docstring; package = all lines of all files.

Usage: `python scripts/budget.py [--table] [package directory]`.
"""

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE_LINES = 400
CLASS_LINES = 250
CLASS_METHODS = 20
CLASS_ATTRIBUTES = 12
FUNCTION_LINES = 60
PACKAGE_LINES = 67_000

ALLOWED: Mapping[str, str] = {
    "brainpilot_rt/domain/events.py": "the one tagged union of all events belongs in one file",
    "brainpilot_rt/settings.py": "one documented tree of all settings belongs in one file",
    "brainpilot_rt/server/ports.py::Backend": "all the server may ask, one method a route",
    "brainpilot_rt/testing/fake_backend.py::FakeBackend": "the same for tests of the server",
    "brainpilot_rt/supervision/backend.py::Backend": "answers that port, method by method",
}
"""`path` or `path::name`, relative to the package's parent, -> why this unit may be larger."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
UnitNode = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(unit: UnitNode) -> int:
    """Lines from the `def` or `class` keyword to the end, without the docstring."""
    total = (unit.end_lineno or unit.lineno) - unit.lineno + 1
    if ast.get_docstring(unit, clean=False) is None:
        return total
    docstring = unit.body[0]
    return total - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def attributes_of(unit: ast.ClassDef) -> set[str]:
    """Distinct names stored on `self` anywhere inside the class."""
    return {
        node.attr
        for node in ast.walk(unit)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def measures_of(unit: UnitNode) -> Iterator[tuple[str, int, int]]:
    """Yield (what, measured, ceiling) for one class or function."""
    if isinstance(unit, FunctionNode):
        yield "function lines", lines_of(unit), FUNCTION_LINES
        return
    yield "class lines", lines_of(unit), CLASS_LINES
    methods = sum(isinstance(node, FunctionNode) for node in unit.body)
    yield "methods", methods, CLASS_METHODS
    yield "attributes", len(attributes_of(unit)), CLASS_ATTRIBUTES


def units_in(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, UnitNode]]:
    """Every class and function of the tree, nested ones included, with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, UnitNode):
            yield prefix + node.name, node
            yield from units_in(node, f"{prefix}{node.name}.")
        else:
            yield from units_in(node, prefix)


def findings_in(path: str, source: str) -> Iterator[str]:
    """One line of text for each unit of the file that is over its ceiling and not allowed."""
    count = len(source.splitlines())
    if count > FILE_LINES and path not in ALLOWED:
        yield f"{path}: file lines {count} > {FILE_LINES}"
    for name, unit in units_in(ast.parse(source, path)):
        if f"{path}::{name}" in ALLOWED:
            continue
        for what, measured, ceiling in measures_of(unit):
            if measured > ceiling:
                yield f"{path}:{unit.lineno}: {name}: {what} {measured} > {ceiling}"


def print_table(sizes: Mapping[str, int]) -> None:
    """Print lines and files per room, largest first, and the total beside its ceiling."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path, count in sizes.items():
        room = Path(path).parts[1]
        lines[room] += count
        files[room] += 1
    for room, count in lines.most_common():
        print(f"{room:<24} {count:>7} lines {files[room]:>4} files")
    total = sum(lines.values())
    print(f"{'total':<24} {total:>7} lines {len(sizes):>4} files, ceiling {PACKAGE_LINES}")


def main() -> int:
    """Check the package and print what is over; 0 when nothing is."""
    parser = argparse.ArgumentParser(description="Size ceilings of the package.")
    parser.add_argument("--table", action="store_true", help="print lines per room")
    default = Path(__file__).resolve().parent.parent / "brainpilot_rt"
    parser.add_argument("package", nargs="?", type=Path, default=default)
    options = parser.parse_args()
    package: Path = options.package.resolve()
    sources = {
        path.relative_to(package.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }
    sizes = {path: len(source.splitlines()) for path, source in sources.items()}
    if options.table:
        print_table(sizes)
    findings = [line for path, source in sources.items() for line in findings_in(path, source)]
    if sum(sizes.values()) > PACKAGE_LINES:
        findings.append(f"{package.name}: package lines {sum(sizes.values())} > {PACKAGE_LINES}")
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
