"""Copies of small values and mappings: a state is never changed, a changed copy takes its place."""

from collections.abc import Mapping
from itertools import islice
from typing import TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


def having(mapping: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    """The mapping with one entry set; a new key goes last."""
    return {**mapping, key: value}


def having_last(mapping: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    """The mapping with one entry set, which goes last also when it was there: the latest used."""
    return having(without(mapping, key) if key in mapping else mapping, key, value)


def without(mapping: Mapping[K, V], *keys: K) -> dict[K, V]:
    """The mapping without some keys; unknown ones do not matter."""
    return {key: value for key, value in mapping.items() if key not in keys}


def newest(mapping: dict[K, V], count: int) -> dict[K, V]:
    """The last `count` entries of a mapping that only the caller has: the others are taken out."""
    for key in list(islice(mapping, max(0, len(mapping) - count))):
        del mapping[key]
    return mapping


def changed(value: T, **changes: object) -> T:
    """A copy of a slotted dataclass with some fields changed; `TypeError` for an unknown field.

    What `dataclasses.replace` does, at a third of its cost: the fold of every event makes such
    copies, and the classes have no `__post_init__` that would have to run.
    """
    kind = type(value)
    copy = object.__new__(kind)
    names = cast("tuple[str, ...]", getattr(kind, "__slots__"))  # noqa: B009 - made by dataclass(slots=True)
    for name in names:
        _SET(copy, name, changes.pop(name) if name in changes else getattr(value, name))
    if changes:
        raise TypeError(f"{kind.__name__} has no field {', '.join(changes)}")
    return copy


_SET = object.__setattr__
