"""A Faust table that is written through commit units, and a table manager that disables Faust's recovery."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import faust
from faust.tables.manager import TableManager

from stream.exactly_once.kafka.store import PartitionStore
from stream.exactly_once.units.errors import StateFormatError
from stream.exactly_once.units.layers import Layers
from stream.exactly_once.units.sizes import SizeOf, cached_bytes, deep_bytes

if TYPE_CHECKING:
    from stream.exactly_once.units.unit import Unit

V = TypeVar("V")
_MAX_CACHED_BYTES = 64 * 1024 * 1024


class LayeredTable(faust.Table, Generic[V]):  # type: ignore[misc]
    """A table with bytes keys and immutable values; `dumps` and `loads` convert values only at the store.

    Read with `get_in(partition, key)` and write with `Unit.put`. As a mapping it is a read-only view of the committed
    values in this worker's partitions, for Faust's own tools.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        name: str,
        dumps: Callable[[V], bytes],
        loads: Callable[[bytes], V],
        max_cached_bytes: int = _MAX_CACHED_BYTES,
        size_of: SizeOf = deep_bytes,
        **options: Any,
    ) -> None:
        """Declare the table.

        max_cached_bytes: memory limit for decoded, recently committed values. size_of: returns the memory size of a
        value; called twice per write, so it should be fast. loads: must raise StateFormatError for a value written by
        another version of the program that it cannot decode.
        """
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, **options)
        self.dumps = dumps
        self.loads = loads
        self._stores: Mapping[int, PartitionStore] = {}
        self.layers: Layers[tuple[int, Any], V] = Layers(
            self._committed, max_cached_bytes, lambda key, value: cached_bytes(key, size_of(value))
        )
        self.get_in = self._get_in()

    def _get_in(self) -> Callable[[int, bytes], V | None]:
        get = self.layers.get

        def get_in(partition: int, key: bytes) -> V | None:
            """Return the value as seen by the newest open unit, or None."""
            return get((partition, key))

        return get_in

    def _committed(self, where: tuple[int, Any]) -> V | None:
        partition, key = where
        raw = self._stores[partition].get(self.name, key)
        if raw is None:
            return None
        try:
            return self.loads(raw)
        except StateFormatError as exc:
            topic = self.app.changelog_topic(self.name)
            raise StateFormatError(
                f"Cannot read table {self.name} of partition {partition} ({topic}[{partition}]): {exc}"
            ) from None

    def use_stores(self, stores: Mapping[int, PartitionStore]) -> None:
        """Read from these stores from now on; discards open layers and caches."""
        self.layers.drop()
        self._stores = stores

    def encode_changes(self, unit: "Unit") -> Iterator[tuple[int, bytes, bytes | None]]:
        """Yield (partition, key, encoded value) for each key that the unit changes."""
        dumps = self.dumps
        for (partition, key), value in unit.layers[self.name].items():
            yield partition, key, None if value is None else dumps(value)

    # Faust's table interface.

    async def on_start(self) -> None:
        """Do nothing: stores open with an epoch, and the changelog topic is created before Faust starts."""

    async def on_rebalance(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: the engine opens, restores and closes the stores of an epoch."""

    def persisted_offset(self, _tp: Any) -> int | None:
        """Return None, so that Faust never recovers this table."""
        return None

    # Read-only mapping.

    def __getitem__(self, key: bytes) -> V:
        for partition in self._stores:
            value = self._committed((partition, key))
            if value is not None:
                return value
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: V) -> None:
        raise TypeError(f"Table {self.name} is read-only: write with Unit.put inside a commit unit")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError(f"Table {self.name} is read-only: delete with Unit.delete inside a commit unit")

    def __contains__(self, key: object) -> bool:
        return any(store.get(self.name, key) is not None for store in self._stores.values())  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        for store in list(self._stores.values()):
            for key, _value in store.items(self.name):
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ExactlyOnceTableManager(TableManager):  # type: ignore[misc]
    """Excludes our changelogs from Faust's subscription, assignment and recovery."""

    async def on_start(self) -> None:
        """Register the tables without changelog channels and without Faust's recovery."""
        await self._update_channels()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()

    @property
    def changelog_topics(self) -> set[str]:
        """An empty set: Faust must not know the changelogs."""
        return set()

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Do nothing: the app has already run the engine's revocation."""

    async def on_rebalance(
        self, assigned: set[Any], revoked: set[Any], newly_assigned: set[Any], generation_id: int = 0
    ) -> None:
        """Start the epoch as a separate task, because Faust awaits this inside the rebalance callback."""
        self._recovery_started.set()
        for table in self.values():
            await table.on_rebalance(assigned, revoked, newly_assigned, generation_id)
        await asyncio.sleep(0)
        self.app.engine.begin_epoch(assigned)

    async def on_stop(self) -> None:
        """Commit ready units while the consumer is still a member of the group."""
        await self.app.stop_engine()
        await super().on_stop()

    async def wait_until_recovery_completed(self) -> bool:
        """Wait for the first epoch; return True when the worker stops before it."""
        return bool(await self.wait_for_stopped(self.app.engine.ready))
