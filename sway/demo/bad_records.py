"""The five bad records of the demo, and how a worker must handle them."""

from dataclasses import dataclass

from schemas.records import BehaviorEvent
from schemas.wire import SINGLE_OBJECT_MAGIC, Codec

_YEAR_9999_MS = 253_370_764_800_000


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A bad record. scored: whether it is truncated, flagged and scored, or becomes a dead letter."""

    name: str
    key: bytes
    value: bytes
    scored: bool = False


def bad_records(codec: Codec[BehaviorEvent], time_ms: int) -> list[BadRecord]:
    """Return the five: undecodable bytes, an unknown schema, no user, a 1 MiB text, the year 9999.

    time_ms: the stream time to use, milliseconds since 1970. A current time would advance the stream time of the old
    events and expire their labels.
    """
    good = codec.encode(BehaviorEvent("bad-1", "bad-user", "watch", time_ms, item_text="cut short"))
    huge = BehaviorEvent("bad-4", "bad-user", "watch", time_ms, "i", "long " * (1024 * 1024 // 5))
    return [
        BadRecord("undecodable bytes", b"bad-user", good[:-4] + b"\xff\xfe\xfd"),
        BadRecord("unknown schema fingerprint", b"bad-user", SINGLE_OBJECT_MAGIC + b"\x07" * 8 + good[10:]),
        BadRecord("missing user", b"", codec.encode(BehaviorEvent("bad-3", "", "watch", time_ms))),
        BadRecord("1 MiB text", b"bad-user", codec.encode(huge), scored=True),
        BadRecord(
            "the year 9999",
            b"bad-user",
            codec.encode(BehaviorEvent("bad-5", "bad-user", "watch", _YEAR_9999_MS)),
        ),
    ]
