"""The mutation guard: every seeded bug must be found by the suite."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proof.mutants import MUTANTS, Mutant, Verdict, judge, planted
from proof.stage import Number, Outcome, Stage, Task

AT_A_TIME = 2


def run(task: Task) -> Outcome:
    """Plant each bug in a copy of the project and let its detectors look."""

    def try_one(mutant: Mutant) -> Verdict:
        with tempfile.TemporaryDirectory(dir=task.folder, prefix="m-") as folder:
            tree = Path(folder)
            planted(mutant, tree)
            verdict = judge(mutant, tree, task.seed)
        task.say(f"{mutant.name}: {verdict.killed_by or 'SURVIVED'} {verdict.because}")
        return verdict

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        verdicts = list(pool.map(try_one, MUTANTS))
    killed = [one for one in verdicts if one.killed_by]
    rows = [
        f"| {one.mutant.name} | `{one.mutant.edits[0].path}` | {one.killed_by or '**survived**'} "
        f"| {one.because.replace('|', '/')} |"
        for one in verdicts
    ]
    head = ["| bug | file | found by | what it said |", "|---|---|---|---|"]
    return Outcome(
        failures=[f"{one.mutant.name} survived" for one in verdicts if one.killed_by is None],
        numbers=[
            Number("mutants killed", "all of 12 or more", f"{len(killed)} of {len(verdicts)}")
        ],
        figures={one.mutant.name: one.killed_by for one in verdicts},
        text="\n".join(head + rows),
    )


STAGE = Stage("mutants", "Seeded bugs are found", run, quick=False, order=90)
