"""`import brainpilot_rt`: what it offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import brainpilot_rt

PACKAGE = Path(brainpilot_rt.__file__).parent
NAMES = {
    *("AgentDefinition", "Profile", "Reply", "RequestContext", "Runtime", "Session", "Tool"),
    *("ToolContext", "ToolOutput", "define_agent", "tool"),
}


def stub() -> dict[str, str]:
    """Name -> module, as type checkers are told."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    return {
        str(one.asname): str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    }


def test_the_public_names_are_those_the_type_checker_knows_from_the_same_places():
    assert set(stub()) == NAMES
    for name, module in stub().items():
        __import__(module)
        assert getattr(brainpilot_rt, name) is getattr(sys.modules[module], name)
    assert set(dir(brainpilot_rt)) >= NAMES


def test_a_name_there_is_not_is_told_as_of_any_module():
    with pytest.raises(AttributeError, match="module 'brainpilot_rt' has no attribute 'Runtme'"):
        _ = getattr(brainpilot_rt, "Runtme")  # noqa: B009 - a checker would refuse the plain way


@pytest.mark.timeout(30)
def test_importing_the_package_imports_nothing_else():
    ask = "import sys; old = set(sys.modules); import brainpilot_rt; print(set(sys.modules) - old)"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env={"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "{'brainpilot_rt'}"
