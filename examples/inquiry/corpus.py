"""The corpus of the inquiry: source files of Python's standard library, which every Python has.

    python examples/inquiry/corpus.py FOLDER

Comments and docstrings of the standard library say why things are as they are; that is what the
team is asked about. Tests, generated tables and whatever else nobody reads are left out.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

PACKAGES = (
    "asyncio", "collections", "concurrent", "concurrent/futures", "ctypes", "dbm", "email", "html",
    "http", "importlib", "json", "logging", "multiprocessing", "re", "sqlite3", "tomllib",
    "unittest", "urllib", "wsgiref", "xml/dom", "xml/etree", "xml/sax", "zoneinfo",
)  # fmt: skip
BYTES_MAX = 200_000
FILES_MIN = 200


def gather(folder: Path) -> list[Path]:
    """Copy the files to a folder, in their packages; raises SystemExit when they are too few."""
    library = Path(sysconfig.get_path("stdlib"))
    found = [
        *library.glob("*.py"),
        *(one for name in PACKAGES for one in (library / name).glob("*.py")),
    ]
    copied: list[Path] = []
    for source in sorted(found):
        if not 0 < source.stat().st_size <= BYTES_MAX:
            continue
        target = folder / source.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        copied.append(Path(shutil.copyfile(source, target)))
    if len(copied) < FILES_MIN:
        raise SystemExit(f"this Python has only {len(copied)} source files; {FILES_MIN} are needed")
    return copied


if __name__ == "__main__":
    files = gather(Path(sys.argv[1]))
    print(f"{len(files)} files, {sum(one.stat().st_size for one in files):,} bytes")
