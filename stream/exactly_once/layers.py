"""State in layers: one dictionary an open unit, over what is committed. Pure."""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Missing:
    """Marks "not in this layer", which is not the same as a deleted key."""


_MISSING: Final = _Missing()


class Layers(Generic[K, V]):
    """A table as open units see it: the newest layer first, the committed base last.

    Values are immutable: a later unit puts a new value, it never changes one that an earlier layer holds.
    None means "no value"; putting None deletes. Reads are safe from a second thread, since the tuple of layers is
    replaced and never changed.
    """

    def __init__(self, base: Callable[[K], V | None], cached: int) -> None:
        """base: reads what is committed. cached: how many recently committed values stay in memory."""
        self._base = base
        self._cached = cached
        self._cache: dict[K, V | None] = {}
        self._layers: tuple[dict[K, V | None], ...] = ()  # newest first

    def open(self) -> dict[K, V | None]:
        """Start the next unit's layer, above all others, and return it."""
        layer: dict[K, V | None] = {}
        self._layers = (layer, *self._layers)
        return layer

    def get(self, key: K) -> V | None:
        """Return the newest value of a key, or None."""
        for layer in self._layers:
            value = layer.get(key, _MISSING)
            if not isinstance(value, _Missing):
                return value
        value = self._cache.get(key, _MISSING)
        if not isinstance(value, _Missing):
            return value
        return self._base(key)

    def commit_oldest(self) -> None:
        """Drop the oldest layer, whose values the base has now; keep them at hand."""
        oldest = self._layers[-1]
        self._layers = self._layers[:-1]
        cache = self._cache
        for key, value in oldest.items():
            cache.pop(key, None)  # the newest go to the end: the front is what was written longest ago
            cache[key] = value
        while len(cache) > self._cached:
            del cache[next(iter(cache))]

    def drop(self) -> None:
        """Forget every open layer and the cache: the epoch is over and the base may change."""
        self._layers = ()
        self._cache.clear()

    def __len__(self) -> int:
        return len(self._layers)
