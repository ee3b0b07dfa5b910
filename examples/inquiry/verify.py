"""Verify every citation of a report against the files, without anything of brainpilot-rt.

    python examples/inquiry/verify.py REPORT.md FOLDER

A citation is written [path:first-last "quote"]. It holds when the quote occurs in exactly these
lines of the file; white space is compared folded, because a quote may run over a line break.
Exit code 0: there is at least one, and all hold.
"""

import re
import sys
from pathlib import Path

CITED = re.compile(r'\[([^\[\]\n":]+):(\d+)(?:-(\d+))?\s+["\u201c]([^"\u201c\u201d]+)["\u201d]\]')


def verdicts(report: str, folder: Path) -> list[tuple[str, bool]]:
    """Each citation of a text, and whether it holds."""
    checked: list[tuple[str, bool]] = []
    for path, first, last, quote in CITED.findall(report):
        file = (folder / path.strip()).resolve()
        inside = file.is_relative_to(folder.resolve()) and file.is_file()
        text = file.read_text(encoding="utf-8", errors="replace") if inside else ""
        lines = text.split("\n")
        span = " ".join(" ".join(lines[int(first) - 1 : int(last or first)]).split())
        checked.append((f"{path}:{first}-{last or first}", " ".join(quote.split()) in span))
    return checked


def main(report: Path, folder: Path) -> int:
    """Print the verdicts; the exit code."""
    checked = verdicts(report.read_text(encoding="utf-8"), folder)
    for place, holds in checked:
        print(f"{'holds' if holds else 'DOES NOT HOLD'}  {place}")
    print(f"{sum(holds for _, holds in checked)} of {len(checked)} citations hold")
    return 0 if checked and all(holds for _, holds in checked) else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
