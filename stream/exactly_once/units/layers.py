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

    def __init__(
        self, base: Callable[[K], V | None], max_cached_bytes: int, size_of: Callable[[K, V | None], int]
    ) -> None:
        """Start without layers.

        base: reads what is committed. max_cached_bytes: recently committed values stay in memory up to this.
        size_of: the bytes that a key and its value take there; the same at every call.
        """
        self._base = base
        self.max_cached_bytes = max_cached_bytes
        self._size_of = size_of
        self._cache: dict[K, V | None] = {}
        self._cached_bytes = 0
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
        cache, size_of = self._cache, self._size_of
        size_bytes = self._cached_bytes
        for key, value in oldest.items():
            if key in cache:
                size_bytes -= size_of(key, cache.pop(key))
            cache[key] = value  # at the end: the front is what was written longest ago
            size_bytes += size_of(key, value)
        while size_bytes > self.max_cached_bytes:
            key = next(iter(cache))
            size_bytes -= size_of(key, cache.pop(key))
        self._cached_bytes = size_bytes

    @property
    def cached_bytes(self) -> int:
        """What the committed values in memory take."""
        return self._cached_bytes

    def drop(self) -> None:
        """Forget every open layer and the cache: the epoch is over and the base may change."""
        self._layers = ()
        self._cache.clear()
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._layers)
