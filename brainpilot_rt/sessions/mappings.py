"""Copies of small mappings: a state is never changed, a changed copy takes its place."""

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def having(mapping: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    """The mapping with one entry set; a new key goes last."""
    return {**mapping, key: value}


def without(mapping: Mapping[K, V], *keys: K) -> dict[K, V]:
    """The mapping without some keys; unknown ones do not matter."""
    return {key: value for key, value in mapping.items() if key not in keys}


def newest(mapping: Mapping[K, V], count: int) -> dict[K, V]:
    """The last `count` entries."""
    surplus = len(mapping) - count
    return dict(list(mapping.items())[surplus:]) if surplus > 0 else dict(mapping)
