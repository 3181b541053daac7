"""Keys and values of the label join's tables.

    pending    e<n>:user event    PendingLabel: an event that is open, parked, joined or expired
               s<n>:user item     Signals: actions that may label earlier events
               d<number>          DueList: entries in the order in which they become due
               c                  JoinClock: stream time and the cursors of the due lists
               w                  Witnesses: the users whose records support stream time
    estimates  as e in pending    Estimate: the published estimates of an event that waits for its label
               FF, as e           ScoredSnapshot: the features' inputs when it was scored
    items      item_id            ItemRate
               FF i item_id       ItemSums
               FF u user_id       UserSums
               FF m               PartitionSums

n is the length of the user id. It makes keys unique and lets them be parsed. FF is a byte that does not occur in UTF-8,
so versions without these records never read such a key. Each value starts with its schema's fingerprint.

`pending` and `items` are written by `read`, `estimates` by `finish`.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from schemas.errors import DecodeError, UndecodableError
from schemas.records import Record
from schemas.state_records import (
    DueList,
    Estimate,
    ItemRate,
    ItemSums,
    JoinClock,
    PartitionSums,
    PendingLabel,
    ScoredSnapshot,
    Signals,
    UserSums,
    Witnesses,
)
from schemas.wire import SINGLE_OBJECT_HEADER_BYTES, Codec, single_object_header
from stream.scoring.state_format import newer_format

PENDING = "pending"
ESTIMATES = "estimates"
ITEMS = "items"

CLOCK_KEY = "c"
WITNESSES_KEY = "w"
"""A separate key, so that versions without witnesses never read it."""

PARTITION_SUMS_KEY = b"\xffm"

R = TypeVar("R", bound=Record)


def event_key(user_id: str, event_id: str) -> str:
    """Return the key of an event."""
    return f"e{len(user_id)}:{user_id}{event_id}"


def signals_key(user_id: str, item_id: str) -> str:
    """Return the key of a user's signals on an item."""
    return f"s{len(user_id)}:{user_id}{item_id}"


def user_and_id(key: str) -> tuple[str, str]:
    """Parse the key of an event or of signals; return the user id and the event or item id."""
    length, _, rest = key[1:].partition(":")
    return rest[: int(length)], rest[int(length) :]


def snapshot_key(estimate_key: bytes) -> bytes:
    """Return the key of the snapshot that belongs to an estimate."""
    return b"\xff" + estimate_key


def item_sums_key(item_id: str) -> bytes:
    """Return the key of an item's sums."""
    return b"\xffi" + item_id.encode()


def user_sums_key(user_id: bytes) -> bytes:
    """Return the key of a user's sums. user_id: in UTF-8."""
    return b"\xffu" + user_id


def list_key(number: int) -> str:
    """Return the key of a due list."""
    return f"d{number}"


class StateCodec(Generic[R]):
    """Codec of a table with several record types, identified by the fingerprints of their schemas."""

    def __init__(self, *kinds: type[R]) -> None:
        self._codecs = {kind: Codec(kind) for kind in kinds}
        self._by_header: dict[bytes, Callable[[bytes], R]] = {
            single_object_header(kind): codec.decode for kind, codec in self._codecs.items()
        }

    def dumps(self, value: R) -> bytes:
        """Encode a value."""
        return self._codecs[type(value)].encode(value)

    def loads(self, raw: bytes) -> R:
        """Decode a value written by this or any older published version.

        Raises StateFormatError if a newer version wrote it, or a DecodeError if the store is corrupt.
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
