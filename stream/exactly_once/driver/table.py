"""A Faust table whose writes go through the commit unit, and the manager that keeps Faust's recovery out."""

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
    """Keys are bytes, values anything immutable; `dumps` and `loads` meet them only at the store's edge.

    Read with `get_in(partition, key)`, write with `Unit.put`. As a mapping it shows what is committed in this
    worker's partitions, read-only, to Faust's own tools.
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

        max_cached_bytes: recently committed values are kept decoded in memory up to this. size_of: tells a value's
        bytes there; asked twice a write, so it should be quick.
        loads raises StateFormatError for a value that another version of the program has written.
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
            """Return the value as the newest open unit sees it, or None."""
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
                f"Table {self.name} of partition {partition} ({topic}[{partition}]) cannot be read: {exc}"
            ) from None

    def use_stores(self, stores: Mapping[int, PartitionStore]) -> None:
        """Read from these partitions' stores from now on; open layers and caches are forgotten."""
        self.layers.drop()
        self._stores = stores

    def encode_changes(self, unit: "Unit") -> Iterator[tuple[int, bytes, bytes | None]]:
        """Yield (partition, key, encoded value) of what the unit changes, each key once."""
        dumps = self.dumps
        for (partition, key), value in unit.layers[self.name].items():
            yield partition, key, None if value is None else dumps(value)

    # What Faust calls.

    async def on_start(self) -> None:
        """Nothing to start: stores open with an epoch, and the changelog topic is made before Faust starts."""

    async def on_rebalance(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing here: the engine opens, recovers and closes the stores of an epoch."""

    def persisted_offset(self, _tp: Any) -> int | None:
        """None: Faust never recovers this table."""
        return None

    # The read-only view.

    def __getitem__(self, key: bytes) -> V:
        for partition in self._stores:
            value = self._committed((partition, key))
            if value is not None:
                return value
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: V) -> None:
        raise TypeError(f"Table {self.name} is written with Unit.put, inside a commit unit")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError(f"Table {self.name} is written with Unit.delete, inside a commit unit")

    def __contains__(self, key: object) -> bool:
        return any(store.get(self.name, key) is not None for store in self._stores.values())  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[bytes]:
        for store in list(self._stores.values()):
            for key, _value in store.items(self.name):
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ExactlyOnceTableManager(TableManager):  # type: ignore[misc]
    """Keeps our changelogs out of Faust's subscription, assignment and recovery."""

    async def on_start(self) -> None:
        """Register without changelog channels and without starting Faust's recovery."""
        await self._update_channels()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()

    @property
    def changelog_topics(self) -> set[str]:
        """None that Faust should know of."""
        return set()

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Nothing: the engine's own revocation comes first, in the app."""

    async def on_rebalance(
        self, assigned: set[Any], revoked: set[Any], newly_assigned: set[Any], generation_id: int = 0
    ) -> None:
        """Start the epoch as a task of its own: Faust awaits this inside the rebalance callback."""
        self._recovery_started.set()
        for table in self.values():
            await table.on_rebalance(assigned, revoked, newly_assigned, generation_id)
        await asyncio.sleep(0)
        self.app.engine.begin_epoch(assigned)

    async def on_stop(self) -> None:
        """Commit what is ready while the consumer is still a member of the group."""
        await self.app.stop_engine()
        await super().on_stop()

    async def wait_until_recovery_completed(self) -> bool:
        """Wait for the first epoch; True when the worker stops before that."""
        return bool(await self.wait_for_stopped(self.app.engine.ready))
