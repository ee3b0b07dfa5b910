"""`python -m proof.fuzzing TARGET [libFuzzer option ...]`: one target under atheris, to its end.

The modules of the product are instrumented as they are imported, so nothing of them is imported
before. libFuzzer ends the process: 0 when its time is up, something else with what it found.
"""

import importlib
import sys


def main() -> None:
    """Fuzz; does not return."""
    import atheris  # noqa: PLC0415 - Linux only, and only here

    name = sys.argv[1]
    with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - made at import
        include=["brainpilot_rt", "proof.targets"]
    ):
        targets = importlib.import_module("proof.targets")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
