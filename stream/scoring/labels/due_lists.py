"""The due lists of a partition: entries in the order in which they were read and become due.

A batch appends one list, or a few if it is large. A cursor is the number of a list and an index in it.
"""

from collections.abc import Callable

from schemas.state_records import DueEntry, DueList
from stream.scoring.labels.state import PendingState, list_key

# Entries of one due list. With ids of maximum length, a list takes half of the maximum record size.
_MAX_DUE = 512

Get = Callable[[str], PendingState | None]
Put = Callable[[str, PendingState | None], None]


class DueLists:
    """The lists in the state, read when a cursor reaches them, followed by the entries added by this batch.

    next_list: number of the next list to write.
    """

    def __init__(self, next_list: int, get: Get, put: Put) -> None:
        self._next_list = next_list
        self._get = get
        self._put = put
        self._new: list[DueEntry] = []
        self._read: dict[int, list[DueEntry]] = {}

    def add(self, due_at: int, key: str) -> None:
        """Append an entry."""
        self._new.append(DueEntry(due_at, key))

    def at(self, number: int, index: int) -> tuple[int, int, DueEntry | None]:
        """Return a cursor moved past the ends of lists, and the entry there; None after the last entry."""
        while True:
            entries = self._list(number)
            if index < len(entries):
                return number, index, entries[index]
            if number >= self._next_list:
                return number, index, None
            number, index = number + 1, index - len(entries)

    def drop(self, first: int, end: int) -> None:
        """Delete the lists with numbers from first up to but not including end."""
        for number in range(first, end):
            self._read.pop(number, None)
            self._put(list_key(number), None)

    def write(self) -> int:
        """Write the added entries; return the next list number. `at` corrects cursors that point into them."""
        for start in range(0, len(self._new), _MAX_DUE):
            self._put(list_key(self._next_list), DueList(self._new[start : start + _MAX_DUE]))
            self._next_list += 1
        return self._next_list

    def _list(self, number: int) -> list[DueEntry]:
        if number >= self._next_list:
            return self._new
        entries = self._read.get(number)
        if entries is None:
            found = self._get(list_key(number))
            entries = self._read[number] = found.entries if isinstance(found, DueList) else []
        return entries
