"""The due lists of a partition: what falls due, in the order of reading. Pure.

A batch writes one list, and few long ones if it is large. Places are a list's number and an index in it.
"""

from collections.abc import Callable

from schemas.records import DueEntry, DueList
from stream.labels.state import PendingState, list_key

_MAX_DUE = 512  # entries of a due list: with ids as long as allowed, half of what a record may have

Get = Callable[[str], PendingState | None]
Put = Callable[[str, PendingState | None], None]


class DueLists:
    """The written lists, read where a cursor stands, and behind them what this batch adds.

    next_list: the number of the next list to be written.
    """

    def __init__(self, next_list: int, get: Get, put: Put) -> None:
        self._next_list = next_list
        self._get = get
        self._put = put
        self._new: list[DueEntry] = []
        self._read: dict[int, list[DueEntry]] = {}

    def add(self, due_at: int, key: str) -> None:
        """Put an entry at the end."""
        self._new.append(DueEntry(due_at, key))

    def at(self, number: int, index: int) -> tuple[int, int, DueEntry | None]:
        """Return where a cursor really stands, past the ends of lists, and the entry there; None at the very end."""
        while True:
            entries = self._list(number)
            if index < len(entries):
                return number, index, entries[index]
            if number >= self._next_list:
                return number, index, None
            number, index = number + 1, index - len(entries)

    def drop(self, first: int, end: int) -> None:
        """Delete the lists from first to before end."""
        for number in range(first, end):
            self._read.pop(number, None)
            self._put(list_key(number), None)

    def write(self) -> int:
        """Write what was added; return the number of the next list. A cursor inside is carried over by `at`."""
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
