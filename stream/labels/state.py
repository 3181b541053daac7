"""The tables of the label join: keys, and values that say themselves what they are.

    pending    e<n>:user event    PendingLabel: an event that is open, parked, joined or expired
               s<n>:user item     Signals: actions that may label earlier events
               d<number>          DueList: what falls due, in order
               c                  JoinClock: stream time, and how far the lists are worked off
               w                  Witnesses: whose records bear stream time out
    estimates  as e in pending    Estimate: what was published for an event that waits
               FF, as e           ScoredSnapshot: what was known when it was scored
    items      item_id            ItemRate
               FF i item_id       ItemSums
               FF u user_id       UserSums
               FF m               PartitionSums

(n is the length of the user id, so that no two keys can be the same and a key can be taken apart again. FF is a byte
that is in no UTF-8 text: workers of versions without these records never ask for such a key.)

`pending` and `items` are written when records are read, `estimates` when they are finished.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from schemas.errors import DecodeError, UndecodableError
from schemas.records import (
    DueList,
    Estimate,
    ItemRate,
    ItemSums,
    JoinClock,
    PartitionSums,
    PendingLabel,
    Record,
    ScoredSnapshot,
    Signals,
    UserSums,
    Witnesses,
)
from schemas.wire import SINGLE_OBJECT_HEADER_BYTES, Codec, single_object_header
from stream.state_format import newer_format

PENDING = "pending"
ESTIMATES = "estimates"
ITEMS = "items"

CLOCK_KEY = "c"
WITNESSES_KEY = "w"
"""A key of its own: workers of a version without witnesses never ask for it."""

PARTITION_SUMS_KEY = b"\xffm"

R = TypeVar("R", bound=Record)


def event_key(user_id: str, event_id: str) -> str:
    """Return the key of an event."""
    return f"e{len(user_id)}:{user_id}{event_id}"


def signals_key(user_id: str, item_id: str) -> str:
    """Return the key of a user's signals on an item."""
    return f"s{len(user_id)}:{user_id}{item_id}"


def user_and_id(key: str) -> tuple[str, str]:
    """Take an event's or signals' key apart: the user id, and the event's or item's."""
    length, _, rest = key[1:].partition(":")
    return rest[: int(length)], rest[int(length) :]


def snapshot_key(estimate_key: bytes) -> bytes:
    """Return the key of what an event was scored with, beside its estimate."""
    return b"\xff" + estimate_key


def item_sums_key(item_id: str) -> bytes:
    """Return the key of an item's sums."""
    return b"\xffi" + item_id.encode()


def user_sums_key(user_id: bytes) -> bytes:
    """Return the key of a user's sums; user_id in UTF-8."""
    return b"\xffu" + user_id


def list_key(number: int) -> str:
    """Return the key of a due list."""
    return f"d{number}"


class StateCodec(Generic[R]):
    """Values of a table that holds one or several kinds of records, told apart by their schemas' fingerprints."""

    def __init__(self, *kinds: type[R]) -> None:
        self._codecs = {kind: Codec(kind) for kind in kinds}
        self._by_header: dict[bytes, Callable[[bytes], R]] = {
            single_object_header(kind): codec.decode for kind, codec in self._codecs.items()
        }

    def dumps(self, value: R) -> bytes:
        """Encode."""
        return self._codecs[type(value)].encode(value)

    def loads(self, raw: bytes) -> R:
        """Decode, whatever published version wrote it.

        Raises StateFormatError if a newer version wrote it, a DecodeError if the store is broken.
        """
        decode = self._by_header.get(raw[:SINGLE_OBJECT_HEADER_BYTES])
        if decode is None:
            decode = self._by_header[raw[:SINGLE_OBJECT_HEADER_BYTES]] = self._of_older_version(raw)
        return decode(raw)

    def _of_older_version(self, raw: bytes) -> Callable[[bytes], R]:
        newer = newer_format(raw, tuple(self._codecs))
        if newer is not None:
            raise newer
        for codec in self._codecs.values():
            try:
                codec.decode(raw)
            except DecodeError:
                continue
            return codec.decode
        raise UndecodableError(
            f"A value of {len(raw)} bytes is none of {[k.__name__ for k in self._codecs]}."
        )


PendingState = PendingLabel | Signals | DueList | JoinClock | Witnesses
EstimatesState = Estimate | ScoredSnapshot
ItemsState = ItemRate | ItemSums | UserSums | PartitionSums


def pending_codec() -> "StateCodec[PendingState]":
    """Return the codec of the pending table."""
    return StateCodec(PendingLabel, Signals, DueList, JoinClock, Witnesses)


def estimates_codec() -> "StateCodec[EstimatesState]":
    """Return the codec of the estimates table."""
    return StateCodec(Estimate, ScoredSnapshot)


def items_codec() -> "StateCodec[ItemsState]":
    """Return the codec of the items table."""
    return StateCodec(ItemRate, ItemSums, UserSums, PartitionSums)
