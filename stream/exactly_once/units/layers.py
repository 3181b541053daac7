"""Layered state: one dictionary per open unit on top of the committed values."""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Missing:
    """Marks a key that is absent from a layer, as opposed to a deleted key."""


_MISSING: Final = _Missing()


class Layers(Generic[K, V]):
    """A table as seen by open units: the newest layer first, the committed values last.

    Values are immutable: a unit replaces a value and never modifies the one in an earlier layer. None means "no
    value", and putting None deletes the key. Reads from a second thread are safe, because the tuple of layers is
    replaced and never modified.
    """

    def __init__(
        self, base: Callable[[K], V | None], max_cached_bytes: int, size_of: Callable[[K, V | None], int]
    ) -> None:
        """Create the state without layers.

        base: reads a committed value. max_cached_bytes: memory limit for recently committed values. size_of: returns
        the bytes that a key and its value use in the cache; must be deterministic.
        """
        self._base = base
        self.max_cached_bytes = max_cached_bytes
        self._size_of = size_of
        self._cache: dict[K, V | None] = {}
        self._cached_bytes = 0
        self._layers: tuple[dict[K, V | None], ...] = ()  # newest first

    def open(self) -> dict[K, V | None]:
        """Add a layer for the next unit on top of all others and return it."""
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
        """Remove the oldest layer, which the base now contains, and cache its values."""
        oldest = self._layers[-1]
        self._layers = self._layers[:-1]
        cache, size_of = self._cache, self._size_of
        size_bytes = self._cached_bytes
        for key, value in oldest.items():
            if key in cache:
                size_bytes -= size_of(key, cache.pop(key))
            cache[key] = value  # insertion order: the least recently written key comes first
            size_bytes += size_of(key, value)
        while size_bytes > self.max_cached_bytes:
            key = next(iter(cache))
            size_bytes -= size_of(key, cache.pop(key))
        self._cached_bytes = size_bytes

    @property
    def cached_bytes(self) -> int:
        """Bytes used by cached committed values."""
        return self._cached_bytes

    def drop(self) -> None:
        """Discard all open layers and the cache: the epoch is over and the base may change."""
        self._layers = ()
        self._cache.clear()
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._layers)
