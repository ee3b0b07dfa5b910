"""What a stage of the proof is: a harness with a seed, figures, and a list of broken promises.

A stage never asserts: it goes on after a failure, and says each one with what is needed to see it
again. No failure means that everything it tried held.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from proof import stages

Tier: TypeAlias = Literal["quick", "nightly"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a stage is asked to do."""

    folder: Path
    """A fresh folder of its own, short enough for a socket path."""
    seed: int
    tier: Tier
    say: Callable[[str], None]
    """One line of progress, at least every few seconds."""
    scale: float = 1.0
    """Multiplies the counts of the tier; what was really done is in the figures."""

    def count(self, quick: int, nightly: int) -> int:
        """How many of something to do in this tier."""
        return max(1, round((quick if self.tier == "quick" else nightly) * self.scale))


@dataclass(frozen=True, slots=True)
class Number:
    """A line of the report's first table."""

    what: str
    target: str
    measured: str
    beside: str = ""
    """What has to be read with it: bounds, conditions, what it does not say."""


@dataclass(slots=True)
class Outcome:
    """What a stage saw."""

    failures: list[str] = field(default_factory=list[str])
    """Broken promises, each with the seed or point that shows it again. Empty: everything held."""
    short: list[str] = field(default_factory=list[str])
    """What was not done or missed its target, and why; said in the report, breaks nothing."""
    numbers: list[Number] = field(default_factory=list[Number])
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Plain data for programs."""
    text: str = ""
    """More for the report: Markdown without a heading above level 4."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A harness. `run` is a plain blocking function; it may start processes and event loops."""

    name: str
    title: str
    run: Callable[[Task], Outcome]
    faults: tuple[str, ...] = ()
    """Rows of the catalogue that it shows."""
    aside: bool = False
    """Long but light: a nightly run starts it first and lets the others run beside it."""
    quick: bool = True
    """Part of the quick tier and of every test run."""
    order: int = 50


def all_stages() -> dict[str, Stage]:
    """Every stage of every module in `proof/stages`, by name, in their order."""
    found = [
        stage
        for module in pkgutil.iter_modules(stages.__path__)
        for stage in [importlib.import_module(f"proof.stages.{module.name}").STAGE]
    ]
    return {stage.name: stage for stage in sorted(found, key=lambda one: (one.order, one.name))}
