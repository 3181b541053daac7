"""What a file of rows offers, in every format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sway.files.batches import Batch


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file, or the reason why it cannot be read.

    line: line number from 1, counting the header; in a Parquet file the row number. position: progress in the file,
    in the unit of RowFile.size.
    """

    line: int
    position: int
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class RowFile(Protocol):
    """An opened file.

    complete: whether no row can have other columns than these. size: the size of the file, for progress.
    """

    complete: bool
    size: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names; if they are not complete, those of the first rows."""
        ...

    def rows(self) -> Iterator[Row]:
        """Yield all rows as they are read, with all their values. Raises CommandError if reading fails."""
        ...

    def batches(self, wanted: Sequence[str], from_line: int = 0) -> Iterator[Batch]:
        """Yield these columns of the rows from a line on. Raises CommandError if reading fails."""
        ...
