"""Rows of a file as column batches of bounded size."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from sway.errors import CommandError

R = TypeVar("R")

ROWS_AT_ONCE = 10_000
BYTES_AT_ONCE = 8 * 1_048_576
# Rows between two checks of the batch size.
_CHECK_EVERY = 256

Values: TypeAlias = Any
"""The N values of a column: an Arrow array, or a list of Python values."""

InvalidRow: TypeAlias = tuple[int, str]
"""A line number and the problem of its row."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a file.

    columns: the values by column name. lines: the last line of each row, ascending; row numbers in a Parquet file.
    broken: rows that cannot be parsed and are not in columns. position: bytes read so far, for progress.
    """

    columns: Mapping[str, Values]
    lines: Sequence[int]
    position: int
    broken: list[InvalidRow] = field(default_factory=list)

    def from_line(self, line: int) -> "Batch":
        """Return the batch without the rows before this line."""
        first = bisect_left(self.lines, line)
        columns = {name: values[first:] for name, values in self.columns.items()}
        broken = [bad for bad in self.broken if bad[0] >= line]
        return Batch(columns, self.lines[first:], self.position, broken)


def batched(
    rows: Iterator[tuple[int, R | str]],
    columns: Callable[[list[R]], Mapping[str, Values]],
    position: Callable[[], int],
) -> Iterator[Batch]:
    """Collect rows in batches; a CommandError of rows is raised after the batch of the rows before it.

    rows: the line of each row, and the row or its problem. columns: the columns of parsed rows. position: bytes read.
    """
    failure: CommandError | None = None
    at_end = False
    while not at_end:
        parsed: list[R] = []
        lines: list[int] = []
        broken: list[InvalidRow] = []
        try:
            at_end = _fill(rows, parsed, lines, broken, position)
        except CommandError as exc:
            failure, at_end = exc, True
        yield Batch(columns(parsed), lines, position(), broken)
    if failure is not None:
        raise failure


def _fill(
    rows: Iterator[tuple[int, R | str]],
    parsed: list[R],
    lines: list[int],
    broken: list[InvalidRow],
    position: Callable[[], int],
) -> bool:
    """Append rows until a batch is full. Return whether there are no further rows."""
    start = position()
    add, add_line = parsed.append, lines.append
    for number, (line, row) in enumerate(rows, start=1):
        if isinstance(row, str):
            broken.append((line, row))
        else:
            add(row)
            add_line(line)
        if not number % _CHECK_EVERY and (number >= ROWS_AT_ONCE or position() - start >= BYTES_AT_ONCE):
            return False
    return True
