"""The state folder, which outlives its process."""

from dataclasses import dataclass, field


@dataclass
class Store:
    """The RocksDB of a partition: its state, and the next changelog offset to read."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    position: int = 0


@dataclass
class Disk:
    """A state folder: the slot's name, and a store for each partition that was ever assigned."""

    slot: str
    stores: dict[int, Store] = field(default_factory=dict)

    def open(self, number: int) -> Store:
        """Return a partition's store; create it on first use."""
        return self.stores.setdefault(number, Store())
