"""The table interface that the label join uses."""

from typing import Protocol, TypeVar

V_co = TypeVar("V_co", covariant=True)


class Table(Protocol[V_co]):
    """A table as seen by the newest open unit."""

    def get_in(self, partition: int, key: bytes) -> V_co | None:
        """Return the value of a key, or None."""
        ...
