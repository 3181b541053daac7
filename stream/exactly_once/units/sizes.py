"""Memory size of values."""

from collections.abc import Callable, Mapping
from sys import getsizeof
from typing import Any, TypeAlias

SizeOf: TypeAlias = Callable[[Any], int]
"""Returns the bytes that a value and everything it references use in memory; must be deterministic."""

_ATOMS = (str, bytes, int, float)
_CACHE_SLOT_BYTES = 160  # a dictionary entry at average load plus the tuple (partition, key)


def deep_bytes(value: Any) -> int:
    """Return the memory size of a value and everything it references, counting each object once.

    Supports strings, bytes, numbers, containers, and objects with slots or attributes. It visits every object, so a
    table that is written often should provide its own estimate.
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
    """Return the bytes that a cache keyed by (partition, key) uses for a value of size_bytes."""
    return _CACHE_SLOT_BYTES + getsizeof(key[1]) + size_bytes


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    names = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    parts = [getattr(value, name) for name in names if hasattr(value, name)]
    return [*parts, *getattr(value, "__dict__", {}).values()]
