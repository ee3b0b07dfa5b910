"""Every example runs in a fresh home without a key or a network, and says what it means."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NO_SHELL = "agents can not run commands: "

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]


def said(name: str, home: Path) -> str:
    """What the example prints; it leaves nothing behind."""
    story = run(EXAMPLES / f"{name}.py", home)
    assert list(home.iterdir()) == []
    return story


def run(program: Path, home: Path) -> str:
    """What a program prints; it must end well and complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "default", str(program)],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    # On a machine without bubblewrap the daemon says, rightly, that agents have no shell.
    complaints = [one for one in done.stderr.splitlines() if not one.startswith(NO_SHELL)]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout


@pytest.mark.parametrize("name", ["ask", "custom_agent", "custom_tool", "follow", "mailbox_member"])
def test_an_example_fits_on_two_screens(name: str):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 80


def test_one_question_is_answered_with_quotes_that_stand_in_the_files(tmp_path: Path):
    answer = said("ask", tmp_path)

    assert "not an LLM" in answer
    assert "[completed]" in answer
    cited = re.findall(r"^verified: (\S+):(\d+)-(\d+) (.+)$", answer, re.MULTILINE)
    assert cited
    for path, first, last, quote in cited:
        lines = (EXAMPLES / "reading-room" / path).read_text(encoding="utf-8").splitlines()
        place = " ".join(" ".join(lines[int(first) - 1 : int(last)]).split())
        assert " ".join(quote.split()) in place


def test_the_result_of_a_function_is_in_the_answer(tmp_path: Path):
    answer = said("custom_tool", tmp_path)

    assert "'port': {'enum': ['Tarn Skerry', 'Hollin Gate']" in answer
    assert 'The tide table says: [{"port":"Tarn Skerry","hour":11,"metres":3.1}' in answer


def test_the_principal_delegates_to_an_agent_of_the_program_which_uses_its_tool(tmp_path: Path):
    story = said("custom_agent", tmp_path).splitlines()

    told = [
        "principal -> storekeeper: How many casks of winter oil are left?",
        "storekeeper uses stock_of: 4 of winter oil, counted for session lighthouse",
        "storekeeper -> principal: There are 4 casks of winter oil.",
        "answer: Four casks of winter oil are left.",
    ]
    assert [line for line in story if line in told] == told
    assert "storekeeper joins the team: knows what is in the store" in story


def test_a_follower_goes_on_exactly_where_its_first_life_ended(tmp_path: Path):
    story = said("follow", tmp_path)

    first, _, second = story.partition("gone after event")
    numbers = re.findall(r"^ +(\d+) ", second, re.MULTILINE)
    cursor = int(re.findall(r"\d+", second)[0])
    assert "principal has given librarian a task" in first
    assert min(int(number) for number in numbers) > cursor
    assert "the answer: " in second
    assert "the answer: " not in first
    assert f"events {cursor + 1} to " in second


def test_a_program_that_only_moves_files_answers_a_task(tmp_path: Path):
    story = said("mailbox_member", tmp_path).splitlines()

    assert story == [
        "a member has joined: it counts the words of a text",
        "counter writes: I count 10 words.",
    ]


def test_the_program_in_the_readme_does_what_it_says(tmp_path: Path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"## Use it from Python.*?```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    program = tmp_path / "program.py"
    program.write_text(found[1].replace("examples/reading-room", str(EXAMPLES / "reading-room")))

    story = run(program, tmp_path)

    assert "Tarn Skerry" in story
    assert story.endswith("host_turn_finished\n")
    assert (tmp_path / "data" / "log.db").exists()
