"""What the label join asks of a table."""

from typing import Protocol, TypeVar

V_co = TypeVar("V_co", covariant=True)


class Table(Protocol[V_co]):
    """A table as the newest open unit sees it."""

    def get_in(self, partition: int, key: bytes) -> V_co | None:
        """Return the value of a key, or None."""
        ...
