"""Tables of a replay: the same layers over RocksDB as in a worker, without Faust and without a changelog.

Each partition has its own layers and store. The store can be rebuilt from the inputs. It records its position in them
and is discarded if that position does not fit.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from stream.exactly_once.kafka.store import Change, PartitionStore, Position
from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.sizes import SizeOf, cached_bytes
from stream.exactly_once.units.unit import Unit
from stream.replay.plan import ReplayPlan
from stream.scoring.labels.labelling import Labels
from stream.scoring.labels.state import (
    ESTIMATES,
    ITEMS,
    PENDING,
    PendingState,
    estimates_codec,
    items_codec,
    pending_codec,
)
from stream.scoring.processor import WINDOWS, ScoringProcessor
from stream.scoring.state_sizes import SHARES, estimates_bytes, items_bytes, pending_bytes, window_bytes
from stream.scoring.windows import Window

V = TypeVar("V")

PAST_RETENTION = "past_retention"
"""Table of users scored with a window that may be incomplete because of retention. Key: user. Value: a marker."""
_SHARES = {**SHARES, PAST_RETENTION: 0.02}
_EVENTS, _OUTCOMES, _SCORES = "events", "outcomes", "old_scores"


class ReplayTable(Generic[V]):
    """A table over all open partitions, with the same lookup as a worker's table."""

    def __init__(
        self,
        name: str,
        dumps: Callable[[Any], bytes],
        loads: Callable[[bytes], V],
        size_of: SizeOf,
        max_cached_bytes: int,
    ) -> None:
        self.name = name
        self._dumps, self._loads = dumps, loads
        self._size_of, self._max_cached_bytes = size_of, max_cached_bytes
        self._layers: dict[int, Layers[tuple[int, Any], V]] = {}

    def get_in(self, partition: int, key: bytes) -> V | None:
        """Return the value as seen by the newest open unit, or None."""
        return self._layers[partition].get((partition, key))

    def open(self, partition: int, store: PartitionStore) -> None:
        """Read a partition from this store from now on."""

        def committed(where: tuple[int, Any]) -> V | None:
            raw = store.get(self.name, where[1])
            return None if raw is None else self._loads(raw)

        def size_of(key: tuple[int, Any], value: V | None) -> int:
            return cached_bytes(key, self._size_of(value))

        self._layers[partition] = Layers(committed, self._max_cached_bytes, size_of)

    def close(self, partition: int) -> None:
        """Remove a partition."""
        self._layers.pop(partition, None)

    def new_layer(self, partition: int) -> dict[Any, Any]:
        """Add a layer for a new unit and return it."""
        return self._layers[partition].open()

    def commit_oldest(self, partition: int) -> None:
        """Remove the oldest layer, which is now in the store."""
        self._layers[partition].commit_oldest()

    def changes(self, unit: Unit) -> Iterator[Change]:
        """Yield the encoded changes of a unit."""
        for (_partition, key), value in unit.layers[self.name].items():
            yield self.name, key, None if value is None else self._dumps(value)


class ReplayState:
    """All tables over the stores of the open partitions."""

    def __init__(self, processor: ScoringProcessor, labels: Labels | None, max_cached_bytes: int) -> None:
        """max_cached_bytes: memory limit for decoded, recently written values of all tables, per partition."""
        windows, states = processor.window_codec, pending_codec()
        of_estimates, of_items = estimates_codec(), items_codec()

        def table(
            name: str, dumps: Callable[[Any], bytes], loads: Callable[[bytes], V], size_of: SizeOf
        ) -> ReplayTable[V]:
            made = ReplayTable(name, dumps, loads, size_of, int(_SHARES[name] * max_cached_bytes))
            self._tables.append(made)
            return made

        self._tables: list[ReplayTable[Any]] = []
        self.windows: ReplayTable[Window] = table(WINDOWS, windows.dumps, windows.loads, window_bytes)
        processor.table = self.windows
        self.past_retention: ReplayTable[bool] = table(
            PAST_RETENTION, lambda _: b"\x01", lambda _: True, lambda _: 0
        )
        if labels is not None:
            pending: ReplayTable[PendingState] = table(PENDING, states.dumps, states.loads, pending_bytes)
            labels.pending = pending
            labels.estimates = table(ESTIMATES, of_estimates.dumps, of_estimates.loads, estimates_bytes)
            labels.items = table(ITEMS, of_items.dumps, of_items.loads, items_bytes)
        self._numbers = 0

    def open(self, partition: int, store: PartitionStore) -> None:
        """Add a partition."""
        for table in self._tables:
            table.open(partition, store)

    def close(self, partition: int) -> None:
        """Remove a partition; the caller closes its store."""
        for table in self._tables:
            table.close(partition)

    def new_unit(self, partition: int, epoch: Any, reached: Mapping[Any, int]) -> Unit:
        """Return a unit with its own layer in each table."""
        self._numbers += 1
        layers = {table.name: table.new_layer(partition) for table in self._tables}
        return Unit(self._numbers, epoch, layers, reached)

    def changes(self, unit: Unit) -> list[Change]:
        """Return the encoded changes of a unit; may be called on another thread."""
        return [change for table in self._tables for change in table.changes(unit)]

    def commit_oldest(self, partition: int) -> None:
        """Remove the oldest unit's layers, which are now in the store."""
        for table in self._tables:
            table.commit_oldest(partition)


def positions_of(plan: ReplayPlan, events: int, outcomes: int, old_scores: int) -> dict[str, Position]:
    """Return the positions that a store records: the replay it belongs to, and the offsets reached."""
    now_ms, whose = int(time.time() * 1000), str(plan.created_at_ms)
    reached = {_EVENTS: events, _OUTCOMES: outcomes, _SCORES: old_scores}
    return {name: Position(whose, offset, now_ms) for name, offset in reached.items()}


def positions_in(store: PartitionStore, plan: ReplayPlan) -> tuple[int, int, int] | None:
    """Return a store's offsets of events, outcomes and old scores; None if it belongs to another replay."""
    found = [store.position(name) for name in (_EVENTS, _OUTCOMES, _SCORES)]
    offsets = [
        one.next_offset for one in found if one is not None and one.topic_id == str(plan.created_at_ms)
    ]
    return (offsets[0], offsets[1], offsets[2]) if len(offsets) == len(found) else None
