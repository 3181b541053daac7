"""How much memory a value takes. Pure."""

from collections.abc import Callable, Mapping
from sys import getsizeof
from typing import Any, TypeAlias

SizeOf: TypeAlias = Callable[[Any], int]
"""Returns the bytes that a value takes in memory with all that it refers to; the same for the same value."""

_ATOMS = (str, bytes, int, float)
_CACHE_SLOT_BYTES = 160  # a dictionary's entry at its average load, and the tuple (partition, key)


def deep_bytes(value: Any) -> int:
    """Return the bytes of a value and of what it refers to, each object once.

    Knows text, numbers, containers and objects with slots or attributes. It walks over everything: a table that is
    written often brings an estimate of its own.
    """
    seen: set[int] = set()
    total = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if one is None or isinstance(one, bool | type) or id(one) in seen:
            continue
        seen.add(id(one))
        total += getsizeof(one)
        if not isinstance(one, _ATOMS):
            waiting += _parts(one)
    return total


def cached_bytes(key: tuple[int, Any], size_bytes: int) -> int:
    """Return what a cache of values by (partition, key) spends on one of size_bytes."""
    return _CACHE_SLOT_BYTES + getsizeof(key[1]) + size_bytes


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    names = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    parts = [getattr(value, name) for name in names if hasattr(value, name)]
    return [*parts, *getattr(value, "__dict__", {}).values()]
