"""What outlives a process: its state folder."""

from dataclasses import dataclass, field


@dataclass
class Store:
    """A partition's RocksDB: state, and how far in the changelog it is."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    position: int = 0


@dataclass
class Disk:
    """A state folder: the slot's name, and a store for each partition that was ever here."""

    slot: str
    stores: dict[int, Store] = field(default_factory=dict)

    def open(self, number: int) -> Store:
        """Return a partition's store, a new one at its first use."""
        return self.stores.setdefault(number, Store())
